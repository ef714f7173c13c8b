//! What endpoints say in HTTP: nginx with policies of all kinds, and heads that nobody sane would send.

use super::rig::{Nginx, scratch};
use super::support::{Ca, SystemClock, listen};
use super::{somewhere, support};
use everleaf::probe::Trouble;
use everleaf::probe::checks::clock;
use everleaf::probe::checks::http::{Policy, judge};
use everleaf::probe::survey::http::{Mute, Question, Spoken, ask};
use everleaf::types::Identifier;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const NAME: &str = "shop.test";

fn name() -> Identifier {
    NAME.parse().unwrap()
}

/// Asks without TLS.
fn plain(address: SocketAddr) -> Result<Spoken, Mute> {
    run(async {
        let open = async || {
            let refused = |_| Trouble::silent(everleaf::probe::Label::TcpRefused, "refused");
            tokio::net::TcpStream::connect(address).await.map_err(refused)
        };
        ask(open, &Question::http(&name(), address.port()), &SystemClock).await
    })
}

/// Asks over TLS.
fn secure(address: SocketAddr, ca: &Ca) -> Result<Spoken, Mute> {
    let connector = tokio_rustls::TlsConnector::from(support::trusting(ca));
    run(async {
        let open = async || {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            Ok(connector.connect(NAME.try_into().unwrap(), stream).await.expect("a handshake"))
        };
        ask(open, &Question::https(&name(), address.port()), &SystemClock).await
    })
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// One virtual host over TLS and one without, and what is expected of them.
struct Site {
    https: &'static str,
    http: &'static str,
    labels: &'static str,
}

const TO_HTTPS: &str = "return 301 https://$host$request_uri;";

const SITES: [Site; 17] = [
    Site { https: "return 200;", http: TO_HTTPS, labels: "hsts_missing" },
    Site {
        https: "add_header Strict-Transport-Security max-age=300; return 200;",
        http: TO_HTTPS,
        labels: "hsts_short",
    },
    Site {
        https: "add_header Strict-Transport-Security max-age=31536000; return 200;",
        http: TO_HTTPS,
        labels: "hsts_ok",
    },
    Site {
        https: "add_header Strict-Transport-Security 'max-age=63072000; includeSubDomains; preload'; return 200;",
        http: TO_HTTPS,
        labels: "hsts_preload_ready",
    },
    Site {
        https: "add_header Strict-Transport-Security 'max-age=63072000; includeSubDomains; preload'; return 200;",
        http: "return 301 https://www.$host$request_uri;",
        labels: "hsts_preload_invalid",
    },
    Site {
        https: "add_header Strict-Transport-Security 'maxage=300'; return 200;",
        http: TO_HTTPS,
        labels: "hsts_malformed",
    },
    Site {
        https: "add_header Strict-Transport-Security max-age=31536000; add_header Strict-Transport-Security max-age=0; return 200;",
        http: TO_HTTPS,
        labels: "hsts_malformed",
    },
    Site { https: "add_header Strict-Transport-Security max-age=0; return 200;", http: TO_HTTPS, labels: "hsts_zero" },
    Site {
        https: "return 200;",
        http: "add_header Strict-Transport-Security max-age=31536000; return 301 https://$host$request_uri;",
        labels: "hsts_http_only",
    },
    Site { https: "return 200;", http: "return 200;", labels: "hsts_missing http_no_redirect" },
    Site {
        https: "return 200;",
        http: "location = / { return 302 /en; } location /en { return 200; }",
        labels: "hsts_missing http_no_redirect",
    },
    Site {
        https: "return 200;",
        http: "location = / { return 302 /en; } location /en { return 301 https://$host/en; }",
        labels: "hsts_missing",
    },
    Site { https: "return 200;", http: "return 404;", labels: "hsts_missing" },
    Site { https: "return 302 http://$host/;", http: TO_HTTPS, labels: "hsts_missing https_downgrade" },
    Site {
        https: "add_header Strict-Transport-Security max-age=31536000; return 503;",
        http: TO_HTTPS,
        labels: "http_error",
    },
    Site {
        https: "if ($request_method = HEAD) { return 405; } add_header Strict-Transport-Security max-age=31536000; return 200;",
        http: TO_HTTPS,
        labels: "hsts_ok",
    },
    Site {
        https: "add_header Alt-Svc 'h3=\":443\"; ma=60'; return 200;",
        http: "return 444;",
        labels: "hsts_missing h3_not_probed",
    },
];

#[test]
fn each_policy_that_nginx_can_have_is_named() {
    let ca = Ca::new("A");
    let leaf = ca.issue(NAME);
    let dir = scratch("probe");
    let (chain, key) = leaf.write(dir.path(), "shop", &leaf.fullchain());
    let mut config = String::new();
    let places = SITES.map(|site| {
        let (https, http) = (somewhere(), somewhere());
        config.push_str(&Nginx::tls(https, &chain, &key).replacen("return 200 ok;", site.https, 1));
        let _ = writeln!(config, "server {{ listen {http}; {} }}", site.http);
        (https, http)
    });
    let nginx = Nginx::start(&config, places[0].0);
    for (site, (https, http)) in SITES.iter().zip(places) {
        let (secure, plain) = (secure(https, &ca), plain(http));
        let first = &secure.as_ref().unwrap_or_else(|mute| panic!("{mute:?}: {}", nginx.log())).first;
        let read = clock::read(first).expect("nginx sends its date");
        assert_eq!(clock::compare(&[clock::Witness { clocks: read, chain: &[] }]), clock::Wrong::Servers(vec![]));
        let found = judge(&Policy {
            host: &name(),
            port: https.port(),
            secure: &secure,
            plain: Some(&plain),
            plain_port: http.port(),
            certificate_good: true,
            client_certificate_asked: false,
            below: &[],
        });
        let labels: Vec<&str> = found.iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels.join(" "), site.labels, "{} and {}: {found:?}", site.https, site.http);
    }
}

#[test]
fn heads_that_never_end_cost_their_limit_and_nothing_more() {
    let drip = |mut stream: TcpStream, bytes: &'static [u8], pause: Duration| {
        let _ = stream.read(&mut [0; 4096]);
        for byte in bytes.iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
    };
    let slow = listen(somewhere(), move |_, stream| {
        drip(stream, b"HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\nA: b\r\n", Duration::from_secs(2));
    });
    let line = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: ");
        while stream.write_all(&b"a".repeat(64 * 1024)).is_ok() {}
    });
    let lines = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(&b"A: b\r\n".repeat(1000)).is_ok() {}
    });
    let nul = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=\x001\r\n\r\n");
    });
    let interim = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {}
    });
    let silent = listen(somewhere(), |_, mut stream| while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    let began = Instant::now();
    assert_eq!(plain(line), Err(Mute::TooLarge));
    assert!(matches!(plain(lines), Err(Mute::TooLarge | Mute::NotHttp(_))));
    assert!(matches!(plain(interim), Err(Mute::NotHttp(_))));
    assert!(matches!(plain(nul), Err(Mute::NotHttp(_))), "browsers refuse it as well");
    assert!(began.elapsed() < Duration::from_secs(3), "none of these is waited for: {:?}", began.elapsed());
    for address in [slow, silent] {
        let began = Instant::now();
        assert_eq!(plain(address), Err(Mute::Silent));
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
}

#[test]
fn what_speaks_no_http_is_known_by_its_first_bytes() {
    let banner = listen(somewhere(), |_, mut stream| {
        let _ = stream.write_all(b"* OK IMAP4rev1\x1b[2J ready\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    assert_eq!(plain(banner), Err(Mute::NotHttp("* OK IMAP4rev1[2J ready  ".into())));
    let closes = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    assert!(matches!(plain(closes), Err(Mute::Broken(_))));
    assert!(matches!(plain(somewhere()), Err(Mute::Unopened(_))));
    let circles = listen(somewhere(), |number, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(format!("HTTP/1.1 302 F\r\nLocation: /{number}\r\n\r\n").as_bytes());
    });
    assert_eq!(plain(circles).expect("redirects").onward.len(), 3, "and no more");
}
