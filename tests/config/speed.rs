//! How long reading takes: it is part of every run, also of those that find nothing to do.

use super::read;
use std::time::Instant;

const CERTIFICATES: usize = 1000;

/// A thousand certificates as a fleet would write them.
fn fleet() -> String {
    let entry = |n: usize| {
        format!(
            "  - name: site{n}\n    names: [site{n}.example.com, www.site{n}.example.com, \"*.apps.site{n}.example.com\"]\n    \
             issuer: le\n    nodes: [edge1, edge2]\n    solver:\n      - {{ names: [\"*.apps.site{n}.example.com\"], dns-01: {{ hook: [update, zone] }} }}\n      \
             - http-01: {{ webroot: /var/www/acme }}\n    endpoints:\n      - {{ address: \"192.0.2.1:443\", sni: site{n}.example.com, node: edge1 }}\n      \
             - {{ address: \"192.0.2.2:443\", sni: site{n}.example.com, node: edge2 }}\n    confirm: {{ handshakes: 8, over: 3s, drain: 60s }}\n"
        )
    };
    let head = "version: 1\nissuers: { le: { directory: letsencrypt, agree_to_terms: true } }\n\
                nodes: { edge1: { reload: none }, edge2: { reload: none } }\ncertificates:\n";
    let entries: Vec<String> = (0..CERTIFICATES).map(entry).collect();
    format!("{head}{}", entries.concat())
}

/// 60 ms are the budget of an optimised build; this one checks every overflow, and the machine may be busy.
#[test]
fn a_thousand_certificates_are_read_in_no_time() {
    let text = fleet();
    let limit = if cfg!(debug_assertions) { 1000 } else { 60 };
    let took = (0..5).map(|_| {
        let start = Instant::now();
        let loaded = read(&text).expect("a good configuration");
        assert_eq!(loaded.spec.certificates.len(), CERTIFICATES);
        start.elapsed().as_millis()
    });
    let best = took.min().unwrap_or(u128::MAX);
    assert!(best < limit, "{best} ms for {CERTIFICATES} certificates, {} KiB", text.len() / 1024);
}
