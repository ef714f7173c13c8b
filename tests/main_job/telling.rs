//! Who is told, and when: notifiers, the dead-man's switch, metrics, `check`.

use crate::rig::scene::Scene;
use crate::rig::{PebbleOptions, Validation, free_port, host, require, run};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// Writes every notice it is told to `told`, one a line, and fails as long as `deaf` exists.
fn notifier(scene: &Scene) -> String {
    let (deaf, told) = (scene.path("deaf").display().to_string(), scene.path("told").display().to_string());
    let script = scene.script("tell", &format!("[ ! -e {deaf} ] || exit 1\ncat >>{told}\necho >>{told}"));
    format!("notifiers:\n  people: {{ exec: [{}] }}\n", script.display())
}

fn told(scene: &Scene) -> Vec<Value> {
    let lines = scene.text("told");
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).expect("one notice a line")).collect()
}

/// Two certificates whose one node's reload is `reload`.
fn two(scene: &Scene, reload: &str) -> String {
    let node = format!("nodes:\n  local: {{ reload: {{ exec: [{reload}] }} }}\ncertificates:");
    let second = format!(
        "  - name: mail\n    names: [mail.example.com]\n    issuer: pebble\n    {}\n    nodes: [local]\n    confirm: none\n",
        scene.solver()
    );
    format!("{}{second}{}", scene.unproven("").replace("certificates:", &node), notifier(scene))
}

#[test]
fn the_first_failure_and_the_recovery_are_told_once_and_merged() {
    let scene = Scene::easy();
    let broken = two(&scene, "\"false\"");
    scene.run(&broken).exits(20);
    let first = told(&scene);
    assert_eq!(first.len(), 1, "one cause, one notice: {first:#?}");
    assert_eq!(first[0]["schema"], "everleaf.notice/1");
    assert_eq!(first[0]["kind"], "failure");
    assert_eq!(first[0]["certificates"], serde_json::json!(["mail", "shop"]));
    assert!(first[0]["summary"].as_str().is_some_and(|text| text.contains("local")), "{:#}", first[0]);

    scene.everleaf(&["deploy", "shop"]);
    scene.run(&broken);
    assert_eq!(told(&scene).len(), 1, "told already: {:#?}", told(&scene));

    scene.run(&two(&scene, "\"true\"")).exits(0);
    let all = told(&scene);
    let recovered: Vec<&Value> = all.iter().filter(|notice| notice["kind"] == "recovery").collect();
    let names: Vec<&str> = recovered
        .iter()
        .flat_map(|notice| notice["certificates"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!((all.len() - recovered.len(), recovered.len()), (1, 1), "{all:#?}");
    assert_eq!(names, ["mail", "shop"]);
    scene.run(&two(&scene, "\"true\"")).exits(0);
    assert_eq!(told(&scene).len(), all.len());
    assert_eq!(scene.pebble.orders(), 2);
}

#[test]
fn what_could_not_be_told_is_told_later() {
    let scene = Scene::easy();
    let broken = two(&scene, "\"false\"");
    std::fs::write(scene.path("deaf"), "").expect("a file");
    scene.run(&broken).exits(20);
    assert_eq!(told(&scene), [] as [Value; 0]);
    std::fs::remove_file(scene.path("deaf")).expect("removed");
    scene.everleaf(&["run"]).exits(20);
    assert_eq!(told(&scene).len(), 1, "{:#?}", told(&scene));
}

/// Answers every request with 200 and notes its path.
fn switch() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let at = SocketAddr::from((host(), free_port()));
    let (listener, paths) = (TcpListener::bind(at).expect("a free port"), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&paths);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut head, mut octets) = (stream, Vec::new(), [0; 1024]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut octets) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&octets[..count]),
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            noted.lock().expect("no panic").push(head.split(' ').nth(1).unwrap_or_default().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (at, paths)
}

#[test]
fn the_switch_is_told_of_start_success_and_failure() {
    let scene = Scene::easy();
    let (at, paths) = switch();
    let ping = format!("ping: {{ url: \"http://{at}/uuid\" }}\n");
    let taken = || std::mem::take(&mut *paths.lock().expect("no panic"));
    scene.run(&format!("{}{ping}", scene.unproven(""))).exits(0);
    assert_eq!(taken(), ["/uuid/start", "/uuid"]);
    scene.everleaf(&["status"]).exits(0);
    assert_eq!(taken(), [] as [&str; 0], "only runs are told of");
    scene.run(&format!("{}{ping}", two(&scene, "\"false\""))).exits(20);
    assert_eq!(taken(), ["/uuid/start", "/uuid/fail"]);
}

#[test]
fn metrics_pass_promtool_and_tell_trouble() {
    let scene = Scene::easy();
    let metrics = format!("metrics: {}\n", scene.path("everleaf.prom").display());
    for (reload, exit) in [("\"true\"", 0), ("\"false\"", 20)] {
        scene.run(&format!("{}{metrics}", two(&scene, reload)));
        scene.everleaf(&["deploy", "shop"]).exits(exit);
        let text = scene.text("everleaf.prom");
        assert!(text.contains("shop") && text.contains("mail"), "{text}");
        run(Command::new(require("promtool")).args(["check", "metrics"]), Some(&text));
    }
}

#[test]
fn check_speaks_nagios() {
    let scene = Scene::easy();
    scene.configure(&scene.unproven(""));
    // No run yet, and the machine is up for long or not: never OK.
    let before = scene.everleaf(&["check"]);
    assert!(before.exit == 2 || before.exit == 3, "{before:?}");
    scene.everleaf(&["run"]).exits(0);
    let ok = scene.everleaf(&["check"]).exits(0);
    assert!(ok.out.contains("OK"), "{}", ok.out);
    scene.everleaf(&["check", "--warning", "90d", "--critical", "1d"]).exits(1);
    scene.everleaf(&["check", "--warning", "95d", "--critical", "90d"]).exits(2);
    scene.run(&two(&scene, "\"false\""));
    let bad = scene.everleaf(&["check"]);
    assert!(bad.exit == 1 || bad.exit == 2, "what is not live is not OK: {bad:?}");
}

#[test]
fn a_ca_that_refuses_a_name_is_told_of_at_once() {
    let scene = Scene::new(PebbleOptions {
        serve_http01: false,
        validation: Validation::Never,
        blocklist: vec!["shop.example.com".into()],
        ..PebbleOptions::default()
    });
    let ran = scene.run(&format!("{}{}", scene.unproven(""), notifier(&scene)));
    assert_eq!(ran.exit, 1, "an operator is needed: {ran:?}");
    let told = told(&scene);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].to_string().contains("rejectedIdentifier"), "{:#}", told[0]);
}
