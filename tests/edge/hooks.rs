//! Hooks as real processes.

use crate::support::{block_on, context, hook, lives, scratch, script, shell, until};
use everleaf::config::spec::Hook;
use everleaf::hook::{Answer, Call};
use everleaf::types::{Class, Failure};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn run(hook: &Hook) -> Result<Answer, Failure> {
    block_on(Call::new(hook, "deploy", "node edge1").run())
}

fn stdout(answer: Result<Answer, Failure>) -> String {
    match answer {
        Ok(Answer::Done { stdout }) => String::from_utf8(stdout).expect("UTF-8"),
        other => panic!("no output: {other:?}"),
    }
}

fn failure(hook: &Hook) -> Failure {
    run(hook).expect_err("it must fail")
}

fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[test]
fn exit_statuses_mean_what_is_written() {
    assert_eq!(run(&shell("exit 0")), Ok(Answer::Done { stdout: Vec::new() }));
    assert_eq!(run(&shell("exit 42")), Ok(Answer::NotForMe));
    let later = failure(&shell("echo no route to it >&2; exit 75"));
    assert!(later.message.as_str().ends_with(": no route to it"), "{later:?}");
    assert_eq!((later.class, later.code.as_str()), (Class::Retry, "hook:later"));
    let refused = failure(&shell("exit 43"));
    assert_eq!((refused.class, refused.code.as_str()), (Class::Operator, "hook:refused"));
    let failed = failure(&shell("echo one; echo 'nginx: [emerg] \u{1b}[31mbad' >&2; exit 3"));
    assert_eq!((failed.class, failed.code.as_str()), (Class::Retry, "hook:exit"));
    assert!(failed.message.as_str().contains('3') && failed.place.as_str().contains("node edge1"), "{failed:?}");
    let lines: Vec<_> = failed.details.iter().map(|line| line.as_str().to_owned()).collect();
    assert!(lines.contains(&"one".to_owned()) && lines.contains(&"nginx: [emerg] [31mbad".to_owned()), "{lines:?}");
    assert_eq!(failure(&shell("kill -9 $$")).code, "hook:signal");
}

#[test]
fn a_hook_that_cannot_start_says_why() {
    let dir = scratch();
    let at = |path: PathBuf| failure(&hook([path.to_str().expect("UTF-8")])).code;
    assert_eq!(at(dir.path().join("missing")), "hook:not-found");
    assert_eq!(failure(&hook(["everleaf-no-such-program"])).code, "hook:not-found");
    assert_eq!(at(script(dir.path(), "no-interpreter", "#!/no/such/interpreter\n")), "hook:interpreter");
    assert_eq!(at(script(dir.path(), "no-line", "echo hello\n")), "hook:format");
    let plain = script(dir.path(), "plain", "#!/bin/sh\n");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(at(plain), "hook:permission");
}

#[test]
fn what_anybody_may_write_is_refused() {
    let dir = scratch();
    let path = script(dir.path(), "hook", "#!/bin/sh\n");
    let call = || run(&hook([path.to_str().expect("UTF-8")])).map_err(|failure| failure.code);
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    assert!(call().is_ok());
    mode(&path, 0o757);
    assert_eq!(call(), Err("hook:world-writable".to_owned()));
    mode(&path, 0o755);
    mode(dir.path(), 0o777);
    assert_eq!(call(), Err("hook:world-writable".to_owned()));
    mode(dir.path(), 0o1777);
    assert!(call().is_ok(), "a sticky directory guards its files");
    let link = dir.path().join("elsewhere");
    let open = dir.path().join("open");
    std::fs::create_dir(&open).expect("mkdir");
    mode(&open, 0o777);
    let target = script(&open, "hook", "#!/bin/sh\n");
    std::os::unix::fs::symlink(&target, &link).expect("symlink");
    assert_eq!(failure(&hook([link.to_str().expect("UTF-8")])).code, "hook:world-writable", "seen through a link");
}

#[test]
fn the_environment_is_as_documented_and_no_more() {
    let dir = scratch();
    for file in ["fullchain.pem", "privkey.pem", "cert.pem", "chain.pem", "bundle.pem"] {
        std::fs::write(dir.path().join(file), "x").expect("write");
    }
    let contexts = [context("shop", Path::new("/live/shop"), Some(dir.path()))];
    let env = shell("pwd; /usr/bin/env -0 | tr '\\0' '\\n'");
    let text = stdout(block_on(Call::new(&env, "deploy", "node edge1").about(&contexts).run()));
    let (cwd, rest) = text.split_once('\n').expect("lines");
    assert_eq!(cwd, "/");
    let mut seen: BTreeMap<_, _> = rest.lines().filter_map(|line| line.split_once('=')).collect();
    // The shell's own.
    seen.remove("PWD");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (full, key, cert) = (file("fullchain.pem"), file("privkey.pem"), file("cert.pem"));
    let (chain, bundle) = (file("chain.pem"), file("bundle.pem"));
    let generation = crate::support::generation(7).to_string();
    let wanted = BTreeMap::from([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
        ("EVERLEAF_EVENT", "deploy"),
        ("EVERLEAF_NAME", "shop"),
        ("EVERLEAF_DOMAINS", "shop.example.com *.shop.example.com"),
        ("EVERLEAF_NODE", "edge1"),
        ("EVERLEAF_GENERATION", &generation),
        ("EVERLEAF_EPOCH", "3"),
        ("EVERLEAF_LIVE_DIR", "/live/shop"),
        ("EVERLEAF_FULLCHAIN", &full),
        ("EVERLEAF_PRIVKEY", &key),
        ("EVERLEAF_CERT", &cert),
        ("EVERLEAF_CHAIN", &chain),
        ("EVERLEAF_BUNDLE", &bundle),
        ("EVERLEAF_SERIAL", "00aa"),
        ("EVERLEAF_NOT_AFTER", "2027-01-15T08:00:00Z"),
        ("EVERLEAF_PREV_SERIAL", "00bb"),
        ("EVERLEAF_REASON", "ARI window"),
        ("EVERLEAF_ATTEMPT", "4"),
    ]);
    assert_eq!(seen, wanted);
}

#[test]
fn what_is_not_known_is_not_set() {
    let mut bare = context("shop", Path::new("/live/shop"), None);
    (bare.node, bare.generation, bare.epoch, bare.serial) = (None, None, None, None);
    (bare.not_after, bare.prev_serial, bare.dry_run) = (None, None, true);
    let contexts = [bare];
    let env = shell("env");
    let text = stdout(block_on(Call::new(&env, "pre", "shop").about(&contexts).run()));
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| name.starts_with("EVERLEAF_"));
    names.sort_unstable();
    let wanted = ["ATTEMPT", "DOMAINS", "DRY_RUN", "EVENT", "LIVE_DIR", "NAME", "REASON"];
    assert_eq!(names, wanted.map(|name| format!("EVERLEAF_{name}")));
}

#[test]
fn one_json_event_on_stdin() {
    let contexts = [context("shop", Path::new("/live/shop"), None), context("blog", Path::new("/live/blog"), None)];
    let cat = shell("cat; echo $EVERLEAF_NAME / $EVERLEAF_NAMES");
    let text = stdout(block_on(Call::new(&cat, "reload", "node edge1").about(&contexts).run()));
    let (json, names) = text.trim_end().split_once('\n').expect("one line of JSON, then the names");
    assert_eq!(names, "shop / shop blog");
    let event: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(event["schema"], "everleaf.hook/1");
    assert_eq!(event["event"], "reload");
    assert_eq!(event["name"], "shop");
    assert_eq!(event["epoch"], 3);
    assert_eq!(event["live_dir"], "/live/shop");
    assert_eq!(event["certificates"][1]["name"], "blog");
    assert_eq!(event["certificates"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_hook_that_hangs_is_ended_in_time() {
    let slow = Hook { timeout: Duration::from_millis(200), ..shell("echo waiting; sleep 600") };
    let begun = Instant::now();
    let failure = failure(&slow);
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "hook:timeout"));
    assert!(failure.details.iter().any(|line| line.as_str() == "waiting"), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "TERM is enough: {:?}", begun.elapsed());
}

#[test]
fn a_child_that_ignores_term_is_killed_with_its_group() {
    let dir = scratch();
    let pid = dir.path().join("pid");
    let line = format!(
        "(trap '' TERM; echo $$ >/dev/null; sh -c 'trap \"\" TERM; echo $$ >{0}; while :; do sleep 1; done') & wait",
        pid.display()
    );
    let stubborn = Hook { timeout: Duration::from_millis(500), ..shell(&line) };
    let begun = Instant::now();
    assert_eq!(failure(&stubborn).code, "hook:timeout");
    assert!(begun.elapsed() < Duration::from_secs(12));
    let child = read_pid(&pid).expect("the child wrote its pid");
    assert!(block_on(until(|| !lives(child))), "the child outlived its group");
}

#[test]
fn ten_megabytes_of_output_are_cut_and_do_not_block() {
    let flood = shell("head -c 10485760 /dev/zero | tr '\\0' 'x' | fold -w 100; echo; echo the end >&2; exit 1");
    let failed = failure(&flood);
    assert_eq!(failed.code, "hook:exit");
    assert!(failed.details.len() <= 32 && failed.details.iter().any(|line| line.as_str() == "the end"));
    let kept = stdout(run(&shell("head -c 10485760 /dev/zero")));
    assert_eq!(kept.len(), 64 * 1024);
}

#[test]
fn a_child_left_behind_does_not_hold_us() {
    let dir = scratch();
    let pid = dir.path().join("pid");
    let begun = Instant::now();
    let text = stdout(run(&shell(&format!("sleep 30 & echo $! >{}; echo done", pid.display()))));
    assert_eq!(text, "done\n");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let child = read_pid(&pid).expect("a pid");
    assert!(lives(child), "what a successful hook leaves running is its own business");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).expect("kill");
}

#[test]
fn a_hook_that_reads_nothing_is_fine() {
    let mut big = context("shop", Path::new("/live/shop"), None);
    big.domains = (0..20_000).map(|n| format!("n{n}.example.com").parse().expect("a domain")).collect();
    // The environment of one process holds at most 128 KiB a variable, so only stdin is large here.
    let contexts = [context("shop", Path::new("/live/shop"), None), big];
    let quiet = shell("exec </dev/null; sleep 0.2");
    assert!(block_on(Call::new(&quiet, "reload", "node edge1").about(&contexts).run()).is_ok());
}

#[test]
fn dropping_the_call_kills_the_group_and_leaves_no_zombie() {
    let dir = scratch();
    let (leader, child) = (dir.path().join("leader"), dir.path().join("child"));
    let line = format!("echo $$ >{}; sleep 600 & echo $! >{}; wait", leader.display(), child.display());
    let long = shell(&line);
    block_on(async {
        let call = Call::new(&long, "deploy", "node edge1").run();
        let started = until(|| read_pid(&child).is_some());
        tokio::select! {
            answer = call => panic!("it ended: {answer:?}"),
            started = started => assert!(started),
        }
        let pids = [&leader, &child].map(|path| read_pid(path).expect("a pid"));
        assert!(until(|| pids.iter().all(|pid| !lives(*pid))).await, "the group lives on");
        let reaped = until(|| !Path::new(&format!("/proc/{}", pids[0])).exists()).await;
        assert!(reaped, "a zombie was left");
    });
}

#[test]
fn no_descriptor_of_ours_reaches_a_hook() {
    let dir = scratch();
    let lock = std::fs::File::create(dir.path().join("lock")).expect("create");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let listed = stdout(run(&shell("ls -l /proc/$$/fd")));
    assert!(listed.contains("pipe:"), "{listed}");
    assert!(!listed.contains("lock") && !listed.contains("socket:"), "{listed}");
    drop((lock, listener));
}

#[test]
fn certbot_hooks_run_as_certbot_runs_them() {
    let contexts = [context("shop", Path::new("/live/shop"), None)];
    let line = "umask; echo \"$HOME\"; echo $RENEWED_LINEAGE; echo $RENEWED_DOMAINS; cat";
    let certbot = Hook { certbot: true, shell: true, ..hook([line]) };
    let text = stdout(block_on(Call::new(&certbot, "deploy", "node local").about(&contexts).run()));
    let home = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).expect("passwd").expect("a user").dir;
    let wanted = format!("0022\n{}\n/live/shop\nshop.example.com *.shop.example.com\n", home.display());
    assert_eq!(text, wanted);
    let list = Hook { certbot: true, ..hook(["printf", "%s|", "a b", "$HOME"]) };
    assert_eq!(stdout(run(&list)), "a b|$HOME|", "a list is not read by a shell again");
}
