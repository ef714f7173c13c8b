//! The order of a publish's system calls is what every promise about files rests on.

use crate::site::{Site, generation, pair, scope};
use crate::trace::{Call, calls};
use everleaf::ports::Journal;
use everleaf::types::{Seq, Timestamp};

fn renewal() -> (Site, Vec<Call>) {
    let site = Site::new();
    site.publish(7, 7).expect("prepared");
    let calls = calls(&site, "publish 8 8");
    (site, calls)
}

/// Where the first call of `name` stands whose line holds `part`, at or after `from`.
fn find(calls: &[Call], from: usize, name: &str, part: &str) -> usize {
    let found = calls.iter().enumerate().skip(from).find(|(_, call)| call.name == name && call.line.contains(part));
    found.unwrap_or_else(|| panic!("no {name} of {part} after call {from}:\n{calls:#?}")).0
}

#[test]
fn everything_is_durable_before_the_switch_and_the_switch_before_success() {
    let (site, calls) = renewal();
    let whole = calls.iter().position(|call| {
        call.name.starts_with("rename") && call.line.contains(&format!("\"..gen-{}\"", generation(8)))
    });
    let whole = whole.expect("the generation is renamed whole");
    let switch = calls.iter().position(|call| call.name.starts_with("rename") && call.line.contains("\"..data\""));
    let switch = switch.expect("the switch is a rename");
    for file in ["privkey.pem", "bundle.pem", "cert.pem", "chain.pem", "fullchain.pem", "..epoch"] {
        let created = find(&calls, 0, "openat", &format!("\"{file}\""));
        let written = find(&calls, created, "pwrite64", &format!("/{file}>"));
        let synced = find(&calls, written, "fsync", &format!("/{file}>"));
        assert!(synced < whole, "{file} is synced before its directory is renamed");
    }
    let last_create = calls[..whole].iter().rposition(|call| call.name == "openat").expect("files");
    let dir_synced = calls[last_create..whole].iter().any(|call| call.name == "fsync" && in_temporary(call));
    assert!(dir_synced, "the new directory is synced after its last file and before it is renamed");
    let live = format!("{}>", site.live().display());
    assert!(find(&calls, whole, "fsync", &live) < switch, "the live directory is synced before the switch");
    assert!(find(&calls, switch, "fsync", &live) > switch, "and after it");
    let switches = calls.iter().filter(|call| call.name.starts_with("rename") && call.line.contains("\"..data\""));
    assert_eq!(switches.count(), 1, "one rename switches certificate and key");
}

/// Whether a sync is of the temporary directory itself, not of a file in it.
fn in_temporary(call: &Call) -> bool {
    call.line.rsplit_once('/').is_some_and(|(_, last)| last.starts_with("..tmp-"))
}

#[test]
fn a_key_is_never_readable_by_others_not_even_for_an_instant() {
    let (_site, calls) = renewal();
    for file in ["privkey.pem", "bundle.pem"] {
        let created = find(&calls, 0, "openat", &format!("\"{file}\""));
        assert!(
            calls[created].line.contains("O_CREAT|O_EXCL") || calls[created].line.contains("O_EXCL"),
            "{}",
            calls[created].line
        );
        assert!(calls[created].line.contains("O_NOFOLLOW"), "{}", calls[created].line);
        assert!(calls[created].line.contains(", 0600)"), "created for its owner alone: {}", calls[created].line);
        let written = find(&calls, created, "pwrite64", &format!("/{file}>"));
        let mode = find(&calls, created, "fchmod", &format!("/{file}>"));
        assert!(mode < written, "the final mode is set before the first byte is written");
        assert!(calls[mode].line.contains(", 0640)"), "{}", calls[mode].line);
        let later = calls[written..]
            .iter()
            .filter(|call| call.name.starts_with("fchmod") && call.line.contains(&format!("/{file}>")));
        assert_eq!(later.count(), 0, "and never changed afterwards");
    }
    let private =
        calls.iter().position(|call| call.name == "mkdirat" && call.line.contains("..tmp-")).expect("a directory");
    assert!(calls[private].line.contains(", 0700)"), "{}", calls[private].line);
}

#[test]
fn a_file_that_is_replaced_is_durable_before_and_its_directory_after() {
    let site = Site::new();
    let at = Timestamp::from_secs(1_800_000_000);
    site.state().append(&scope(), Seq(0), at, &pair(1)).expect("prepared");
    let calls = calls(&site, "compact 2");
    let replaced =
        calls.iter().position(|call| call.name.starts_with("rename") && call.line.contains("\"journal.jsonl\""));
    let replaced = replaced.expect("the new journal is renamed into place");
    assert!(calls[..replaced].iter().any(|call| call.name == "fsync" && in_temporary(call)), "{calls:#?}");
    let dir = format!("{}>", site.journal().parent().expect("its directory").display());
    find(&calls, replaced, "fsync", &dir);
}
