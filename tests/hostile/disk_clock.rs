//! Records of the future, and a clock that is wrong.

use crate::disk::{Case, Site};

/// Writes a record of the year 2099, as a clock does that was wrong for an hour.
fn from_the_future(site: &Site) {
    let journal = site.path("state/certs/shop/journal.jsonl");
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let seq = text.lines().count() + 1;
    let line = format!("{{\"v\":1,\"seq\":{seq},\"at\":\"2099-01-01T00:00:00Z\",\"event\":{{\"kind\":\"revived\"}}");
    let crc = crc32fast::hash(line.as_bytes());
    std::fs::write(&journal, format!("{text}{line},\"crc\":\"{crc:08x}\"}}\n")).expect("a journal");
    site.shell("rm -f state/index.json");
}

const CLOCK: [Case; 3] = [
    Case::new("clock-future-record", 0, from_the_future),
    Case::new("clock-future-record-forced", 0, from_the_future).call(&["renew", "shop", "--force"]),
    Case::new("clock-future-record-no-ca", 1, |site| {
        from_the_future(site);
        site.shell("sed -i.kept 's,https://[0-9.:]*/dir,https://127.0.0.1:1/dir,' everleaf.yaml");
    })
    .call(&["renew", "shop", "--force"])
    .mend(|site| site.shell("mv everleaf.yaml.kept everleaf.yaml")),
];

#[test]
fn a_record_of_the_future_holds_nothing_up() {
    Site::new(|_| String::new()).play_all(&CLOCK);
}
