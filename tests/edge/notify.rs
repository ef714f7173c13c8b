//! Notices and pings, as their receivers see them.

use crate::support::{block_on, scratch, shell};
use aws_lc_rs::hmac;
use everleaf::config::spec::{Notifier, NotifierKind, Ping};
use everleaf::hook::Systemd;
use everleaf::notify::{Notifiers, Outcome, ping};
use everleaf::ports::{Notice, NoticeKind, Notify};
use everleaf::types::{CertName, Class, Failure, NotifierName, Printable, Secret, Timestamp};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Debug, Clone)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Receives requests and answers each with the same text; an empty answer is none at all.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (answer.to_owned(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().filter_map(Result::ok) {
                let mut reader = BufReader::new(stream);
                log.lock().expect("the log").push(receive(&mut reader));
                let mut stream = reader.into_inner();
                if answer.is_empty() {
                    held.push(stream);
                } else {
                    stream.write_all(answer.as_bytes()).expect("answer");
                }
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> Secret {
        Secret::new(format!("http://{}/services/s3cret", self.address))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the log").clone()
    }
}

fn receive(reader: &mut impl BufRead) -> Seen {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request line");
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().expect("a length")];
    reader.read_exact(&mut body).expect("the body");
    Seen { line: line.trim_end().to_owned(), headers, body }
}

fn notice() -> Notice {
    Notice {
        schema: "everleaf.notice/1".to_owned(),
        kind: NoticeKind::Failure,
        cause: Printable::new("hook:exit at node edge2"),
        summary: Printable::new("node edge2: failed with exit status 1"),
        advice: Printable::new("everleaf why shop"),
        details: vec![Printable::new("nginx: [emerg]")],
        certificates: vec![CertName::new("shop").expect("a name"), CertName::new("blog").expect("a name")],
        host: Printable::new("edge1"),
        at: Timestamp::from_secs(1_795_341_600),
    }
}

fn tell(kind: NotifierKind) -> Result<(), Failure> {
    let notifier = Notifier { name: NotifierName::new("ops").expect("a name"), kind };
    block_on(Notifiers::new(Systemd::of_this_machine()).tell(&notifier, &notice()))
}

fn webhook(receiver: &Receiver, hmac: Option<&str>) -> NotifierKind {
    NotifierKind::Webhook { url: receiver.url(), hmac: hmac.map(|key| Secret::new(key.to_owned())) }
}

const OK: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[test]
fn a_webhook_gets_one_signed_document() {
    let receiver = Receiver::start(OK);
    tell(webhook(&receiver, Some("hunter2"))).expect("delivered");
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /services/s3cret HTTP/1.1"));
    assert_eq!(seen[0].header("content-type"), "application/json");
    let hex = seen[0].header("x-everleaf-signature").strip_prefix("sha256=").expect("a signature");
    let tag = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal");
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter2");
    hmac::verify(&key, &seen[0].body, &tag).expect("the body's HMAC");
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).expect("JSON");
    assert_eq!((&body["schema"], &body["event"]), (&"everleaf.notice/1".into(), &"notify".into()));
    assert_eq!(body["certificates"], serde_json::json!(["shop", "blog"]));
    let text = body["text"].as_str().expect("Slack's field");
    assert!(text.contains("edge2: failed with exit status 1") && text.contains("shop, blog"), "{text}");
}

#[test]
fn without_a_key_nothing_is_signed() {
    let receiver = Receiver::start(OK);
    tell(webhook(&receiver, None)).expect("delivered");
    assert_eq!(receiver.seen()[0].header("x-everleaf-signature"), "");
}

#[test]
fn a_refusal_is_sorted_and_never_shows_the_url() {
    let busy = "HTTP/1.1 429 Too Many\r\nretry-after: 30\r\ncontent-length: 4\r\nconnection: close\r\n\r\nslow";
    let failure = tell(webhook(&Receiver::start(busy), None)).expect_err("refused");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "webhook:429"));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(30)));
    assert!(failure.details.iter().any(|line| line.as_str() == "slow"));
    let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 34\r\nconnection: close\r\n\r\nno such path: /services/s3cret \u{1b}[31";
    let failure = tell(webhook(&Receiver::start(gone), None)).expect_err("refused");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "webhook:404"));
    assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
    let moved = "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(tell(webhook(&Receiver::start(moved), None)).expect_err("not followed").code, "webhook:307");
    let down = NotifierKind::Webhook { url: Secret::new("http://127.0.0.1:1/s3cret".to_owned()), hmac: None };
    let failure = tell(down).expect_err("nobody listens");
    assert!(failure.code.starts_with("net:") && !format!("{failure:?}").contains("s3cret"), "{failure:?}");
    assert_eq!(failure.place.as_str(), "notifier ops");
}

#[test]
fn a_command_gets_the_same_document() {
    let dir = scratch();
    let out = dir.path().join("out");
    tell(NotifierKind::Exec(shell(&format!("cat >{}; test $EVERLEAF_EVENT = notify", out.display())))).expect("told");
    let body: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).expect("the file")).expect("JSON");
    assert_eq!((&body["schema"], &body["event"]), (&"everleaf.notice/1".into(), &"notify".into()));
    assert!(body["text"].is_string() && body["kind"] == "failure");
    let failure = tell(NotifierKind::Exec(shell("echo no mail; exit 75"))).expect_err("later");
    assert_eq!(failure.code, "hook:later");
    assert_eq!(tell(NotifierKind::Exec(shell("exit 42"))).expect_err("nobody was told").code, "notify:not-for-me");
}

#[test]
fn a_run_is_told_to_the_switch() {
    let receiver = Receiver::start(OK);
    let switch = Ping { url: receiver.url() };
    block_on(async {
        for outcome in [Outcome::Started, Outcome::Succeeded, Outcome::Failed] {
            ping(&switch, outcome).await;
        }
    });
    let lines: Vec<_> = receiver.seen().into_iter().map(|seen| seen.line).collect();
    let wanted = ["/services/s3cret/start", "/services/s3cret", "/services/s3cret/fail"];
    assert_eq!(lines, wanted.map(|path| format!("GET {path} HTTP/1.1")));
}

#[test]
fn a_lost_ping_is_repeated_once_and_hangs_nobody() {
    let refusing = Receiver::start("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    block_on(ping(&Ping { url: refusing.url() }, Outcome::Succeeded));
    assert_eq!(refusing.seen().len(), 2);
    let silent = Receiver::start("");
    let begun = Instant::now();
    block_on(ping(&Ping { url: silent.url() }, Outcome::Succeeded));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
