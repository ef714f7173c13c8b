//! `everleaf receive`: a node that has everleaf, behind a real sshd, mostly by a forced command.

pub(crate) mod place;

use crate::rig::scene::{everleaf, left_behind, plain_serial};
use crate::rig::{HaProxy, Nginx, free_port, host, openssl_serial, snapshot, strace, wait_until};
use crate::support::{block_on, generation as made_up, hook, nodes, shell};
use everleaf::config::spec::{Access, Node, NodeKind, Receive, Reload, Roots, Ssh};
use everleaf::ports::{Published, Reloader as _};
use everleaf::types::{Class, Epoch};
use place::{Place, bundle, errand, exists, failure, made, manifest, plain, serial, words};
use rcgen::date_time_ymd;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// nginx on the node, and the arguments of a forced command for it.
fn nginx(place: &Place) -> (Nginx, SocketAddr, String) {
    let at = SocketAddr::from((host(), free_port()));
    let live = place.world.path("live/shop");
    left_behind(&live);
    let nginx = Nginx::start(&Nginx::tls(at, &live.join("fullchain.pem"), &live.join("privkey.pem")), at);
    let arguments = format!(
        "--only shop,api --live {} --check '{}' --reload '{}' --probe {at}",
        place.world.path("live").display(),
        nginx.check_command().join(" "),
        nginx.reload_command().join(" "),
    );
    (nginx, at, arguments)
}

#[test]
fn it_publishes_checks_reloads_and_says_what_is_served() {
    let place = Place::new();
    let (_nginx, at, arguments) = nginx(&place);
    place.force(&arguments);
    let (node, generation) = (place.node(), place.issue(7));
    let before = place.world.inspect(&node, &generation);
    assert_eq!(before, Ok(Some(Published { generation: None, epoch: None, intact: false })));
    place.world.deploy(&node, &generation, 3).expect("deployed");
    let id = Some(generation.about.generation);
    assert_eq!(
        place.world.inspect(&node, &generation),
        Ok(Some(Published { generation: id, epoch: Some(Epoch(3)), intact: true }))
    );
    assert_ne!(openssl_serial(at, "shop.example.com").map(|it| plain_serial(&it)), Some(serial(&generation)));
    place.reload(&node, &generation).expect("reloaded");
    // An old worker may answer once more.
    let renewed = || openssl_serial(at, "shop.example.com").map(|it| plain_serial(&it)) == Some(serial(&generation));
    assert!(wait_until(Duration::from_secs(20), renewed));
    // What was published there is what everleaf itself would have published.
    let here = Node { kind: NodeKind::Local, ..node.clone() };
    assert_eq!(place.world.inspect(&here, &generation).map(|it| it.is_some_and(|it| it.intact)), Ok(true));
    let mode = |file: &str| fs::metadata(place.world.path(file)).expect("it is there").mode() & 0o7777;
    let modes = ["privkey.pem", "bundle.pem", "cert.pem"].map(|it| mode(&format!("live/shop/{it}")));
    assert_eq!(modes, [0o600, 0o600, 0o644]);

    // The same as anybody sees it who sends a bundle.
    let again = place.receive(&[], &bundle(&manifest(&generation, 3), &generation)).exits(0).json();
    assert_eq!((&again["schema"], &again["outcome"]), (&json!("everleaf.received/1"), &json!("unchanged")));
    let certificates = json!([{ "name": "shop", "generation": generation.about.generation.to_string() }]);
    let reload = errand(&json!({ "reload": { "certificates": certificates } }));
    let answer = place.receive(&["--reload", "true", "--probe", &at.to_string()], &reload).exits(0).json();
    let serial = generation.about.serial.to_string();
    let served = json!([{ "name": "shop", "address": at.to_string(), "serial": serial, "wanted": true }]);
    assert_eq!((&answer["outcome"], &answer["served"]), (&json!("reloaded"), &served), "{answer}");

    // A reload that does nothing is told by what is served.
    let newer = place.issue(8);
    place.world.deploy(&node, &newer, 4).expect("deployed");
    let certificates = json!([{ "name": "shop", "generation": newer.about.generation.to_string() }]);
    let reload = errand(&json!({ "reload": { "certificates": certificates } }));
    let answer = place.receive(&["--reload", "true", "--probe", &at.to_string()], &reload).exits(0).json();
    let stale = json!([{ "name": "shop", "address": at.to_string(), "serial": serial, "wanted": false }]);
    assert_eq!((&answer["outcome"], &answer["served"]), (&json!("reloaded"), &stale), "{answer}");
}

#[test]
fn a_forced_command_decides_and_the_sender_only_delivers() {
    let mut place = Place::new();
    let live = place.world.path("live").display().to_string();
    place.force(&format!("--only shop,api --live {live} --group daemon"));
    let generation = place.issue(7);
    let marker = place.world.path("touched");
    let touch = format!("touch {}", marker.display());
    let elsewhere = place.world.path("elsewhere");
    // Everything that the sender's configuration says of the node is other than what the node says.
    let node = Node {
        live: elsewhere.clone(),
        check: Some(hook(["touch", &marker.display().to_string()])),
        reload: Reload::Exec(shell(&touch)),
        ..place.node()
    };
    let (owner, group) = (Some("nobody".to_owned()), None);
    place.world.certificate.access = Access { owner, group, key_mode: 0o660, cert_mode: 0o664, dir_mode: 0o775 };
    place.world.deploy(&node, &generation, 1).expect("deployed");
    assert!(!exists(&elsewhere), "the node's own directory counts");
    let key = fs::metadata(place.world.path("live/shop/privkey.pem")).expect("published");
    assert_eq!((key.mode() & 0o7777, key.uid(), key.gid()), (0o640, nix::unistd::geteuid().as_raw(), 1));
    let unheard = place.reload(&node, &generation).expect_err("no reload is named there");
    assert_eq!((unheard.class, unheard.code.as_str()), (Class::Operator, "receive:no-reload"));
    assert!(!exists(&marker), "no command of the sender's was run");

    // Another name, or one that would lead elsewhere.
    place.world.certificate.name = "other".parse().expect("a name");
    let other = place.world.deploy(&node, &generation, 1).expect_err("not in --only");
    assert_eq!((other.class, other.code.as_str()), (Class::Operator, "receive:not-allowed"));
    assert!(!exists(&place.world.path("live/other")));
    snapshot("edge/receive/forced", &plain(&place, &[words(&unheard), words(&other)].concat()));
    for errand_ in [
        json!({ "inspect": { "name": "other", "generation": made_up(1).to_string(),
            "files": manifest(&generation, 1)["errand"]["deploy"]["files"] } }),
        json!({ "reload": { "certificates": [{ "name": "shop", "generation": null }, { "name": "other", "generation": null }] } }),
    ] {
        let ran = place.receive(&["--only", "shop", "--reload", &touch], &errand(&errand_)).exits(1);
        assert_eq!(failure(&ran).code, "receive:not-allowed");
    }
    for name in ["../shop", "/etc/passwd", "shop/../../x", ".", "..", "", "..data", "shop\u{0}", "SHOP", "-shop"] {
        let mut escaping = manifest(&generation, 9);
        escaping["errand"]["deploy"]["name"] = name.into();
        let ran = place.receive(&["--only", "shop"], &bundle(&escaping, &generation)).exits(1);
        assert_eq!(failure(&ran).code, "receive:bundle", "{name}");
    }
    assert!(!exists(&marker));
}

/// What a node refused, in its words, and what lay there all the time.
struct Refusals<'a> {
    place: &'a Place,
    lies: String,
    told: String,
}

impl<'a> Refusals<'a> {
    /// Of a node that has generation 7 at epoch 5.
    fn of(place: &'a Place) -> Self {
        let good = place.issue(7);
        place.receive(&[], &bundle(&manifest(&good, 5), &good)).exits(0);
        Self { place, lies: place.lies(), told: String::new() }
    }

    fn refused(&mut self, what: &str, code: &str, arguments: &[&str], stdin: &[u8]) {
        let ran = self.place.receive(arguments, stdin);
        assert!(ran.exit != 0, "the node took {what}: {ran:?}");
        let failure = failure(&ran);
        assert_eq!(failure.code, code, "{what}: {ran:?}");
        assert!(self.place.lies() == self.lies, "{what}: what was published stays");
        self.told.extend([what, ": ", &words(&failure), "\n"]);
    }
}

#[test]
fn what_is_no_whole_bundle_changes_nothing() {
    let place = Place::new();
    let mut refusals = Refusals::of(&place);
    let next = place.issue(8);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest(&next, 6);
        change(&mut manifest);
        bundle(&manifest, &next)
    };
    let mut refused = |what: &str, code: &str, stdin: &[u8]| refusals.refused(what, code, &[], stdin);
    let whole = bundle(&manifest(&next, 6), &next);
    refused("nothing", "receive:empty", b"");
    refused("garbage", "receive:bundle", b"GET / HTTP/1.1\r\n\r\n");
    refused("cut in the manifest", "receive:cut", &whole[..100]);
    refused("cut in the key", "receive:cut", &whole[..whole.len() - 20]);
    refused("more behind it", "receive:bundle", &[&whole[..], b"x"].concat());
    refused(
        "a newer everleaf",
        "receive:newer",
        &changed(&|it| {
            it["schema"] = "everleaf.bundle/2".into();
            it["everleaf"] = "9.0.0".into();
            it["errand"] = json!({ "something": "new" });
        }),
    );
    refused("a command in it", "receive:bundle", &changed(&|it| it["reload"] = "touch /tmp/x".into()));
    let mut flipped = whole.clone();
    let place_of_key = whole.len() - 60;
    flipped[place_of_key] ^= 1;
    refused("a bit of the key flipped", "receive:digest", &flipped);
    refused("a lower epoch", "publish:epoch", &changed(&|it| it["errand"]["deploy"]["epoch"] = 4.into()));
    refused(
        "another generation's name",
        "receive:refused",
        &changed(&|it| {
            it["errand"]["deploy"]["generation"] = made_up(8).to_string().into();
        }),
    );
    snapshot("edge/receive/damaged", &plain(&place, &refusals.told));
}

#[test]
fn a_pair_that_would_not_do_is_refused_whoever_sends_it() {
    let place = Place::new();
    let mut refusals = Refusals::of(&place);
    let next = place.issue(8);
    let mut refused = |what: &str, stdin: &[u8]| refusals.refused(what, "receive:refused", &[], stdin);
    let sent = |generation: &_| bundle(&manifest(generation, 6), generation);
    let foreign = made(8, &next.cert, &next.chain, place.issue(7).privkey.reveal());
    refused("another key", &sent(&foreign));
    let mut ended = Place::params();
    ended.not_before = date_time_ymd(2020, 1, 1);
    ended.not_after = date_time_ymd(2020, 4, 1);
    refused("an ended certificate", &sent(&place.issue_as(8, &ended)));
    let mut early = Place::params();
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2091, 1, 1);
    refused("one that has not begun", &sent(&place.issue_as(8, &early)));
    let alone = made(8, &next.cert, "", next.privkey.reveal());
    refused("without its issuer", &sent(&alone));
    let stranger = Place::new();
    let wrong = made(8, &next.cert, &stranger.upper.pem, next.privkey.reveal());
    refused("with another issuer of that name", &sent(&wrong));
    let swapped = made(8, &format!("{}{}", next.cert, next.chain), "", next.privkey.reveal());
    refused("two in cert.pem", &sent(&swapped));
    let roots = place.world.path("roots.pem");
    fs::write(&roots, &stranger.root.pem).expect("written");
    let roots = roots.display().to_string();
    let (cert, key) = crate::rig::self_signed(&["shop.example.com"]);
    refused("a placeholder", &sent(&made(8, &cert, "", &key)));
    let roots_given = ["--roots", roots.as_str()];
    refusals.refused("a root that is not trusted there", "receive:refused", &roots_given, &sent(&next));
    snapshot("edge/receive/refused", &plain(&place, &refusals.told));

    fs::write(&roots, &place.root.pem).expect("written");
    place.receive(&roots_given, &sent(&next)).exits(0);
    assert!(place.lies() != refusals.lies, "and a good one is published");
}

#[test]
fn what_never_ends_is_not_read_for_ever() {
    let place = Place::new();
    let zeros = fs::File::open("/dev/zero").expect("it is there");
    let ran = place.receive_from(&[], zeros.into()).exits(1);
    assert_eq!(failure(&ran).code, "receive:bundle");
    assert!(!exists(&place.world.path("live")));
}

#[test]
fn a_connection_that_dies_in_the_upload_changes_nothing() {
    let place = Place::new();
    let live = place.world.path("live").display().to_string();
    place.force(&format!("--live {live}"));
    let (node, good, next) = (place.node(), place.issue(7), place.issue(8));
    place.world.deploy(&node, &good, 1).expect("deployed");
    let lies = place.lies();
    let whole = bundle(&manifest(&next, 2), &next);
    let mut ssh = Command::new(crate::rig::require("ssh"));
    ssh.arg("-F").arg(place.sshd.client_config()).args(["edge", "anything"]);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ssh starts");
    ssh.stdin.as_mut().expect("a pipe").write_all(&whole[..whole.len() - 50]).expect("written");
    let mine = || receivers(&live);
    assert!(wait_until(Duration::from_secs(20), || !mine().is_empty()), "it was begun there");

    // What is being received is nowhere to be read: not among the arguments, not in the environment.
    let pid = mine()[0];
    let secret = next.privkey.reveal().lines().nth(1).expect("a line").to_owned();
    for file in ["cmdline", "environ"] {
        let seen = fs::read(format!("/proc/{pid}/{file}")).expect("it runs");
        assert!(!seen.is_empty() && !String::from_utf8_lossy(&seen).contains(&secret), "{file}");
    }
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).expect("it runs").uid(), 0, "no core, no debugger");
    ssh.kill().and_then(|()| ssh.wait()).expect("ended");
    assert!(wait_until(Duration::from_secs(20), || mine().is_empty()), "it ends there");
    assert!(place.lies() == lies, "what was published stays");
    place.world.deploy(&node, &next, 2).expect("the next one goes through");
}

/// The processes that receive into `live`.
fn receivers(live: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let receives = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words.first().is_some_and(|it| it.ends_with("everleaf")) && words.iter().any(|it| it == live)
    };
    pids.filter(receives).collect()
}

#[test]
fn a_key_is_never_readable_by_others_on_the_node() {
    let place = Place::new();
    let generation = place.issue(7);
    let stdin = place.world.path("stdin");
    fs::write(&stdin, bundle(&manifest(&generation, 1), &generation)).expect("written");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("umask 0; exec \"$0\" receive --live \"$1\" --group daemon <\"$2\"").arg(everleaf());
    command.arg(place.world.path("live")).arg(&stdin).env("PATH", "/usr/bin:/bin");
    let (output, calls) = strace::record(&command, strace::CHANGING).expect("strace");
    assert!(output.status.success(), "{output:?}");
    for file in ["privkey.pem", "bundle.pem"] {
        let find = |name: &str, about: &str| {
            let found = calls.iter().position(|it| it.name.starts_with(name) && it.line.contains(about));
            found.unwrap_or_else(|| panic!("no {name} of {about}: {calls:#?}"))
        };
        let created = find("openat", &format!("\"{file}\", O_WRONLY|O_CREAT|O_EXCL"));
        assert!(calls[created].line.contains(", 0600)"), "{}", calls[created].line);
        let (owned, opened) = (find("fchown", &format!("/{file}>")), find("fchmod", &format!("/{file}>")));
        let written = find("pwrite64", &format!("/{file}>"));
        assert!(created < owned && owned < opened && opened < written, "owner and mode before the first byte");
    }
    let private = calls.iter().position(|it| it.name == "mkdirat" && it.line.contains("..tmp-")).expect("a directory");
    assert!(calls[private].line.contains(", 0700)"), "{}", calls[private].line);
    let secret = generation.privkey.reveal().lines().nth(1).expect("a line");
    let shown = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&shown).contains(secret));
}

#[test]
fn several_at_once_leave_the_newest_whole() {
    let place = Place::new();
    let generations: Vec<_> = (1..=6).map(|number| place.issue(number)).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let begun: Vec<_> = generations
            .iter()
            .enumerate()
            .map(|(at, generation)| {
                let (place, live) = (&place, place.world.path("live"));
                let file = place.world.path(&format!("stdin-{at}"));
                let stdin = bundle(&manifest(generation, at as u64 + 1), generation);
                scope.spawn(move || {
                    fs::write(&file, stdin).expect("written");
                    let mut command = Command::new(everleaf());
                    command.args(["receive", "--live"]).arg(live).stdin(fs::File::open(&file).expect("it is there"));
                    crate::rig::scene::Ran::new(&command.output().expect("it runs"))
                })
            })
            .collect();
        begun.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    for ran in &answers {
        let fine = ran.exit == 0 || ["publish:epoch", "publish:ewouldblock"].contains(&failure(ran).code.as_str());
        assert!(fine, "{ran:?}");
    }
    let newest = generations.last().expect("six");
    assert_eq!(answers.last().map(|ran| ran.exit), Some(0), "nobody has a higher epoch: {answers:?}");
    let files = manifest(newest, 6)["errand"]["deploy"]["files"].clone();
    let id = newest.about.generation.to_string();
    let look = errand(&json!({ "inspect": { "name": "shop", "generation": id, "files": files } }));
    let published = place.receive(&[], &look).exits(0).json()["published"].clone();
    assert_eq!(
        (&published["generation"], &published["epoch"], &published["intact"]),
        (&json!(id), &json!(6), &json!(true))
    );
    let left: Vec<_> = fs::read_dir(place.world.path("live/shop")).expect("listed").flatten().collect();
    let temporary = left.iter().filter(|it| it.file_name().to_string_lossy().starts_with("..tmp-")).count();
    assert_eq!(temporary, 0);
}

#[test]
fn without_a_forced_command_the_configuration_s_words_are_its_arguments() {
    let mut place = Place::new();
    let marker = place.world.path("reloaded");
    let group = Some("daemon".to_owned());
    place.world.certificate.access = Access { owner: None, group, key_mode: 0o640, cert_mode: 0o640, dir_mode: 0o750 };
    let node = Node {
        check: Some(hook(["test", "a  b's", "=", "a  b's"])),
        reload: Reload::Exec(shell(&format!(
            "echo $EVERLEAF_NAME $EVERLEAF_DOMAINS $EVERLEAF_NODE >>{}",
            marker.display()
        ))),
        ..place.node()
    };
    let generation = place.issue(7);
    place.world.deploy(&node, &generation, 1).expect("deployed");
    place.reload(&node, &generation).expect("reloaded");
    assert_eq!(place.world.read("reloaded"), "shop shop.example.com edge1\n");
    let mode = |file: &str| fs::metadata(place.world.path(file)).expect("it is there").mode() & 0o7777;
    assert_eq!(
        (mode("live/shop/privkey.pem"), mode("live/shop/cert.pem"), mode("live/shop/..data/.")),
        (0o640, 0o640, 0o750)
    );
    assert_eq!(place.world.inspect(&node, &generation).map(|it| it.is_some_and(|it| it.intact)), Ok(true));

    let failing = Node { check: Some(shell("echo 'unknown directive' >&2; exit 9")), ..node.clone() };
    let check = place.reload(&failing, &generation).expect_err("it disagrees");
    let failing = Node { reload: Reload::Exec(shell("echo 'no such thing' >&2; exit 3")), ..node.clone() };
    let reload = place.reload(&failing, &generation).expect_err("it fails");
    let key = fs::canonicalize(place.world.path("live/shop/privkey.pem")).expect("it is there");
    fs::write(key, "damaged").expect("written");
    assert_eq!(place.world.inspect(&node, &generation).map(|it| it.is_some_and(|it| it.intact)), Ok(false));
    let damaged = place.reload(&node, &generation).expect_err("it is damaged");
    assert_eq!(
        [&check, &reload, &damaged].map(|it| it.code.as_str()),
        ["check:failed", "there:hook:exit", "reload:pair"]
    );
    assert_eq!(place.world.read("reloaded").lines().count(), 1);
    place.world.deploy(&node, &generation, 1).expect("healed");
    place.reload(&node, &generation).expect("reloaded");
    let refused = place.world.deploy(&node, &place.issue(8), 0).expect_err("a lower epoch");
    assert_eq!((refused.class, refused.code.as_str()), (Class::Operator, "publish:epoch"));
    let all = [check, reload, damaged, refused].map(|it| words(&it)).concat();
    snapshot("edge/receive/told", &plain(&place, &all));
}

#[test]
fn a_disk_there_that_refuses_leaves_the_old_pair_and_is_not_taken_for_this_one() {
    let place = Place::new();
    let (node, good, next) = (place.node(), place.issue(7), place.issue(8));
    place.world.deploy(&node, &good, 1).expect("deployed");
    let lies = place.lies();
    // No file may have more than a block of 512 bytes.
    place.program("everleaf", &format!("ulimit -f 1; exec {} \"$@\"", everleaf()));
    let refused = place.world.deploy(&node, &next, 2).expect_err("no room for it");
    assert_eq!(refused.code, "there:publish:efbig", "{refused:?}");
    assert!(!refused.is_of_the_disk() && !refused.is_mended_here(), "{refused:?}");
    assert!(place.lies() == lies, "what was published stays");
    snapshot("edge/receive/disk", &plain(&place, &words(&refused)));
    place.program("everleaf", &format!("exec {} \"$@\"", everleaf()));
    place.world.deploy(&node, &next, 2).expect("the next one goes through");
}

#[test]
fn a_check_alone_is_the_node_s_own() {
    let place = Place::new();
    let check = |node: &Node| block_on(nodes(&place.world.systemd).check(node)).map_err(|failure| failure.code);
    place.force("--check 'test \"$EVERLEAF_DRY_RUN\" = 1'");
    let node = Node { check: Some(shell("false")), ..place.node() };
    assert_eq!(check(&node), Ok(()), "what the sender would check is not asked");
    place.force("--check 'echo no good >&2; exit 1'");
    assert_eq!(check(&place.node()), Err("check:failed".to_owned()));
}

#[test]
fn haproxy_on_the_node_is_given_it_without_a_reload() {
    let place = Place::new();
    let at = SocketAddr::from((host(), free_port()));
    let live = place.world.path("live/shop");
    left_behind(&live);
    let front = format!("frontend tls\n    bind {at} ssl crt {}\n", live.join("bundle.pem").display());
    let haproxy = HaProxy::start("", &format!("{front}    http-request return status 200\n"), at);
    let (node, generation) = (place.node(), place.issue(7));
    let node = Node { reload: Reload::HaProxy { socket: haproxy.socket(), list: None }, ..node };
    place.world.deploy(&node, &generation, 1).expect("deployed");
    place.reload(&node, &generation).expect("given");
    assert_eq!(openssl_serial(at, "shop.example.com").map(|it| plain_serial(&it)), Some(serial(&generation)));
    assert_eq!(haproxy.log().matches("New worker").count(), 1, "it was not started again");
}

#[test]
fn who_cannot_receive_is_told_apart() {
    let place = Place::new();
    let (node, generation) = (place.node(), place.issue(7));
    let told = |script: &str| {
        place.program("everleaf", script);
        words(&place.world.deploy(&node, &generation, 1).expect_err("it does not receive"))
    };
    let mut all = String::new();
    all += &told("exit 127");
    all += &told("echo \"error: unrecognized subcommand 'receive'\" >&2; exit 64");
    all += &told(&format!("exec {} receive --only 'A b'", everleaf()));
    all += &told("cat >/dev/null; echo 'Welcome to edge!'");
    all += &told("cat >/dev/null; echo '{\"schema\":\"everleaf.received/2\"}'");
    all += &told(
        "cat >/dev/null; echo '{\"schema\":\"everleaf.received/1\",\"everleaf\":\"0.1.0\",\"outcome\":\"published\"}'",
    );
    all += &told("exec yes");
    all += &told("echo 'Killed' >&2; exit 9");
    // And a script where everleaf is forced.
    place.program("everleaf", &format!("exec {} \"$@\"", everleaf()));
    place.force("--only shop");
    let NodeKind::Ssh(ssh) = place.node().kind else { panic!("it is reached by ssh") };
    let scripted = Node { kind: NodeKind::Ssh(Ssh { receive: None, ..ssh }), ..node };
    all += &words(&place.world.deploy(&scripted, &generation, 1).expect_err("it takes no script"));
    snapshot("edge/receive/strangers", &plain(&place, &all));
}

#[test]
fn whatever_the_configuration_says_is_understood_there() {
    let mut place = Place::new();
    let log = place.world.path("words");
    place.program("everleaf", &format!("printf '%s\\n' \"$@\" >{}; exec {} \"$@\"", log.display(), everleaf()));
    let NodeKind::Ssh(ssh) = place.node().kind else { panic!("it is reached by ssh") };
    let roots = Some(Roots::File(place.world.path("it's roots.pem")));
    fs::write(place.world.path("it's roots.pem"), &place.root.pem).expect("written");
    let told =
        Receive { probe: vec!["127.0.0.1:1".parse().expect("an address"), "[::1]:1".parse().expect("one")], roots };
    let (owner, group) = (Some("daemon".to_owned()), Some("1".to_owned()));
    place.world.certificate.access = Access { owner, group, key_mode: 0o600, cert_mode: 0o640, dir_mode: 0o700 };
    let generation = place.issue(7);
    let reloads = [
        Reload::Systemd { unit: "nginx@a.service".into() },
        Reload::HaProxy { socket: "/no where/admin.sock".into(), list: Some("/no where/list".into()) },
        Reload::Signal { signal: "HUP".into(), pid_file: "/no where/pid".into() },
        Reload::Exec(shell("echo \"$HOME\" 'a' $(id)\n# a second line")),
    ];
    let mut said = String::new();
    for (epoch, reload) in reloads.into_iter().enumerate() {
        let kind = NodeKind::Ssh(Ssh { receive: Some(told.clone()), ..ssh.clone() });
        let node = Node { kind, check: Some(hook(["nginx", "-t", "a b"])), reload, ..place.node() };
        place.world.deploy(&node, &generation, epoch as u64 + 1).expect("understood");
        said += &place.world.read("words");
    }
    snapshot("edge/receive/words", &plain(&place, &said));
}
