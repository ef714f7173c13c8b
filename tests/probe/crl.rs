//! Fetching CRLs from servers that serve them, and from others.

use super::rig::{Nginx, SServer, scratch};
use super::somewhere;
use super::support::{Ca, How, Leaf, listen, look_how};
use everleaf::pki::Certificate;
use everleaf::ports::Shown;
use everleaf::probe::survey::crl::{Fetched, Lists, MAX_CRL};
use everleaf::types::Printable;
use rcgen::{CertificateParams, CrlDistributionPoint, KeyPair, SerialNumber};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A certificate that points to `urls`.
fn pointing(urls: &[String]) -> Certificate {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.crl_distribution_points = urls.iter().map(|url| CrlDistributionPoint { uris: vec![url.clone()] }).collect();
    Certificate::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
}

fn fetched(lists: &Lists, sent: &[Certificate]) -> Vec<Fetched> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(lists.of(sent))
}

/// What came of the list at `url`: its bytes, or the code and words of why not.
fn list(url: &str) -> Result<Vec<u8>, String> {
    let fetched = fetched(&Lists::default(), &[pointing(&[url.to_owned()])]);
    assert_eq!((fetched.len(), fetched[0].position, fetched[0].url.as_str()), (1, 0, url));
    let list = fetched[0].list.clone();
    list.map(|bytes| bytes.to_vec()).map_err(|failure| format!("{}: {}", failure.code, failure.message))
}

#[test]
fn lists_are_fetched_once_each_from_where_certificates_say() {
    let dir = scratch("crl");
    fs::write(dir.path().join("a.crl"), b"\x30\x00list").unwrap();
    let address = somewhere();
    let http = format!(
        "server {{ listen {address}; root {};\nlocation /to {{ return 301 /a.crl; }}\n\
         location /round {{ return 302 /round; }}\nlocation /ftp {{ return 302 ftp://127.0.0.1/a.crl; }} }}",
        dir.path().display()
    );
    let nginx = Nginx::start(&http, address);
    let at = |path: &str| format!("http://{address}{path}");
    assert_eq!(list(&at("/a.crl")).as_deref(), Ok(&b"\x30\x00list"[..]));
    assert_eq!(list(&at("/to")).as_deref(), Ok(&b"\x30\x00list"[..]));
    assert!(list(&at("/round")).unwrap_err().starts_with("net:redirects: more than 3"));
    assert!(list(&at("/ftp")).unwrap_err().starts_with("net:redirects: it redirects to ftp://"));
    assert_eq!(list(&at("/none")).unwrap_err(), "crl:status: the server answers with status 404");
    assert!(list("ldap://127.0.0.1/cn=x").unwrap_err().ends_with("it is neither http nor https"));
    assert!(list(&format!("http://{}/a.crl", somewhere())).unwrap_err().starts_with("net:connect: "));
    assert!(fetched(&Lists::default(), &[pointing(&[])]).is_empty());
    // The second place is asked where the first has nothing.
    let (lists, before) = (Lists::default(), nginx.requests("GET /a.crl"));
    let sent = [pointing(&[at("/gone"), at("/a.crl"), at("/never")]), pointing(&[at("/a.crl")])];
    for _ in 0..3 {
        let found = fetched(&lists, &sent);
        assert_eq!(found.iter().map(|it| (it.position, it.list.is_ok())).collect::<Vec<_>>(), [(0, true), (1, true)]);
    }
    assert_eq!(nginx.requests("GET /a.crl") - before, 1);
    assert_eq!((nginx.requests("GET /gone"), nginx.requests("GET /never")), (1, 0));
}

/// A server that answers with `head` and then `size` octets, a megabyte at a time.
fn pouring(head: &'static str, size: usize) -> SocketAddr {
    listen(somewhere(), move |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(head.as_bytes());
        let chunk = vec![0x30; 1 << 20];
        for _ in 0..size >> 20 {
            if stream.write_all(&chunk).is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_is_too_large_or_too_slow_is_given_up_with_words() {
    let announced = pouring("HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n", 50 << 20);
    let began = Instant::now();
    let too_large = "net:tooLarge: the reply is larger than the 32768 KiB that are read";
    assert_eq!(list(&format!("http://{announced}/")).unwrap_err(), too_large);
    let unannounced = pouring("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 200 << 20);
    assert_eq!(list(&format!("http://{unannounced}/")).unwrap_err(), too_large);
    let fitting = pouring("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", MAX_CRL);
    assert_eq!(list(&format!("http://{fitting}/")).map(|bytes| bytes.len()), Ok(MAX_CRL));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let dripping = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b"0").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    // Two that never end cost the time of one.
    let began = Instant::now();
    let urls = ["a", "b"].map(|path| format!("http://{dripping}/{path}"));
    let found = fetched(&Lists::default(), &urls.map(|url| pointing(&[url])));
    assert!(found.iter().all(|it| it.list.as_ref().is_err_and(|failure| failure.code == "net:timeout")), "{found:?}");
    let took = began.elapsed();
    assert!(Duration::from_secs(9) < took && took < Duration::from_secs(18), "{took:?}");
}

/// Number 7, which points to `url`.
fn seventh(ca: &Ca, url: &str) -> Leaf {
    ca.issue_with("a.test", &KeyPair::generate().unwrap(), |params| {
        params.serial_number = Some(SerialNumber::from(7));
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
    })
}

/// A server that answers every request with `list`, and how often it was asked.
fn publishing(list: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let address = listen(somewhere(), move |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        counted.fetch_add(1, Ordering::Relaxed);
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", list.len());
        let _ = stream.write_all(&[head.as_bytes(), &list].concat());
    });
    (address, asked)
}

#[test]
fn a_fresh_certificate_that_is_revoked_already_is_told_of_and_counts_as_served() {
    let (ca, other) = (Ca::new("A"), Ca::new("B"));
    // Whoever lists it, and what is noted of it.
    for (list, noted) in [
        (ca.crl(7), Some("revoked: the CRL at ")),
        (ca.crl(8), None),
        (other.crl(7), None),
        (b"<html>later</html>".to_vec(), None),
    ] {
        let (at, asked) = publishing(list);
        let leaf = seventh(&ca, &format!("http://{at}/list"));
        let server = SServer::bare(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &[]);
        let how = How { handshakes: 3, over: Duration::from_millis(300), revocation: true, ..How::default() };
        let whole = look_how(server.address(), &leaf, &how);
        assert_eq!((whole.shown.clone(), whole.matched), (Shown::Wanted, 3), "{whole:?}");
        let notes: Vec<&str> = whole.notes.iter().map(Printable::as_str).collect();
        match noted {
            Some(begins) => {
                assert!(notes.len() == 1 && notes[0].starts_with(begins), "{notes:?}");
                assert!(notes[0].contains("lists a.test, serial 07: ") && notes[0].contains("key"), "{notes:?}");
            }
            None => assert!(notes.is_empty(), "{notes:?}"),
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "once a look");
        let glance = look_how(server.address(), &leaf, &How::default());
        assert!(glance.shown == Shown::Wanted && glance.notes.is_empty(), "{glance:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "a glance fetches nothing");
    }
}

#[test]
fn a_list_that_cannot_be_had_is_nothing_against_a_fresh_certificate() {
    let ca = Ca::new("A");
    let hung = listen(somewhere(), |_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        std::thread::sleep(Duration::from_secs(60));
    });
    for place in [somewhere(), hung] {
        let leaf = seventh(&ca, &format!("http://{place}/list"));
        let server = SServer::bare(somewhere(), &leaf.cert, &leaf.chain, &leaf.key, &[]);
        let began = Instant::now();
        let seen = look_how(server.address(), &leaf, &How { revocation: true, ..How::default() });
        assert!(seen.shown == Shown::Wanted && seen.notes.is_empty(), "{seen:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
}
