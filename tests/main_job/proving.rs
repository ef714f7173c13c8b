//! How names are proved: a wildcard through DNS, and edges that answer by a rule of their own.

use crate::rig::scene::Scene;
use crate::rig::{Nginx, PebbleOptions, free_port, host};
use serde_json::Value;
use std::net::SocketAddr;

/// A dns-01 hook over challtestsrv's management port; what it is called with is noted, one JSON event a line.
pub(crate) fn dns_hook(scene: &Scene, first: &str) -> String {
    let management = scene.pebble.challenges.management();
    let calls = scene.path("calls");
    let text = format!(
        "cat >>{calls}\necho >>{calls}\n{first}\n\
         tell() {{ curl -fsS -o /dev/null -d \"$2\" http://{management}/$1; }}\n\
         tell clear-txt \"{{\\\"host\\\":\\\"$EVERLEAF_TARGET.\\\"}}\"\n\
         [ \"$EVERLEAF_EVENT\" = present ] || exit 0\n\
         for value in $EVERLEAF_VALUES; do\n\
         tell set-txt \"{{\\\"host\\\":\\\"$EVERLEAF_TARGET.\\\",\\\"value\\\":\\\"$value\\\"}}\"\ndone",
        calls = calls.display(),
    );
    scene.script("dns-hook", &text).display().to_string()
}

/// A configuration with one certificate for `names`, by dns-01.
pub(crate) fn by_dns(scene: &Scene, names: &str, hook: &str, more: &str) -> String {
    format!(
        "{}certificates:\n  - name: shop\n    names: [{names}]\n    issuer: pebble\n    solver: {{ dns-01: {{ hook: [{hook}], propagation: 20s }} }}\n    \
         nodes: [local]\n    confirm: none\n{more}",
        scene.preamble()
    )
}

#[test]
fn apex_and_wildcard_are_proved_by_one_call() {
    let scene = Scene::with_listener();
    let hook = dns_hook(&scene, "");
    scene.run(&by_dns(&scene, "example.com, \"*.example.com\"", &hook, "")).exits(0);
    let names = scene.status("shop")["names"].to_string();
    assert!(names.contains("\"example.com\"") && names.contains("*.example.com"), "{names}");
    assert_eq!(scene.pebble.issued(), 1);
    let calls: Vec<Value> = scene
        .text("calls")
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect("one JSON event a line"))
        .collect();
    let events: Vec<&str> = calls.iter().filter_map(|call| call["event"].as_str()).collect();
    assert_eq!(events, ["present", "cleanup"], "{calls:#?}");
    for call in &calls {
        assert_eq!(call["fqdn"], "_acme-challenge.example.com");
        assert_eq!(call["values"].as_array().map(Vec::len), Some(2), "both values at once: {call}");
    }
}

#[test]
fn an_edge_that_answers_by_a_rule_needs_nothing_put_up() {
    let port = free_port();
    let at = SocketAddr::from((host(), port));
    let options = PebbleOptions { serve_http01: false, http_port: Some(port), ..PebbleOptions::default() };
    let scene = Scene::new(options);
    let yaml = format!(
        "{}certificates:\n  - name: shop\n    names: [shop.example.com]\n    issuer: pebble\n    solver: {{ http-01: {{ stateless: true }} }}\n    \
         nodes: [local]\n    confirm: none\n",
        scene.preamble()
    );
    scene.configure(&yaml);
    let shown = scene.everleaf(&["account", "register", "--json"]).exits(0).json();
    let thumbprint = find(&shown, "thumbprint").unwrap_or_else(|| panic!("no thumbprint: {shown:#}"));
    // The rule that the example for three edges shows.
    let rule = format!(
        "server {{ listen {at}; location ~ \"^/\\.well-known/acme-challenge/([-_a-zA-Z0-9]+)$\" \
         {{ default_type text/plain; return 200 \"$1.{thumbprint}\"; }} }}"
    );
    let nginx = Nginx::start(&rule, at);
    scene.everleaf(&["run"]).exits(0);
    assert_eq!(scene.pebble.issued(), 1);
    assert!(nginx.requests("GET /.well-known/acme-challenge/") > 0, "the CA asked the edge");
}

/// The first text under `key`, wherever it lies.
fn find(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(map) => map
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(all) => all.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}
