//! How long reading takes: it is part of every run, also of those that find nothing to do.

use super::read;
use std::time::{Duration, Instant};

/// So many certificates, as a fleet would write them.
fn fleet(certificates: usize) -> String {
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
    let entries: Vec<String> = (0..certificates).map(entry).collect();
    format!("{head}{}", entries.concat())
}

fn time(text: &str, certificates: usize) -> Duration {
    let start = Instant::now();
    let loaded = read(text).expect("a good configuration");
    assert_eq!(loaded.spec.certificates.len(), certificates);
    start.elapsed()
}

/// Eight times the certificates may take eight times as long, and twice that on a busy machine; anything that compares
/// each with each takes sixty times as long.
#[test]
#[expect(clippy::print_stderr, reason = "the figure itself is wanted, by `cargo nextest run --no-capture speed`")]
fn reading_takes_time_in_proportion() {
    let texts = [125, 1000].map(|certificates| (fleet(certificates), certificates));
    // The best of five each, in turn, so that a machine that is busy for a while spoils neither alone.
    let rounds: Vec<[Duration; 2]> =
        (0..5).map(|_| texts.each_ref().map(|(text, certificates)| time(text, *certificates))).collect();
    let best = |which: usize| rounds.iter().map(|round| round[which]).min().unwrap_or(Duration::MAX);
    let (few, many) = (best(0), best(1));
    eprintln!("125 certificates: {few:?}, 1000: {many:?}");
    assert!(many < few * 20, "125 certificates took {few:?}, 1000 took {many:?}");
}
