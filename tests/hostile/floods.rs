//! Floods and garbage, met by the whole program: hooks that print without end, and configurations that are none.

use crate::rig::scene::{Ran, Scene};
use crate::rig::snapshot;
use std::fs;
use std::time::{Duration, Instant};

/// What may be printed of a run, whatever its hooks print: 64 KiB a hook, twice over for what is told of its end.
const MOST_SAID: usize = 400 << 10;

/// Nothing that a terminal obeys stands in what was said.
fn harmless(ran: &Ran) {
    let obeyed = |c: &char| c.is_control() && *c != '\n';
    let found = ran.out.chars().chain(ran.err.chars()).find(obeyed);
    assert_eq!(found, None, "stdout:\n{:?}\nstderr:\n{:?}", ran.out, ran.err);
}

/// A run whose reload hook is this script, logged as loudly as can be.
fn reloaded_by(scene: &Scene, script: &str) -> Ran {
    let hook = scene.script("reload", script);
    let node = format!("nodes:\n  local: {{ reload: {{ exec: [{}] }} }}\ncertificates:", hook.display());
    scene.configure(&scene.unproven("").replace("certificates:", &node));
    scene.everleaf(&["-vv", "run"])
}

#[test]
fn a_hook_that_prints_without_end_is_cut_and_its_end_is_told() {
    let megabytes = if std::env::var_os("EVERLEAF_FULL").is_some() { 1000 } else { 60 };
    let scene = Scene::easy();
    // No line ever ends; then many do.
    let flood =
        format!("head -c {megabytes}000000 /dev/zero | tr '\\0' x; yes no | head -n 200000; echo the end >&2; exit 1");
    let ran = reloaded_by(&scene, &flood).exits(20);
    harmless(&ran);
    assert!(ran.err.len() + ran.out.len() < MOST_SAID, "{} bytes were said", ran.err.len() + ran.out.len());
    let why = scene.everleaf(&["why", "shop"]);
    harmless(&why);
    assert!(why.out.contains("status 1: the end") && why.out.len() < 64 << 10, "{}", why.out);
}

#[test]
fn what_a_hook_prints_is_never_obeyed() {
    let scene = Scene::easy();
    let garbage = "printf '\\033[2J\\033]0;owned\\007\\233[31mred\\033]8;;http://x\\007\\302\\233m\\r\\b\\b\\342\\200\\256gnp.exe\\n'; \
                   head -c 100000 /dev/urandom; printf '{\"\\033[31m'; head -c 5000 /dev/urandom >&2; exit 3";
    harmless(&reloaded_by(&scene, garbage).exits(20));
    for asked in [&["why", "shop"][..], &["status"], &["status", "--json"], &["plan"], &["check"]] {
        harmless(&scene.everleaf(asked));
    }
    // What is stored is as clean as what is printed.
    for file in ["run/status.json", "state/certs/shop/journal.jsonl", "state/nodes/local/journal.jsonl"] {
        let text = scene.text(file);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n') && !text.contains("\\u001b"), "{file}: {text:?}");
    }
}

#[test]
fn a_configuration_that_is_none_ends_every_command_at_once_with_a_reason() {
    let scene = Scene::easy();
    let bomb = (b'b'..=b'z').fold("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, letter| {
        let (this, last) = (char::from(letter), char::from(letter - 1));
        let nine = vec![format!("*{last}"); 9].join(", ");
        text + &format!("{this}: &{this} [{nine}]\n")
    });
    let texts: [(&str, Vec<u8>); 7] = [
        ("large", "- a: 1\n".repeat(10 * 1024 * 1024 / 7).into_bytes()),
        ("bomb", bomb.into_bytes()),
        ("deep", "[".repeat(1_000_000).into_bytes()),
        ("binary", (0..=255).cycle().take(100_000).collect()),
        ("nothing", Vec::new()),
        ("utf-16", "version: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("escape-codes", b"version: 1\n\x1b[2J: \x1b]0;owned\x07\n\xc2\x9b31m: \xe2\x80\xaeevil\n".to_vec()),
    ];
    for (name, text) in texts {
        fs::write(scene.config(), text).expect("a file");
        for arguments in [&["config", "check"][..], &["run"], &["status"], &["config", "check", "--json"]] {
            let begun = Instant::now();
            let ran = scene.everleaf(arguments);
            assert!((1..100).contains(&ran.exit), "{name}, {arguments:?}: {ran:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}, {arguments:?}: {:?}", begun.elapsed());
            assert!(!(ran.err.is_empty() && ran.out.is_empty()), "{name}, {arguments:?}: not a word");
            harmless(&ran);
            if arguments == ["run"] {
                assert_eq!(ran.exit, 78, "{name}: {ran:?}");
                snapshot(&format!("hostile/messages/config-{name}"), &scene.plain(&ran.err));
            }
        }
    }
}
