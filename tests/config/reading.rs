//! What is read from a good configuration.

use super::read;
use everleaf::config::parse;
use everleaf::config::spec::{
    Budget, Certificate, Confirm, Endpoint, Expect, Http01, KeyAlgorithm, NodeKind, Quota, Reload, Roots, Solver, Spec,
    StartTls, Target,
};
use everleaf::types::{CertName, Identifier, IssuerName, NodeName, Vantage};
use std::time::Duration;

const SHORT: &str = "\
version: 1
issuers:
  le: { directory: letsencrypt, agree_to_terms: true }
certificates:
  - name: shop
    names: [shop.example.com, Bücher.Example]
    solver: { http-01: { listen: \"0.0.0.0:80\" } }
    endpoints: public
";

fn spec(text: &str) -> Spec {
    read(text).unwrap_or_else(|errors| panic!("{errors}")).spec
}

fn only(spec: &Spec) -> &Certificate {
    assert_eq!(spec.certificates.len(), 1);
    spec.certificates.values().next().expect("one")
}

fn id(text: &str) -> Identifier {
    text.parse().expect("identifier")
}

#[test]
fn a_short_configuration_is_filled_with_defaults() {
    let spec = spec(SHORT);
    let shop = only(&spec);
    assert_eq!(shop.issuer, IssuerName::new("le").expect("name"), "the only issuer need not be named");
    assert_eq!(shop.names, [id("shop.example.com"), id("xn--bcher-kva.example")]);
    assert_eq!(shop.key, KeyAlgorithm::EcdsaP256);
    assert_eq!(shop.nodes, [NodeName::local()]);
    let target = |host: &str| Target::Host { host: host.into(), port: 443 };
    let served: Vec<_> =
        shop.endpoints.iter().map(|endpoint| (endpoint.target.clone(), endpoint.sni.clone())).collect();
    assert_eq!(
        served,
        [
            (target("shop.example.com"), id("shop.example.com")),
            (target("xn--bcher-kva.example"), id("xn--bcher-kva.example"))
        ]
    );
    let Confirm::Handshakes(looks) = shop.confirm else { panic!("handshakes are the default") };
    assert_eq!((looks.count, looks.over.as_secs(), looks.drain.as_secs(), looks.every.as_secs()), (8, 3, 60, 3600));
    assert_eq!((shop.access.key_mode, shop.access.cert_mode, shop.access.dir_mode), (0o600, 0o644, 0o755));
    let local = &spec.nodes[&NodeName::local()];
    assert!(matches!(local.kind, NodeKind::Local) && local.reload == Reload::None);
    let issuer = spec.issuers.values().next().expect("one");
    assert_eq!(issuer.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(issuer.budget.per_set, Some(Quota { count: 3, per: Duration::from_secs(7 * 86_400) }));
    assert_eq!(spec.http_port, 80);
}

#[test]
fn a_ca_for_tests_may_look_for_http_01_elsewhere() {
    assert_eq!(spec(&format!("{SHORT}http_port: 5002\n")).http_port, 5002);
    for wrong in ["0", "65536", "http"] {
        let errors = read(&format!("{SHORT}http_port: {wrong}\n")).expect_err(wrong).to_string();
        assert!(errors.contains("a whole number from 1 to 65535 is wanted here"), "{errors}");
    }
}

#[test]
fn each_name_gets_the_solver_that_can_prove_it() {
    let spec = spec(
        "
version: 1
issuers: { ca: { directory: https://ca.internal/acme/directory } }
certificates:
  - name: mixed
    names: [example.com, '*.example.com', 192.0.2.1, special.example.com, 192.0.2.2]
    solver:
      - { names: [192.0.2.2], tls-alpn-01: { listen: ['0.0.0.0:443', '[::]:443'] } }
      - { names: [special.example.com], http-01: { webroot: /var/www } }
      - dns-01: { hook: [/usr/lib/everleaf/hooks/dns, zone], propagation: 5m }
      - http-01: { stateless: true }
    confirm: none
",
    );
    let mixed = only(&spec);
    for (name, dns) in
        [("example.com", true), ("*.example.com", true), ("192.0.2.1", false), ("special.example.com", false)]
    {
        assert_eq!(matches!(mixed.solvers[&id(name)], Solver::Dns01(_)), dns, "{name}");
    }
    assert_eq!(mixed.solvers[&id("192.0.2.1")], Solver::Http01(Http01::Stateless));
    let listen = ["0.0.0.0:443", "[::]:443"].map(|it| it.parse().expect("an address")).to_vec();
    assert_eq!(mixed.solvers[&id("192.0.2.2")], Solver::TlsAlpn01 { listen });
    assert_eq!(mixed.confirm, Confirm::None);
    assert_eq!(spec.issuers.values().next().map(|issuer| issuer.budget.clone()), Some(Budget::default()));
}

#[test]
fn two_keys_are_two_lineages_that_share_everything_else() {
    let spec =
        spec(&SHORT.replace("endpoints: public", "keys: [rsa-2048, ecdsa-p384]\n    was: old\n    endpoints: public"));
    let read: Vec<_> =
        spec.certificates.values().map(|cert| (cert.name.to_string(), cert.key, cert.was.clone())).collect();
    let old = CertName::new("old").ok();
    assert_eq!(
        read,
        [("shop".to_owned(), KeyAlgorithm::EcdsaP384, old), ("shop-rsa".to_owned(), KeyAlgorithm::Rsa2048, None)]
    );
}

#[test]
fn endpoints_in_every_form() {
    let spec = spec(
        "
version: 1
issuers: { ca: { directory: 'http://127.0.0.1:14000/dir' } }
nodes:
  edge1: { reload: { systemd: nginx }, check: [nginx, -t] }
  edge2: { hook: [deploy, edge2] }
defaults:
  solver: { http-01: { listen: ['0.0.0.0:80', '[::]:80'] } }
  nodes: [edge1, edge2]
certificates:
  - name: a
    names: [a.example, b.example, '10.1.1.1']
    endpoints:
      - '10.0.0.1:443'
      - { address: '[2001:db8::1]:25', sni: a.example, node: edge2, starttls: smtp }
      - { address: 'cdn.example:443', sni: [b.example, other.example], expect: valid }
      - { resolve: public, port: 8443, sni: a.example }
      - { address: '10.0.0.1:443', sni: a.example, from: ['ssh://ops@far.example:2222', 'ssh://far'] }
",
    );
    let cert = only(&spec);
    let endpoint = |target, sni: &str| Endpoint {
        target,
        sni: id(sni),
        node: None,
        starttls: StartTls::No,
        expect: Expect::Leaf,
        from: Vantage::Here,
    };
    let address = |text: &str| Target::Address(text.parse().expect("address"));
    let host = |host: &str, port| Target::Host { host: host.into(), port };
    let edge2 = NodeName::new("edge2").ok();
    let from = |text: &str| text.parse::<Vantage>().expect("a vantage");
    let wanted = [
        endpoint(address("10.0.0.1:443"), "a.example"),
        endpoint(address("10.0.0.1:443"), "b.example"),
        Endpoint { node: edge2, starttls: StartTls::Smtp, ..endpoint(address("[2001:db8::1]:25"), "a.example") },
        Endpoint { expect: Expect::Valid, ..endpoint(host("cdn.example", 443), "b.example") },
        Endpoint { expect: Expect::Valid, ..endpoint(host("cdn.example", 443), "other.example") },
        endpoint(host("a.example", 8443), "a.example"),
        Endpoint { from: from("ssh://ops@far.example:2222"), ..endpoint(address("10.0.0.1:443"), "a.example") },
        Endpoint { from: from("ssh://far"), ..endpoint(address("10.0.0.1:443"), "a.example") },
    ];
    assert_eq!(cert.endpoints, wanted);
    let nodes: Vec<_> = spec.nodes.values().map(|node| (node.name.as_str(), node.reload == Reload::Hook)).collect();
    assert_eq!(nodes, [("edge1", false), ("edge2", true), ("local", false)]);
}

#[test]
fn files_are_merged_and_a_name_in_two_of_them_names_both_places() {
    let further = "issuers:\n  ca: { directory: https://ca.internal/dir }\ncertificates:\n  - { name: b, names: [b.example], issuer: ca, solver: { http-01: { webroot: /srv } }, confirm: none }\n";
    let main = SHORT.replace("endpoints: public", "issuer: le\n    endpoints: public");
    let files = |further: String| [("/e/everleaf.yaml".into(), main.clone()), ("/e/conf.d/b.yaml".into(), further)];
    let loaded = parse(&files(further.to_owned())).expect("merged");
    assert_eq!((loaded.spec.certificates.len(), loaded.spec.issuers.len(), loaded.files.len()), (2, 2, 2));
    let errors = parse(&files(further.replace("name: b", "name: shop").replace("  ca:", "  le:")))
        .expect_err("twice")
        .to_string();
    for part in [
        "`le` is defined twice under issuers",
        "there are two certificates named `shop`",
        "/e/conf.d/b.yaml:2:3",
        "::: /e/everleaf.yaml:3:3",
        "/e/conf.d/b.yaml:4:13",
        "::: /e/everleaf.yaml:5:11",
        "there is no issuer `ca`",
    ] {
        assert!(errors.contains(part), "{part} is not in:\n{errors}");
    }
}

#[test]
fn anchors_and_merge_keys_work() {
    let spec = spec(
        "
version: 1
issuers: { ca: { directory: https://ca.internal/dir } }
certificates:
  - &base { name: a, names: [a.example], solver: { http-01: { webroot: /srv } }, confirm: none }
  - { <<: *base, name: b, names: [b.example] }
",
    );
    let names: Vec<_> = spec.certificates.values().map(|cert| format!("{} {}", cert.name, cert.names[0])).collect();
    assert_eq!(names, ["a a.example", "b b.example"]);
}

#[test]
fn a_rehearsal_goes_to_staging_and_writes_nothing_of_its_own() {
    let spec = spec(&format!(
        "{SHORT}  - {{ name: b, names: [b.example], issuer: le, solver: {{ http-01: {{ webroot: /srv }} }}, confirm: none }}\n"
    ));
    let rehearsed = spec.rehearse().expect("Let's Encrypt has a staging directory").spec;
    let le = &rehearsed.issuers[&IssuerName::new("le").expect("name")];
    assert_eq!(le.directory, "https://acme-staging-v02.api.letsencrypt.org/directory");
    assert_eq!(le.roots, Roots::Unchecked);
    assert_eq!(rehearsed.paths.state.to_str(), Some("/var/lib/everleaf/rehearsal"));
    assert_eq!(rehearsed.paths.live.to_str(), Some("/var/lib/everleaf/rehearsal/live"));
    assert_eq!(rehearsed.certificates.len(), 2);
}

#[test]
fn what_has_nothing_to_rehearse_against_is_named() {
    let private = "  pca: { directory: https://ca.internal/dir }\n";
    let cert =
        "  - { name: b, names: [b.example], issuer: pca, solver: { http-01: { webroot: /srv } }, confirm: none }\n";
    let text = SHORT
        .replace("certificates:\n", &format!("{private}certificates:\n"))
        .replace("endpoints: public", "issuer: le\n    endpoints: public");
    let rehearsed = spec(&format!("{text}{cert}")).rehearse().expect("one can");
    assert_eq!(
        rehearsed.skipped.iter().map(|(name, issuer)| format!("{name} {issuer}")).collect::<Vec<_>>(),
        ["b pca"]
    );
    let alone = format!("version: 1\nissuers:\n{private}certificates:\n{cert}");
    let error = spec(&alone).rehearse().expect_err("none can").to_string();
    assert_eq!(
        error,
        "nothing can be rehearsed: pca has no `dry_run:` directory; write `dry_run: { directory: URL }` under the issuer"
    );
}

#[test]
fn a_node_that_nothing_looks_at_is_told() {
    let text = |endpoints: &str| {
        format!(
            "version: 1\nissuers: {{ ca: {{ directory: 'http://127.0.0.1:14000/dir' }} }}\n\
             nodes: {{ edge1: {{ hook: [a] }}, edge2: {{ hook: [a] }}, edge3: {{ hook: [a] }} }}\ncertificates:\n  - name: a\n    \
             names: [a.example]\n    solver: {{ http-01: {{ listen: '0.0.0.0:80' }} }}\n    nodes: [edge1, edge2, edge3]\n    \
             rollout: {{ canary: edge2 }}\n    endpoints: [{{ address: '10.0.0.1:443', node: edge1 }}{endpoints}]\n"
        )
    };
    let warnings = |endpoints: &str| {
        let loaded = read(&text(endpoints)).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.warnings.to_string()
    };
    let told = warnings("");
    assert!(told.contains("no endpoint is on edge2, edge3") && told.contains("node: edge2"), "{told}");
    // What a CDN serves says nothing about the nodes behind it.
    let cdn = ", { address: '10.0.0.9:443', expect: valid }";
    assert!(warnings(cdn).contains("edge2, edge3"), "{}", warnings(cdn));
    assert_eq!(warnings(", '10.0.0.9:443'"), "", "an address that all of them share looks at each of them");
}

#[test]
fn a_roll_out_has_canaries_waves_and_an_end() {
    let rollout = |written: &str| {
        let text = format!(
            "version: 1\nissuers: {{ ca: {{ directory: 'https://ca.example/dir' }} }}\n\
             nodes: {{ edge1: {{ hook: [a] }}, edge2: {{ hook: [a] }}, edge3: {{ hook: [a] }} }}\ncertificates:\n  - name: a\n    \
             names: [a.example]\n    solver: {{ http-01: {{ stateless: true }} }}\n    nodes: [edge3, edge1, edge2]\n    \
             confirm: none\n    rollout: {written}\n"
        );
        spec(&text).certificates.remove(&CertName::new("a").expect("name")).expect("it is there").rollout
    };
    let plain = rollout("{ parallel: 4 }");
    assert!(plain.canaries.is_empty() && plain.pause.is_zero() && plain.max_failures.is_none() && plain.roll_back);
    let full = rollout("{ canary: 2, parallel: 8, pause: 10m, max_failures: 0, roll_back: false }");
    let canaries: Vec<&str> = full.canaries.iter().map(NodeName::as_str).collect();
    assert_eq!(canaries, ["edge3", "edge1"], "the first ones, in the order written");
    assert_eq!((full.parallel, full.pause.as_secs(), full.max_failures, full.roll_back), (8, 600, Some(0), false));
    assert_eq!(rollout("{ canary: 50 }").canaries.len(), 3, "a default may count more than a certificate has");
    assert_eq!(rollout("{ canary: edge2 }").canaries.len(), 1);
}
