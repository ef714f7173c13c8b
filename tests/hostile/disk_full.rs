//! File systems that are full, read-only or elsewhere, and limits on a process.

use crate::disk::{Case, Site};

const DEPLOY: &[&str] = &["deploy", "shop"];

/// Fills the file system of `part` to the last byte, but for `pages` of 4 KiB.
fn fill(site: &Site, part: &str, pages: usize) {
    if site.path("live/shop").exists() {
        site.recall();
    }
    site.mount(part, "size=1m,mode=0755");
    if part == "state" {
        site.shell("chmod 0700 state");
    }
    site.shell(&format!(
        "head -c $((4096 * {pages})) /dev/zero >{part}/..room; dd if=/dev/zero of={part}/..filler bs=4k 2>/dev/null || true; \
         rm {part}/..room"
    ));
}

fn unfill(site: &Site, part: &str) {
    site.shell(&format!("rm {part}/..filler"));
    site.unmount(part);
}

/// Takes all inodes of the file system of `part`.
fn no_inodes(site: &Site, part: &str) {
    site.recall();
    site.mount(part, "nr_inodes=60");
    if part == "state" {
        site.shell("chmod 0700 state");
    }
    site.shell(&format!(
        "mkdir {part}/..filler; cd {part}/..filler; for n in $(seq 60); do touch $n || break; done 2>/dev/null"
    ));
}

fn inodes(site: &Site, part: &str) {
    site.shell(&format!("rm -r {part}/..filler"));
    site.unmount(part);
}

const FULL: [Case; 10] = [
    Case::new("state-full", 75, |site| fill(site, "state", 0)).mend(|site| unfill(site, "state")),
    Case::new("live-full", 20, |site| fill(site, "live", 0)).mend(|site| unfill(site, "live")),
    Case::new("both-full", 75, |site| {
        fill(site, "live", 0);
        fill(site, "state", 0);
    })
    .mend(|site| {
        unfill(site, "state");
        unfill(site, "live");
    }),
    Case::new("run-full", 0, |site| fill(site, "run", 0)).mend(|site| unfill(site, "run")),
    Case::new("extra-full", 20, |site| fill(site, "extra", 0)).mend(|site| unfill(site, "extra")),
    Case::new("state-without-inodes", 75, |site| no_inodes(site, "state")).mend(|site| inodes(site, "state")),
    Case::new("live-without-inodes", 20, |site| no_inodes(site, "live")).mend(|site| inodes(site, "live")),
    Case::new("state-full-from-nothing", 75, |site| fill(site, "state", 0))
        .with_nothing()
        .mend(|site| unfill(site, "state")),
    Case::new("live-full-from-nothing", 20, |site| fill(site, "live", 0))
        .with_nothing()
        .mend(|site| unfill(site, "live")),
    Case::new("live-elsewhere", 0, |site| {
        site.recall();
        site.mount("live", "size=1m,mode=0755");
    })
    .mend(|site| site.unmount("live")),
];

const FROZEN: [Case; 9] = [
    Case::new("state-read-only", 0, |site| site.freeze("state")).mend(|site| site.unmount("state")),
    Case::new("state-read-only-and-due", 1, |site| {
        site.recall();
        site.freeze("state");
    })
    .mend(|site| site.unmount("state")),
    Case::new("live-read-only", 20, |site| site.freeze("live")).call(DEPLOY).mend(|site| site.unmount("live")),
    Case::new("run-read-only", 1, |site| site.freeze("run")).mend(|site| site.unmount("run")),
    Case::new("extra-read-only", 20, |site| {
        site.recall();
        site.freeze("extra");
    })
    .mend(|site| site.unmount("extra")),
    Case::new("extra-missing", 20, |site| site.shell("rm -r extra")).mend(|site| site.shell("mkdir extra")),
    Case::new("extra-immutable", 20, |site| {
        site.recall();
        site.shell("chattr +i extra/shop.pem");
    })
    .mend(|site| site.shell("chattr -i extra/shop.pem")),
    Case::new("live-immutable", 20, |site| {
        site.recall();
        site.shell("chattr +i live/shop");
    })
    .mend(|site| site.shell("chattr -i live/shop")),
    Case::new("state-immutable", 0, |site| {
        site.recall();
        site.shell("chattr +i state/certs/shop");
    })
    .mend(|site| site.shell("chattr -i state/certs/shop")),
];

const LIMITS: [Case; 5] = [
    Case::new("files-of-no-size", 75, Site::recall).through(&["prlimit", "--fsize=0", "--"]),
    Case::new("files-of-a-kilobyte", 75, Site::recall).through(&["prlimit", "--fsize=1024", "--"]),
    Case::new("eight-open-files", 1, Site::recall).through(&["prlimit", "--nofile=8", "--"]),
    Case::new("state-over-quota", 75, Site::recall).through(&QUOTA_OF_WRITES),
    Case::new("live-over-quota", 20, Site::recall).through(&QUOTA_OF_LINKS),
];

/// A quota is made with strace: not every kernel that these tests meet has any.
const QUOTA_OF_WRITES: [&str; 7] = ["strace", "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EDQUOT", "--"];
/// Links are made in the live directory alone.
const QUOTA_OF_LINKS: [&str; 7] = ["strace", "-f", "-o", "/dev/null", "-e", "inject=symlinkat:error=EDQUOT", "--"];

fn site() -> Site {
    Site::new(|scene| format!("    files: [{{ path: {}/shop.pem, content: bundle }}]\n", scene.path("extra").display()))
}

#[test]
fn a_full_disk_costs_nothing_but_the_wait() {
    site().play_all(&FULL);
}

#[test]
fn what_cannot_be_written_is_said_and_done_once_it_can() {
    site().play_all(&FROZEN);
}

#[test]
fn limits_on_a_process_kill_nobody() {
    site().play_all(&LIMITS);
}

/// A renewal that runs out of open files at any point.
#[test]
fn a_process_that_may_open_few_files() {
    let site = site();
    let step = if std::env::var_os("EVERLEAF_FULL").is_some() { 1 } else { 4 };
    for limit in (24..40).step_by(step) {
        let through = format!("--nofile={limit}");
        site.play_any(&["prlimit", &through, "--"], |_| {}, |_| {});
    }
}

/// A renewal that runs out of space after any number of pages.
#[test]
fn a_disk_that_fills_up_under_a_renewal() {
    let site = site();
    let step = if std::env::var_os("EVERLEAF_FULL").is_some() { 1 } else { 11 };
    for (part, most) in [("state", 40), ("live", 12)] {
        for pages in (1..most).step_by(step) {
            site.play_any(&[], |site| fill(site, part, pages), |site| unfill(site, part));
        }
    }
}
