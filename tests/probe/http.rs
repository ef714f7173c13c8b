//! What endpoints say in HTTP: nginx with policies of all kinds, and heads that nobody sane would send.

use super::rig::{HaProxy, Nginx, SServer, scratch};
use super::somewhere;
use super::support::{Ca, SystemClock, listen, listen_tls};
use everleaf::config::spec::StartTls;
use everleaf::net::dns::Resolver;
use everleaf::pki::Anchors;
use everleaf::ports::{Clock, Pending};
use everleaf::probe::Trouble;
use everleaf::probe::chain::Store;
use everleaf::probe::checks::Case;
use everleaf::probe::survey::Surveyor;
use everleaf::probe::survey::http::{Mute, Question, Spoken, ask};
use everleaf::probe::target::{Place, Query, Target, Via};
use everleaf::types::{Identifier, Timestamp};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
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

const SITES: [Site; 18] = [
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
    // As servers do that know no HEAD and say nothing to it.
    Site {
        https: "if ($request_method = HEAD) { return 444; } add_header Strict-Transport-Security max-age=31536000; return 200;",
        http: TO_HTTPS,
        labels: "hsts_ok",
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

/// What a survey of `https`, with `http` for its port 80, comes to by a clock that is `off` by so many days.
fn surveyed(https: SocketAddr, http: Option<u16>, root: &str, off: i64) -> Vec<&'static str> {
    let anchors = Anchors::from_pem(root.as_bytes(), "test").unwrap();
    let query = Query {
        target: Target { host: name(), port: https.port() },
        connect: vec![Via { place: Place { host: Identifier::Ip(https.ip()), port: None }, node: None }],
        name: name(),
        send_name: true,
        starttls: StartTls::No,
        stores: vec![Store {
            name: "test".into(),
            anchors: Rc::new(anchors),
            source: everleaf::probe::chain::Source::File,
        }]
        .into(),
        pins: Vec::new().into(),
        others: [].into(),
        http_port: http,
        crl: false,
        client: None,
        quick: false,
        vantage: "here".into(),
    };
    let survey = run(async {
        let resolver = Rc::new(Resolver::new(&["127.0.0.1:9".parse().unwrap()]).unwrap());
        Surveyor::new(resolver, Rc::new(Off(off)), 50).unwrap().survey(query).await.unwrap()
    });
    let verdict = Case::new(&survey).verdict();
    let mut labels: Vec<_> = verdict.findings().iter().map(|it| it.label.as_str()).collect();
    // Whatever is not about HTTP and clocks is looked at elsewhere.
    labels.retain(|label| !["ok", "resumption_off"].contains(label));
    labels.sort_unstable();
    labels
}

/// A clock that is off by so many days.
struct Off(i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0 * 86_400_000)
    }

    fn sleep(&self, span: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

#[test]
fn each_policy_that_nginx_can_have_is_named() {
    let ca = Ca::new("A");
    let leaf = ca.issue_from(NAME, 2);
    let dir = scratch("probe");
    let (chain, key) = leaf.write(dir.path(), "shop", &leaf.fullchain());
    let mut config = String::new();
    let places = SITES.map(|site| {
        let (https, http) = (somewhere(), somewhere());
        config.push_str(&Nginx::tls(https, &chain, &key).replacen("return 200 ok;", site.https, 1));
        let _ = writeln!(config, "server {{ listen {http}; {} }}", site.http);
        (https, http)
    });
    let _nginx = Nginx::start(&config, places[0].0);
    for (site, (https, http)) in SITES.iter().zip(places) {
        let labels = surveyed(https, Some(http.port()), ca.root(), 0);
        let mut expected: Vec<&str> = site.labels.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(labels, expected, "{} and {}", site.https, site.http);
    }
    // The same policy over a certificate that nobody trusts.
    let stranger = Ca::new("B");
    assert_eq!(surveyed(places[2].0, None, stranger.root(), 0), ["hsts_ignored_bad_cert", "untrusted_root"]);
    // Where port 80 is not this site's, it is not asked for.
    assert_eq!(surveyed(places[9].0, None, ca.root(), 0), ["hsts_missing"]);
    // Nobody listens there.
    assert_eq!(surveyed(places[3].0, Some(somewhere().port()), ca.root(), 0), ["hsts_preload_ready"]);
    // By a clock that is far off, the certificate is not yet, or no longer, valid: the clock is named, and nothing else.
    for off in [-400, 400] {
        assert_eq!(
            surveyed(places[0].0, Some(places[0].1.port()), ca.root(), off),
            ["client_clock_wrong", "hsts_missing"]
        );
    }
}

#[test]
fn what_is_answered_in_http_2_alone_or_to_get_alone_counts() {
    let ca = Ca::new("A");
    let leaf = ca.issue_from(NAME, 2);
    let dir = scratch("probe");
    let (chain, key) = leaf.write(dir.path(), "shop", &leaf.fullchain());
    let both = dir.path().join("both.pem");
    let text = [chain, key].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, text.concat()).unwrap();
    let [strict, failing, either] = [(); 3].map(|()| somewhere());
    let mut sections = String::new();
    for (at, how, answer) in [
        (strict, "alpn h2 proto h2", "200 hdr Strict-Transport-Security max-age=31536000"),
        (failing, "alpn h2 proto h2", "503"),
        (either, "alpn h2,http/1.1", "200 hdr Strict-Transport-Security max-age=300"),
    ] {
        let _ = writeln!(
            sections,
            "frontend f{}\n    bind {at} ssl crt {} {how}\n    http-request return status {answer}",
            at.port(),
            both.display()
        );
    }
    let _haproxy = HaProxy::start("", &sections, strict);
    assert_eq!(surveyed(strict, None, ca.root(), 0), ["hsts_ok"]);
    assert_eq!(surveyed(failing, None, ca.root(), 0), ["http_error"]);
    assert_eq!(surveyed(either, None, ca.root(), 0), ["hsts_short"]);
    // It hears HEAD out, and says nothing.
    let silent = SServer::bare(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &["-www"]);
    let began = Instant::now();
    assert_eq!(surveyed(silent.address(), None, ca.root(), 0), ["hsts_missing"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_server_whose_clock_is_far_off_is_named() {
    let ca = Ca::new("A");
    let leaf = ca.issue_from(NAME, 2);
    let dir = scratch("probe");
    let (chain, key) = leaf.write(dir.path(), "shop", &leaf.fullchain());
    let dates = [
        ("Sun, 06 Nov 1994 08:49:37 GMT", &["hsts_missing", "server_clock_wrong"][..]),
        ("Fri, 31 Dec 9999 23:59:59 GMT", &["hsts_missing", "server_clock_wrong"]),
        ("whenever", &["hsts_missing"]),
    ];
    for (date, expected) in dates {
        let at = listen_tls(somewhere(), &chain, &key, format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n"));
        assert_eq!(surveyed(at, None, ca.root(), 0), expected, "{date}");
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
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
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
