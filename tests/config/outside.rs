//! What a configuration names outside itself: secrets, hooks, roots, further files.

use everleaf::config::spec::{NotifierKind, Spec};
use everleaf::config::{Loaded, load};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tempfile::TempDir;

fn write(directory: &Path, name: &str, text: &str, mode: u32) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    std::fs::write(&path, text).expect(name);
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect(name);
}

/// Reads a configuration in which `DIR` is the directory that `others` lie in.
fn loaded(yaml: &str, others: &[(&str, &str, u32)]) -> (TempDir, Result<Loaded, String>) {
    let directory = tempfile::tempdir().expect("tempdir");
    for (name, text, mode) in others {
        write(directory.path(), name, text, *mode);
    }
    let shown = directory.path().display().to_string();
    write(directory.path(), "everleaf.yaml", &yaml.replace("DIR", &shown), 0o644);
    let result =
        load(&directory.path().join("everleaf.yaml")).map_err(|errors| errors.to_string().replace(&shown, "DIR"));
    (directory, result)
}

fn refused(yaml: &str, others: &[(&str, &str, u32)]) -> String {
    loaded(yaml, others).1.expect_err("it is to be refused")
}

const EAB: &str =
    "version: 1\nissuers:\n  ca: { directory: https://ca.internal/dir, eab: { kid: one, hmac_file: DIR/hmac } }\n";
const NODE: &str = "version: 1\nnodes:\n  local: { check: [DIR/check, -t] }\n";

#[test]
fn secrets_come_from_files_of_which_the_line_break_is_no_part() {
    let (_keep, result) = loaded(EAB, &[("hmac", "c2VjcmV0\n", 0o600)]);
    let spec: Spec = result.expect("good").spec;
    let eab = spec.issuers.values().next().and_then(|issuer| issuer.external_account.clone()).expect("eab");
    assert_eq!((eab.kid.as_str(), eab.hmac.reveal()), ("one", "c2VjcmV0"));
}

#[test]
fn a_secret_that_everybody_may_read_is_refused_and_not_shown() {
    assert_eq!(
        refused(EAB, &[("hmac", "c2VjcmV0", 0o644)]),
        "\
error: issuers.ca.eab.hmac_file: DIR/hmac holds a secret, and everybody may read it (mode 0644)
 --> DIR/everleaf.yaml:3:73
  |
3 |   ca: { directory: https://ca.internal/dir, eab: { kid: one, hmac_file: DIR/hmac } }
  |                                                                         ^^^^^^^^^^^^^
  |
  = help: chmod 600 DIR/hmac; then change the secret, since it may be known"
            .replace(
                "                                                                         ^^^^^^^^^^^^^",
                &caret(73, "hmac")
            )
    );
}

/// The temporary directory's name is of no fixed length, and so are the carets below it.
fn caret(column: usize, file: &str) -> String {
    let length = std::env::temp_dir().join(".tmpXXXXXX").join(file).as_os_str().len();
    format!("{}{}", " ".repeat(column), "^".repeat(length))
}

#[test]
fn secrets_that_are_none() {
    for (text, message) in [
        ("", "DIR/hmac is empty"),
        ("a\nb\n", "DIR/hmac holds more than one line"),
        (&"a".repeat(20_000), "DIR/hmac is too long for a secret"),
        ("not base64url!", "this MAC key is not base64url"),
    ] {
        let said = refused(EAB, &[("hmac", text, 0o600)]);
        assert!(said.contains(message), "{message} is not in:\n{said}");
        assert!(text.len() < 10 || !said.contains(text), "{said}");
    }
    assert!(refused(EAB, &[]).contains("DIR/hmac cannot be read: no such file or directory"));
}

#[test]
fn secrets_from_the_environment_and_from_systemd() {
    let yaml = "version: 1\nnotifiers:\n  a: { webhook: { url: { env: NAME } } }\n  b: { webhook: { url: { credential: chat } } }\n";
    let (_keep, result) = loaded(&yaml.replace("env: NAME", "env: EVERLEAF_TEST_IS_NOT_SET"), &[]);
    let said = result.expect_err("neither is there");
    for part in [
        "the environment variable EVERLEAF_TEST_IS_NOT_SET is not set",
        "systemd handed over no credentials ($CREDENTIALS_DIRECTORY is not set)",
        "add `LoadCredential=chat:/path/to/secret` to the unit",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[test]
fn a_url_in_a_file_is_taken_from_there() {
    let yaml = "version: 1\nnotifiers: { a: { webhook: { url_file: DIR/url } } }\nping: { url_file: DIR/bad }\n";
    let good = ("url", "https://chat.example/x\n", 0o600);
    let said = refused(yaml, &[good, ("bad", "chat.example", 0o600)]);
    assert!(said.contains("error: ping.url_file: the URL cannot be used: it is neither https nor http"), "{said}");
    let (_keep, result) = loaded(yaml, &[good, ("bad", "https://ping.example/y", 0o600)]);
    let spec = result.expect("good").spec;
    let Some(NotifierKind::Webhook { url, .. }) = spec.notifiers.values().next().map(|notifier| notifier.kind.clone())
    else {
        panic!("a webhook");
    };
    assert_eq!(url.reveal(), "https://chat.example/x");
    assert_eq!(spec.ping.expect("ping").url.reveal(), "https://ping.example/y");
}

#[test]
fn hooks_are_looked_at_before_they_are_run() {
    loaded(NODE, &[("check", "#!/bin/sh\n", 0o755)]).1.expect("a good hook");
    for (mode, message) in [
        (0o757, "everybody may change DIR/check (mode 0757), and everleaf would run it"),
        (0o644, "DIR/check cannot be started: it is no executable file"),
    ] {
        let said = refused(NODE, &[("check", "#!/bin/sh\n", mode)]);
        assert!(said.contains(message), "{message} is not in:\n{said}");
    }
    assert!(refused(NODE, &[]).contains("DIR/check cannot be started: no such file or directory"));
    let said = refused(&NODE.replace("DIR/check", "everleaf-no-such-program"), &[]);
    assert!(said.contains("there is no program `everleaf-no-such-program`"), "{said}");
    loaded(&NODE.replace("DIR/check", "true"), &[]).1.expect("found on the hooks' PATH");
}

#[test]
fn a_hook_in_a_directory_that_everybody_may_change_is_refused() {
    let directory = tempfile::tempdir().expect("tempdir");
    write(directory.path(), "open/check", "#!/bin/sh\n", 0o755);
    std::fs::set_permissions(directory.path().join("open"), Permissions::from_mode(0o777)).expect("mode");
    let yaml = NODE.replace("DIR", &directory.path().join("open").display().to_string());
    let said = refused(&yaml, &[]);
    assert!(said.contains("its directory is world-writable"), "{said}");
}

#[test]
fn roots_must_be_there() {
    let yaml =
        "version: 1\nissuers: { ca: { directory: https://ca.internal/dir, roots: DIR/a.pem, ca_bundle: DIR } }\n";
    let said = refused(yaml, &[]);
    assert!(said.contains("issuers.ca.roots: DIR/a.pem cannot be read: no such file or directory"), "{said}");
    assert!(said.contains("issuers.ca.ca_bundle: DIR is not a file"), "{said}");
}

#[test]
fn further_files_are_read_in_order_and_others_are_not() {
    let cert = |name: &str| {
        format!(
            "certificates: [{{ name: {name}, names: [{name}.example], solver: {{ http-01: {{ webroot: /srv }} }}, confirm: none }}]\n"
        )
    };
    let (b, a) = (cert("b"), cert("a"));
    let main = "version: 1\nissuers: { ca: { directory: https://ca.internal/dir } }\n";
    let others = [
        ("conf.d/20-b.yaml", b.as_str(), 0o644),
        ("conf.d/10-a.yaml", a.as_str(), 0o644),
        ("conf.d/.hidden.yaml", "no: sense", 0o644),
        ("conf.d/30-c.yaml.bak", "no: sense", 0o644),
    ];
    let (directory, result) = loaded(main, &others);
    let good = result.expect("good");
    let names: Vec<_> = good.files.iter().map(|file| file.strip_prefix(directory.path()).expect("inside")).collect();
    assert_eq!(names, ["everleaf.yaml", "conf.d/10-a.yaml", "conf.d/20-b.yaml"].map(Path::new));
    assert_eq!(good.spec.certificates.len(), 2);
}

#[test]
fn files_that_cannot_be_taken_are_told_each() {
    let others = [("conf.d/a.yaml", "certificates: []\n", 0o666), ("conf.d/b.yaml", "a: \u{0}", 0o644)];
    let directory = tempfile::tempdir().expect("tempdir");
    for (name, text, mode) in others {
        write(directory.path(), name, text, mode);
    }
    std::fs::write(directory.path().join("conf.d/c.yaml"), b"version: 1\nname: \xff\n").expect("c.yaml");
    let shown = directory.path().display().to_string();
    let said = load(&directory.path().join("everleaf.yaml")).expect_err("refused").to_string().replace(&shown, "DIR");
    assert_eq!(
        said,
        "\
error: this file cannot be read: no such file or directory
--> DIR/everleaf.yaml
 = help: write it, or name another with --config

error: everybody may change this file, and everleaf runs the hooks it names
--> DIR/conf.d/a.yaml
 = help: chmod o-w it, after looking at what it holds

error: line 2 is not UTF-8
--> DIR/conf.d/c.yaml
 = help: save the file as UTF-8"
    );
}
