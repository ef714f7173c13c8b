//! What everleaf keeps was damaged, lost or meddled with: journals, keys, generations, accounts, and what can be looked up again.

use crate::disk::{Case, Site};

const SHOP: &str = "state/certs/shop/journal.jsonl";

/// What is left of a file after one of the things that happen to files.
fn spoiled(site: &Site, file: &str, how: &str) {
    let line = match how {
        "truncated" => "head -c -40 $F >x; mv x $F",
        "half" => "head -c $(($(stat -c %s $F) / 2)) $F >x; mv x $F",
        "garbage in the middle" => "sed -i '3s/.*/garbage/' $F",
        "a flipped bit" => "sed -i '2s/\"at\":\"2/\"at\":\"3/' $F",
        "a line twice" => "sed -i '2p' $F",
        "the file twice" => "cat $F $F >x; mv x $F",
        "out of order" => "tac $F >x; mv x $F",
        "empty" => ": >$F",
        "garbage" => "head -c 3000 /dev/urandom >$F",
        "newer" => "echo '{\"v\":9,\"seq\":1,\"what\":\"is this\"}' >>$F",
        "gone" => "rm $F",
        "a directory" => "rm $F; mkdir $F; echo mine >$F/note",
        other => panic!("{other}"),
    };
    site.shell(&format!("F={file}; {line}; test ! -f $F || chmod 0600 $F"));
}

const JOURNALS: [Case; 21] = [
    Case::new("journal-truncated", 0, |site| spoiled(site, SHOP, "truncated")),
    Case::new("journal-half", 0, |site| spoiled(site, SHOP, "half")),
    Case::new("journal-garbage-inside", 0, |site| spoiled(site, SHOP, "garbage in the middle")),
    Case::new("journal-flipped-bit", 0, |site| spoiled(site, SHOP, "a flipped bit")),
    Case::new("journal-line-twice", 0, |site| spoiled(site, SHOP, "a line twice")),
    Case::new("journal-twice", 0, |site| spoiled(site, SHOP, "the file twice")),
    Case::new("journal-out-of-order", 0, |site| spoiled(site, SHOP, "out of order")),
    Case::new("journal-empty", 0, |site| spoiled(site, SHOP, "empty")),
    Case::new("journal-garbage", 0, |site| spoiled(site, SHOP, "garbage")),
    Case::new("journal-gone", 0, |site| spoiled(site, SHOP, "gone")),
    Case::new("journal-newer", 78, |site| spoiled(site, SHOP, "newer"))
        .mend(|site| site.shell("sed -i '$d' state/certs/shop/journal.jsonl")),
    Case::new("journal-is-a-directory", 1, |site| spoiled(site, SHOP, "a directory"))
        .mend(|site| site.shell("mv state/certs/shop/journal.jsonl aside; rm -r aside")),
    Case::new("journal-of-another", 0, |site| {
        site.shell("sed 's/shop.example/else.example/g; s/\"shop\"/\"else\"/g' state/certs/shop/journal.jsonl >x; \
                    mv x state/certs/shop/journal.jsonl; chmod 0600 state/certs/shop/journal.jsonl");
    }),
    Case::new("issuer-truncated", 0, |site| spoiled(site, "state/issuers/pebble/journal.jsonl", "truncated")),
    Case::new("issuer-garbage", 0, |site| spoiled(site, "state/issuers/pebble/journal.jsonl", "garbage")),
    Case::new("issuer-empty", 0, |site| spoiled(site, "state/issuers/pebble/journal.jsonl", "empty")),
    Case::new("issuer-newer", 78, |site| spoiled(site, "state/issuers/pebble/journal.jsonl", "newer"))
        .mend(|site| site.shell("sed -i '$d' state/issuers/pebble/journal.jsonl")),
    Case::new("issuer-is-a-directory", 1, |site| spoiled(site, "state/issuers/pebble/journal.jsonl", "a directory"))
        .mend(|site| site.shell("rm -r state/issuers/pebble/journal.jsonl")),
    Case::new("node-garbage", 0, |site| {
        site.shell("mkdir -pm 0700 state/nodes/local; echo garbage >state/nodes/local/journal.jsonl; chmod 0600 state/nodes/local/*");
    }),
    Case::new("node-newer", 78, |site| {
        site.shell("mkdir -pm 0700 state/nodes/local; F=state/nodes/local/journal.jsonl; echo '{\"v\":9,\"seq\":1}' >$F; chmod 0600 $F");
    })
    .mend(|site| site.shell("rm -r state/nodes/local/journal.jsonl")),
    Case::new("seed-garbage", 0, |site| site.shell("echo garbage >state/seed")),
];

/// What can be looked up again costs no more than a look.
const LOSABLE: [Case; 9] = [
    Case::new("seen-garbage", 0, |site| site.shell("echo garbage >state/certs/shop/seen.json")),
    Case::new("seen-gone", 0, |site| site.shell("rm state/certs/shop/seen.json")),
    Case::new("seen-is-a-directory", 0, |site| site.shell("cd state/certs/shop; rm seen.json; mkdir seen.json"))
        .mend(|site| site.shell("rmdir state/certs/shop/seen.json")),
    Case::new("index-garbage", 0, |site| site.shell("head -c 999 /dev/urandom >state/index.json")),
    Case::new("index-gone", 0, |site| site.shell("rm state/index.json")),
    Case::new("status-garbage", 0, |site| site.shell("echo garbage >run/status.json")),
    Case::new("status-gone", 0, |site| site.shell("rm run/status.json")),
    Case::new("run-gone", 0, |site| site.shell("rm -r run")),
    Case::new("requests-garbage", 0, |site| {
        site.shell(
            "cd state/certs/shop; mkdir -pm 0700 requests; cd requests; echo garbage >x.json; mkdir d.json; \
             echo mine >d.json/note; ln -s /etc/passwd l.json; mkfifo p.json; : >0.json; echo '{}' >o.json",
        );
    }),
];

/// Keys, generations and accounts.
const KEPT: [Case; 14] = [
    Case::new("key-gone", 0, |site| site.shell("rm state/certs/shop/keys/*")).call(FORCE),
    Case::new("key-empty", 0, |site| site.shell("for it in state/certs/shop/keys/*; do : >$it; done")).call(FORCE),
    Case::new("key-gone-everywhere", 0, |site| {
        site.shell("rm state/certs/shop/keys/* state/certs/shop/gen/*/privkey.pem");
    })
    .call(FORCE),
    Case::new("generation-about-garbage", 0, |site| {
        site.shell("echo garbage >$(echo state/certs/shop/gen/*/about.json)");
    })
    .call(DEPLOY),
    Case::new("generation-certificate-gone", 0, |site| site.shell("rm state/certs/shop/gen/*/cert.pem")).call(DEPLOY),
    Case::new("generation-key-empty", 0, |site| site.shell(": >$(echo state/certs/shop/gen/*/privkey.pem)"))
        .call(DEPLOY),
    Case::new("generation-gone", 0, |site| site.shell("rm -r state/certs/shop/gen")).call(DEPLOY),
    Case::new("generation-and-live-gone", 0, |site| site.shell("rm -r state/certs/shop/gen live")),
    Case::new("certificate-gone", 0, |site| site.shell("rm -r state/certs/shop")),
    Case::new("state-gone", 0, |site| site.shell("rm -r state")),
    Case::new("account-empty", 1, |site| site.shell(": >state/accounts/pebble/credentials.json"))
        .call(FORCE)
        .mend(account),
    Case::new("account-truncated", 1, |site| spoiled(site, "state/accounts/pebble/credentials.json", "half"))
        .call(FORCE)
        .mend(account),
    Case::new("account-garbage", 1, |site| spoiled(site, "state/accounts/pebble/credentials.json", "garbage"))
        .call(FORCE)
        .mend(account),
    Case::new("account-gone", 1, |site| site.shell("rm -r state/accounts")).call(FORCE).mend(account),
];

const FORCE: &[&str] = &["renew", "shop", "--force"];
const DEPLOY: &[&str] = &["deploy", "shop"];

/// Puts the account back from a backup.
fn account(site: &Site) {
    site.shell("rm -rf state/accounts; cp -a healthy-state/accounts state");
}

#[test]
fn a_damaged_journal_is_set_aside_and_a_newer_one_left_alone() {
    Site::new(|_| String::new()).play_all(&JOURNALS);
}

#[test]
fn what_can_be_looked_up_again_is() {
    Site::new(|_| String::new()).play_all(&LOSABLE);
}

#[test]
fn lost_keys_generations_and_accounts() {
    Site::new(|_| "    reuse_key: true\n".into()).play_all(&KEPT);
}

/// Who was killed once the work was done and remembered, but before that could be told; a full disk does the same.
#[test]
fn what_was_not_told_any_more_is_told_by_the_next_run() {
    let site = Site::new(|_| String::new());
    let untold = |site: &Site| site.shell("cp healthy-run/status.json run");
    site.scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    let renewed = site.scene.status("shop")["generation"]["serial"].clone();
    untold(&site);
    site.scene.everleaf(&["run"]).exits(0);
    assert_eq!(site.scene.status("shop")["generation"]["serial"], renewed);

    site.recall();
    let yaml = site.scene.text("everleaf.yaml");
    let directory = site.scene.pebble.directory();
    let refused = site.scene.run(&yaml.replace(&directory, "https://127.0.0.1:1/dir"));
    assert_ne!(refused.exit, 0, "nobody is there to renew it");
    untold(&site);
    let again = site.scene.everleaf(&["run"]).exits(refused.exit);
    assert!(again.err.contains("127.0.0.1:1"), "the wait goes on, and so does its reason:\n{}", again.err);
}
