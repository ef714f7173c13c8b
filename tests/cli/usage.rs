//! What was typed wrong, and what was written wrong.

use crate::desk::{Desk, left, program};

const SHOP: &str = "
issuers: { ca: { directory: 'https://127.0.0.1:1/dir', agree_to_terms: true } }
certificates:
  - { name: shop, names: [shop.example.com], issuer: ca, solver: { http-01: { listen: '127.0.0.1:1' } }, nodes: [local], confirm: none }
";

#[test]
fn mistakes_in_typing_exit_64_and_write_no_data() {
    let desk = Desk::new(SHOP);
    for args in [
        &[][..],
        &["rnew"],
        &["renew"],
        &["renew", "--all", "shop"],
        &["renew", "shop", "--dry-run", "--force"],
        &["check", "--warning", "soon"],
        &["-q", "-v", "status"],
        &["run", "--splay", "2d"],
        &["rollback", "shop", "--to", "7"],
        &["forget", "shop", "--yes"],
        &["forget", "nothing-kept", "--yes"],
        &["account", "show", "letsencrypt"],
        &["verify"],
        &["verify", "x.pem", "--name", "a b"],
        &["verify", "x.pem", "--pin", "sha256/short"],
        &["verify", "x.pem", "--at", "tomorrow"],
        &["verify", "x.pem", "--use", "both"],
    ] {
        let left = desk.run(args);
        assert_eq!((left.code, left.out.as_str()), (64, ""), "{args:?}: {left:?}");
        assert!(!left.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_name_nearly_right_is_recognised() {
    let desk = Desk::new(SHOP);
    desk.put_status(1);
    for args in [&["renew", "shpo"][..], &["plan", "shpo"], &["why", "shpo"], &["status", "shpo"], &["deploy", "shpo"]]
    {
        let left = desk.run(args);
        assert_eq!(left.code, 64, "{left:?}");
        assert_eq!(left.err, "everleaf: no certificate is called \"shpo\"; did you mean \"shop\"?\n");
    }
    let node = desk.run(&["deploy", "shop", "--to", "locl"]);
    assert_eq!(node.err, "everleaf: shop: no node is called \"locl\"; did you mean \"local\"?\n");
}

#[test]
fn help_and_version_need_nothing() {
    let version = left(program(&["--version"]));
    assert_eq!((version.code, version.out), (0, concat!("everleaf ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
    let help = left(program(&["renew", "--help"]));
    assert!(help.code == 0 && help.out.contains("--dry-run"), "{help:?}");
}

#[test]
fn a_wrong_configuration_exits_78_with_everything_that_is_wrong() {
    let desk = Desk::new("isuers: {}\ncertificates:\n  - { name: Shop, names: [] }\n");
    for args in [&["run"][..], &["renew", "--all"], &["plan"], &["config", "check"], &["account", "show"]] {
        let left = desk.run(args);
        assert_eq!((left.code, left.out.as_str()), (78, ""), "{args:?}: {left:?}");
        assert!(left.err.contains("isuers") && left.err.contains("Shop") && left.err.contains(":3:"), "{}", left.err);
    }
    let json = desk.run(&["config", "check", "--json"]);
    let told = json.json();
    assert_eq!((json.code, &told["usable"]), (78, &false.into()));
    let places: Vec<_> = told["problems"].as_array().expect("a list").iter().map(|it| it["line"].clone()).collect();
    assert!(places.len() >= 2, "{told}");
    let absent = left(program(&["run", "--config", "/nonexistent/everleaf.yaml"]));
    assert!(absent.code == 78 && absent.err.contains("/nonexistent/everleaf.yaml"), "{absent:?}");
}
