//! Owners, modes and users that are not what they should be.

use crate::disk::{Case, Site, files};
use std::os::unix::fs::MetadataExt as _;

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

const RIGHTS: [Case; 10] = [
    Case::new("another-user-runs", 77, |_| {}).through(NOBODY),
    Case::new("another-user-renews", 77, |_| {}).through(NOBODY).call(&["renew", "shop", "--force"]),
    Case::new("another-user-looks", 0, |_| {}).through(NOBODY).call(&["status"]),
    Case::new("another-user-checks", 0, |_| {}).through(NOBODY).call(&["check"]),
    Case::new("another-user-asks-why", 0, |_| {}).through(NOBODY).call(&["why", "shop"]),
    Case::new("state-of-another-user", 77, |site| site.shell("chown -R 65534:65534 state"))
        .mend(|site| site.shell("chown -R 0:0 state")),
    Case::new("state-open-to-all", 77, |site| site.shell("chmod 0777 state"))
        .mend(|site| site.shell("chmod 0700 state")),
    Case::new("stored-key-open-to-all", 0, |site| {
        site.shell("chmod 0644 state/certs/shop/keys/* state/certs/shop/gen/*/privkey.pem");
    })
    .call(&["renew", "shop", "--force"]),
    Case::new("configuration-open-to-all", 78, |site| site.shell("chmod 0666 everleaf.yaml"))
        .mend(|site| site.shell("chmod 0644 everleaf.yaml")),
    Case::new("hook-open-to-all", 78, |site| site.shell("chmod 0777 reload"))
        .mend(|site| site.shell("chmod 0755 reload")),
];

#[test]
fn rights_that_are_wrong_are_said_and_readers_need_none() {
    let site = Site::new(|_| String::new());
    site.shell("chmod 0755 .");
    site.play_all(&RIGHTS);
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let site = Site::new(|_| String::new());
    let modes = |umask: &str| {
        site.begin(false);
        let ran = site.call(&["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"], &["run"]);
        assert_eq!(ran.exit, 0, "{}", ran.err);
        let mut found: Vec<String> = ["state", "live", "run"]
            .iter()
            .flat_map(|part| files(&site.path(part)).into_keys().collect::<Vec<_>>())
            .flat_map(|file| [file.parent().expect("a directory").to_owned(), file])
            .map(|path| {
                let found = std::fs::metadata(&path).expect("there");
                let kind = path.extension().filter(|_| found.is_file()).map(|it| it.to_string_lossy().into_owned());
                let kind = kind.unwrap_or_default();
                let parent = path.parent().and_then(|it| it.file_name()).map(|it| it.to_string_lossy().into_owned());
                format!(
                    "{}/*.{kind} {:o}",
                    parent.unwrap_or_default().chars().take(4).collect::<String>(),
                    found.mode()
                )
            })
            .collect();
        found.sort();
        found.dedup();
        found
    };
    let usual = modes("022");
    assert!(usual.len() > 8, "{usual:?}");
    for umask in ["000", "077", "777"] {
        assert_eq!(modes(umask), usual, "umask {umask}");
    }
}
