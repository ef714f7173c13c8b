//! Servers that ask for client certificates, without one and with all kinds: the exact labels, and curl, who must get in where the
//! probe says that it would.

use super::rig::{Apache, Daemon, HaProxy, Nginx, SServer, free_port, require, run, scratch};
use super::support::{Ca, Leaf, listen, live};
use super::{asking, somewhere};
use everleaf::probe::files::Identity;
use everleaf::probe::{Finding, Label};
use nix::sched::{CloneFlags, unshare};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// Looks at once. Some servers do not speak HTTP, and are waited for.
const AT_ONCE: usize = 6;

/// A certificate for a client, and what its files are called.
struct Client {
    what: &'static str,
    leaf: Leaf,
    sent: String,
}

/// A CA for servers, one for clients, and clients of all kinds.
struct Lab {
    dir: tempfile::TempDir,
    servers: Ca,
    site: Leaf,
    clients: Vec<Client>,
}

impl Lab {
    fn new() -> Self {
        let dir = scratch("clients");
        let (servers, ours, other) = (Ca::new("Servers"), Ca::new("Clients"), Ca::new("Strangers"));
        let issue = |ca: &Ca, change: &dyn Fn(&mut CertificateParams)| {
            ca.issue_with("alice.test", &KeyPair::generate().unwrap(), |params| {
                params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                change(params);
            })
        };
        let expired = |params: &mut CertificateParams| live(params, -90, -2);
        let server_only =
            |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let client = |what, ca: &Ca, change: &dyn Fn(&mut CertificateParams)| {
            let leaf = issue(ca, change);
            Client { what, sent: leaf.fullchain(), leaf }
        };
        let rsa = ours.issue_with("bob.test", &KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), |params| {
            params.extended_key_usages = Vec::new();
        });
        let bare = issue(&ours, &|_| {});
        let clients = vec![
            client("good", &ours, &|_| {}),
            Client { what: "rsa without usages", sent: rsa.fullchain(), leaf: rsa },
            Client { what: "bare", sent: bare.cert.clone(), leaf: bare },
            client("foreign", &other, &|_| {}),
            client("of the same name", &Ca::new("Clients"), &|_| {}),
            client("expired", &ours, &expired),
            client("early", &ours, &|params| live(params, 2, 90)),
            client("server only", &ours, &server_only),
            client("for keys only", &ours, &|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            client("foreign and expired", &other, &expired),
            client("expired and server only", &ours, &|params| {
                expired(params);
                server_only(params);
            }),
        ];
        let lab = Self { site: servers.issue("a.test"), dir, servers, clients };
        fs::write(lab.path("servers.pem"), lab.servers.root()).unwrap();
        fs::write(lab.path("clients.pem"), ours.root()).unwrap();
        fs::write(lab.path("site.both"), format!("{}{}", lab.site.fullchain(), lab.site.key)).unwrap();
        lab.site.write(lab.dir.path(), "site", &lab.site.fullchain());
        for client in &lab.clients {
            client.leaf.write(lab.dir.path(), client.what, &client.sent);
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn identity(&self, what: &str) -> Rc<Identity> {
        let [cert, key] = ["pem", "key"].map(|kind| self.path(&format!("{what}.{kind}")));
        Rc::new(Identity::read(&cert, &key).unwrap())
    }

    /// What is found at `address` by who gives this certificate, or none.
    fn found(&self, address: SocketAddr, what: Option<&str>) -> Vec<Finding> {
        let mut query = asking::query(&self.servers, "a.test", &[address]);
        query.client = what.map(|what| self.identity(what));
        let mut found = asking::probed(query);
        found.retain(|it| !["hsts_", "resumption_"].iter().any(|start| it.label.as_str().starts_with(start)));
        found
    }

    /// Whether curl gets a page, in the version that is asked for, or in any.
    fn curl(&self, address: SocketAddr, what: Option<&str>, version: Option<&str>) -> bool {
        let mut command = Command::new(require("curl"));
        command.args(["-sSf", "--noproxy", "*", "-o", "/dev/null", "-m", "20", "--http1.1", "--cacert"]);
        command.arg(self.path("servers.pem"));
        if let Some(what) = what {
            let [cert, key] = ["pem", "key"].map(|kind| self.path(&format!("{what}.{kind}")));
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        if let Some(version) = version {
            command.args(["--tls-max", version]);
        }
        let port = address.port();
        command.args(["--connect-to", &format!("a.test:{port}:{address}")]).arg(format!("https://a.test:{port}/"));
        command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Holds every case to its labels, and the verdict to curl's: `(server, address, client, labels)`.
    #[track_caller]
    fn hold(&self, cases: &[(&str, SocketAddr, Option<&str>, Vec<Label>)]) {
        let next = Mutex::new(cases.iter());
        let wrong = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some((server, address, client, wanted)) = next.lock().unwrap().next() else { break };
                        let found = self.found(*address, *client);
                        let mut labels: Vec<Label> = found.iter().map(|it| it.label).collect();
                        let mut wanted = wanted.clone();
                        labels.sort();
                        wanted.sort();
                        let versions: &[Option<&str>] =
                            if labels.contains(&Label::Tls13Only) { &[None] } else { &[None, Some("1.2")] };
                        let curl = versions.iter().all(|version| self.curl(*address, *client, *version));
                        let bad = found.iter().any(|it| it.label.severity() >= everleaf::probe::Severity::Warn);
                        if labels != wanted || curl == bad {
                            let seen: Vec<String> = found
                                .iter()
                                .map(|it| format!("\n    {}: {}", it.label.as_str(), it.seen.as_str()))
                                .collect();
                            let seen = seen.concat();
                            let text = format!("{server}, {client:?}: {labels:?}, not {wanted:?}; curl: {curl}{seen}");
                            wrong.lock().unwrap().push(text);
                        }
                    }
                });
            }
        });
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

const OK: &[Label] = &[Label::Ok];

/// Certificates that whoever verifies refuses, and why.
const BAD: [(&str, &[Label]); 8] = [
    ("bare", &[Label::ClientCertUntrusted]),
    ("foreign", &[Label::ClientCertUntrusted]),
    ("of the same name", &[Label::ClientCertUntrusted]),
    ("expired", &[Label::ClientCertExpired]),
    ("early", &[Label::NotYetValid]),
    ("server only", &[Label::ClientCertWrongUsage]),
    ("foreign and expired", &[Label::ClientCertUntrusted, Label::ClientCertExpired]),
    ("expired and server only", &[Label::ClientCertExpired, Label::ClientCertWrongUsage]),
];

#[test]
fn nginx_refuses_in_http_and_the_certificate_tells_why() {
    use Label::*;
    let lab = Lab::new();
    let [on, optional, lax, strict, mute, plain, closed] = [(); 7].map(|()| somewhere());
    let vhost = |address, more: &str| {
        let more = format!(
            "{} {more} return 200",
            if more.is_empty() {
                String::new()
            } else {
                format!("ssl_client_certificate {};", lab.file("clients.pem"))
            }
        );
        Nginx::tls(address, &lab.path("site.pem"), &lab.path("site.key")).replacen("return 200", &more, 1)
    };
    let _nginx = Nginx::start(
        &[
            "ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:1m;\n".to_owned(),
            vhost(on, "ssl_verify_client on;"),
            vhost(optional, "ssl_verify_client optional;"),
            vhost(lax, "ssl_verify_client optional_no_ca;"),
            vhost(strict, "ssl_verify_client optional_no_ca; if ($ssl_client_verify != SUCCESS) { return 403; }"),
            vhost(mute, "ssl_verify_client optional; if ($ssl_client_verify != SUCCESS) { return 444; }"),
            vhost(plain, ""),
            // A directory without an index is forbidden to everybody, with a certificate or without.
            vhost(closed, &format!("ssl_verify_client optional; root {};", lab.dir.path().display()))
                .replace("return 200 ok;", ""),
        ]
        .concat(),
        on,
    );
    let refused = [&BAD[..], &[("for keys only", &[ClientCertWrongUsage])]].concat();
    let mut cases = vec![
        ("on", on, None, vec![ClientCertRequired]),
        ("optional", optional, None, vec![ClientCertOptional, Ok]),
        ("optional_no_ca", lax, None, vec![ClientCertOptional, Ok]),
        ("optional_no_ca and 403", strict, None, vec![ClientCertRequired]),
        ("optional and silence", mute, None, vec![ClientCertRequired]),
        ("optional and silence", mute, Some("good"), OK.to_vec()),
        ("nothing asked", plain, None, OK.to_vec()),
        ("nothing asked", plain, Some("expired"), OK.to_vec()),
        ("optional_no_ca", lax, Some("foreign"), vec![ClientCertOptional, Ok]),
        ("optional_no_ca and 403", strict, Some("foreign"), vec![ClientCertUntrusted]),
    ];
    for what in ["good", "rsa without usages"] {
        cases.push(("on", on, Some(what), OK.to_vec()));
        cases.push(("optional", optional, Some(what), vec![ClientCertOptional, Ok]));
        cases.push(("optional_no_ca and 403", strict, Some(what), OK.to_vec()));
    }
    for (what, labels) in refused {
        cases.push(("on", on, Some(what), labels.to_vec()));
        cases.push(("optional", optional, Some(what), [labels, &[ClientCertOptional]].concat()));
    }
    lab.hold(&cases);
    // curl -f calls this a failure; it is the page that is forbidden.
    for client in [None, Some("good")] {
        let labels: Vec<Label> = lab.found(closed, client).iter().map(|it| it.label).collect();
        assert_eq!(labels, [ClientCertOptional, Ok], "{client:?}");
    }
}

#[test]
fn an_application_that_forbids_its_first_page_refuses_no_certificate() {
    use Label::*;
    let lab = Lab::new();
    let places = [403, 400].map(|status| (somewhere(), status));
    let vhost = |(address, status): &(SocketAddr, u16)| {
        let more = format!(
            "ssl_verify_client on; ssl_client_certificate {}; location / {{ return 404; }} location = / {{ return {status}; }}",
            lab.file("clients.pem")
        );
        Nginx::tls(*address, &lab.path("site.pem"), &lab.path("site.key")).replacen("return 200 ok;", &more, 1)
    };
    let _nginx = Nginx::start(&places.iter().map(vhost).collect::<String>(), places[0].0);
    let wanted: [(Option<&str>, &[Label]); 3] =
        [(None, &[ClientCertRequired]), (Some("good"), &[Ok]), (Some("foreign"), &[ClientCertUntrusted])];
    for (address, status) in places {
        for (client, wanted) in wanted {
            let labels: Vec<Label> = lab.found(address, client).iter().map(|it| it.label).collect();
            assert_eq!(labels, wanted, "{status} {client:?}");
        }
    }
}

#[test]
fn openssl_and_haproxy_refuse_with_alerts() {
    use Label::*;
    let lab = Lab::new();
    let ca = lab.file("clients.pem");
    let start = |more: &[&str]| {
        let more = [&["-CAfile", &ca, "-verify_return_error"], more].concat();
        SServer::start(somewhere(), &lab.site.cert, &lab.site.chain, &lab.site.key, &more)
    };
    let must = ["-tls1_2", "-tls1_3"].map(|version| start(&["-Verify", "3", version]));
    let may = start(&["-verify", "3"]);
    let [proxy, lax] = [(); 2].map(|()| somewhere());
    // The other lets everybody in, and its rules do not.
    let frontend = |address: SocketAddr, verify: &str, rule: &str| {
        let site = lab.file("site.both");
        format!(
            "frontend {}\n    bind {address} ssl crt {site} ca-file {ca} verify {verify} alpn h2,http/1.1\n    {rule}\n    \
             http-request return status 200\n",
            address.port()
        )
    };
    let rule = "http-request deny unless { ssl_c_used } { ssl_c_verify 0 }";
    let sections =
        [frontend(proxy, "required", ""), frontend(lax, "optional crt-ignore-err all ca-ignore-err all", rule)]
            .concat();
    let _haproxy = HaProxy::start("", &sections, proxy);
    let [old, new] = must.each_ref().map(SServer::address);
    let mut cases = vec![("-verify", may.address(), None, vec![ClientCertOptional, Ok])];
    let given = [&[("good", &[][..]), ("rsa without usages", &[])], &BAD[..]].concat();
    let well = |labels: &[Label], more: &[Label]| {
        let ok: &[Label] = if labels.is_empty() { OK } else { &[] };
        [labels, more, ok].concat()
    };
    for (server, address, more) in
        [("-Verify in TLS 1.2", old, &[][..]), ("-Verify in TLS 1.3", new, &[Tls13Only]), ("HAProxy", proxy, &[])]
    {
        cases.push((server, address, None, [&[ClientCertRequired], more].concat()));
        // s_server serves one after the other, and answers no HEAD.
        let telling = |what: &str| server == "HAProxy" || ["good", "foreign", "expired", "server only"].contains(&what);
        let told = given.iter().copied().filter(|(what, _)| telling(what));
        cases.extend(told.map(|(what, labels)| (server, address, Some(what), well(labels, more))));
    }
    cases.push(("HAProxy's rule", lax, None, vec![ClientCertRequired]));
    for (what, labels) in given {
        // That the CA has the right name and another key cannot be told from an application that knows no alice.
        let labels = if what == "of the same name" { &[HttpError] } else { labels };
        cases.push(("HAProxy's rule", lax, Some(what), well(labels, &[])));
    }
    for (what, labels) in [("good", &[][..]), ("foreign", &[ClientCertUntrusted])] {
        cases.push(("-verify", may.address(), Some(what), well(labels, &[ClientCertOptional])));
    }
    lab.hold(&cases);
}

#[test]
fn a_server_that_asks_only_when_it_has_read_the_request_is_named() {
    use Label::*;
    let lab = Lab::new();
    let [early, optional, old, new, both, lax, plain, suites, closed] = [(); 9].map(|()| somewhere());
    let vhost = |address, more: &str| {
        let more = format!("SSLCACertificateFile {}\n{more}", lab.file("clients.pem"));
        Apache::tls(address, &lab.path("site.pem"), &lab.path("site.key"), &more)
    };
    let here = |word: &str| format!("<Location />\n{word}\n</Location>");
    let both_versions = "SSLProtocol -all +TLSv1.2 +TLSv1.3\n";
    let _apache = Apache::start(
        &[
            vhost(early, "SSLVerifyClient require\nSSLVerifyDepth 3"),
            vhost(optional, "SSLVerifyClient optional\nSSLVerifyDepth 3"),
            vhost(old, &format!("SSLProtocol -all +TLSv1.2\n{}", here("SSLVerifyClient require\nSSLVerifyDepth 3"))),
            vhost(new, &format!("SSLProtocol -all +TLSv1.3\n{}", here("SSLVerifyClient require"))),
            vhost(closed, &format!("{both_versions}{}", here("Require all denied"))),
            vhost(both, &format!("{both_versions}{}", here("SSLVerifyClient require\nSSLVerifyDepth 3"))),
            vhost(lax, &format!("{both_versions}{}", here("SSLVerifyClient optional"))),
            vhost(plain, both_versions),
            // Another handshake for another cipher suite, which TLS 1.3 shows.
            vhost(suites, &format!("{both_versions}{}", here("SSLCipherSuite ECDHE-ECDSA-AES256-GCM-SHA384"))),
        ]
        .concat(),
        early,
    );
    let cases = [
        ("require", early, None, vec![ClientCertRequired]),
        ("require", early, Some("good"), OK.to_vec()),
        ("require", early, Some("expired"), vec![ClientCertExpired]),
        ("require", early, Some("foreign"), vec![ClientCertUntrusted]),
        ("optional", optional, None, vec![ClientCertOptional, Ok]),
        ("optional", optional, Some("good"), vec![ClientCertOptional, Ok]),
        ("require late, TLS 1.2", old, None, vec![ClientCertReactive]),
        ("require late, TLS 1.3", new, None, vec![ClientCertReactive, Tls13Only]),
        ("require late", both, None, vec![ClientCertReactive]),
        ("nothing", plain, None, OK.to_vec()),
        ("another suite", suites, None, OK.to_vec()),
    ];
    lab.hold(&cases);
    // Forbidden to everybody.
    assert!(matches!(&lab.found(closed, None)[..], [Finding { label: Ok, .. }]), "{:#?}", lab.found(closed, None));
    // curl takes part in what comes late, which not every client does.
    for (address, client) in [(both, Some("good")), (lax, None)] {
        let found = lab.found(address, client);
        assert!(matches!(&found[..], [Finding { label: ClientCertReactive, .. }]), "{client:?}: {found:#?}");
        assert!(lab.curl(address, client, Some("1.2")) && lab.curl(address, client, None), "{client:?}");
    }
}

/// A server that verifies with webpki and answers 200; it names the issuers it takes where `hints` says so.
fn rustls_server(lab: &Lab, hints: bool) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(lab.path("clients.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = if hints { verifier } else { verifier.clear_root_hint_subjects() };
    let chain = CertificateDer::pem_file_iter(lab.path("site.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(lab.path("site.key")).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    listen(somewhere(), move |_, stream| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            let _ = stream.flush();
        }
    })
}

#[test]
fn whoever_verifies_otherwise_is_understood() {
    use Label::*;
    let lab = Lab::new();
    let (hinting, mute) = (rustls_server(&lab, true), rustls_server(&lab, false));
    let mut cases = vec![("rustls", hinting, None, vec![ClientCertRequired])];
    let told: [(&str, &[Label]); 6] = [
        ("good", OK),
        ("bare", &[ClientCertUntrusted]),
        ("foreign", &[ClientCertUntrusted]),
        ("expired", &[ClientCertExpired]),
        ("early", &[NotYetValid]),
        ("server only", &[ClientCertWrongUsage]),
    ];
    for (what, labels) in told {
        cases.push(("rustls", hinting, Some(what), labels.to_vec()));
        cases.push(("rustls without names", mute, Some(what), labels.to_vec()));
    }
    lab.hold(&cases);
}

/// `gnutls-serv` listens on every interface there is: it gets a network of its own, in which there is only loopback.
#[test]
fn gnutls_refuses_with_alerts_of_its_own() {
    use Label::*;
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: these tests run as root");
    run(Command::new(require("ip")).args(["link", "set", "lo", "up"]), None);
    let lab = Lab::new();
    let start = |more: &str| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new(require("gnutls-serv"));
        command.args(["--http", "--quiet", more, "--verify-client-cert"]);
        command.arg(format!("--port={}", address.port())).arg("--x509cafile").arg(lab.path("clients.pem"));
        command.arg("--x509certfile").arg(lab.path("site.pem")).arg("--x509keyfile").arg(lab.path("site.key"));
        let mut server = Daemon::spawn("gnutls-serv", &command, lab.dir.path());
        server.await_port(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())));
        (address, server)
    };
    let (must, _must) = start("--require-client-cert");
    lab.hold(&[
        ("gnutls-serv", must, None, vec![ClientCertRequired]),
        ("gnutls-serv", must, Some("good"), OK.to_vec()),
        ("gnutls-serv", must, Some("foreign"), vec![ClientCertUntrusted]),
        ("gnutls-serv", must, Some("expired"), vec![ClientCertExpired]),
        // It does not look at usages.
        ("gnutls-serv", must, Some("server only"), OK.to_vec()),
    ]);
}
