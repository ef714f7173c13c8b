use super::*;
use crate::ports::{AccountStore, Journal, LockError, Locks, Memory, Pending, Request, StoredAccount};
use crate::types::{IssuerName, Printable, RequestId, Secret, Seq, Timestamp};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Directories of a test's own.
pub(super) struct Scratch {
    pub(super) paths: Paths,
    _temp: tempfile::TempDir,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let below = |name: &str| temp.path().join(name);
        Self { paths: Paths { state: below("state"), live: below("live"), run: below("run") }, _temp: temp }
    }

    pub(super) fn open(&self) -> StateRoot {
        open(&self.paths)
    }
}

pub(super) fn open(paths: &Paths) -> StateRoot {
    StateRoot::open(paths, Rc::new(Stopped)).unwrap()
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        at(4_000_000_000)
    }
    fn sleep(&self, _: Duration) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(super) fn cert(name: &str) -> CertName {
    CertName::new(name).unwrap()
}

#[test]
fn everything_in_it_is_for_its_owner_alone() {
    let scratch = Scratch::new();
    let state = scratch.open();
    state.append(&Scope::Certificate(cert("shop")), Seq(0), at(1), &[json!({})]).unwrap();
    state.install_seed().unwrap();
    for (path, mode) in
        [("", 0o700), ("certs", 0o700), ("certs/shop", 0o700), ("certs/shop/journal.jsonl", 0o600), ("seed", 0o600)]
    {
        assert_eq!(scratch.paths.state.join(path).metadata().unwrap().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn a_directory_others_can_look_into_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.open());
    fs::set_permissions(&scratch.paths.state, fs::Permissions::from_mode(0o750)).unwrap();
    let failure = StateRoot::open(&scratch.paths, Rc::new(Stopped)).err().unwrap();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "state:mode"));
    assert!(failure.advice.as_str().starts_with("chmod 0700 "));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.open());
    // Only root can give a directory away; for anybody else, root's own directory is another user's.
    let paths = if geteuid().is_root() {
        std::os::unix::fs::chown(&scratch.paths.state, Some(12_345), None).unwrap();
        scratch.paths.clone()
    } else {
        Paths { state: "/usr".into(), ..scratch.paths.clone() }
    };
    let failure = StateRoot::open(&paths, Rc::new(Stopped)).err().unwrap();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "state:owner"));
}

#[test]
fn a_lock_names_its_holder_and_is_free_when_dropped() {
    let scratch = Scratch::new();
    let [one, other] = [scratch.open(), scratch.open()];
    let guard = one.try_lock(&cert("shop")).ok().unwrap();
    let Err(LockError::Held(Some(holder))) = other.try_lock(&cert("shop")) else { panic!("it is held") };
    assert_eq!((holder.pid, holder.since), (std::process::id(), at(4_000_000_000)));
    assert!(other.try_lock(&cert("another")).is_ok());
    drop(guard);
    assert!(other.try_lock(&cert("shop")).is_ok());
    let locks = scratch.paths.run.join("locks");
    assert_eq!(locks.join("shop.lock").metadata().unwrap().mode() & 0o777, 0o600, "who can open it can lock it");
    assert_eq!(locks.join("shop.json").metadata().unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_lock_removes_what_a_dead_process_left() {
    let scratch = Scratch::new();
    let state = scratch.open();
    let keys = scratch.paths.state.join("certs/shop/keys");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("..tmp-1-0"), "half a key").unwrap();
    fs::write(keys.join("whole.pem"), "").unwrap();
    drop(state.try_lock(&cert("shop")).ok().unwrap());
    assert!(!keys.join("..tmp-1-0").exists() && keys.join("whole.pem").exists());
}

#[test]
fn sightings_are_losable_and_requests_are_not() {
    let scratch = Scratch::new();
    let state = scratch.open();
    let shop = cert("shop");
    assert_eq!((state.seen(&shop), state.index()), (None, None));
    state.remember(&shop, &json!({"a": 1}));
    state.set_index(&json!([2]));
    assert_eq!((state.seen(&shop), state.index()), (Some(json!({"a": 1})), Some(json!([2]))));
    fs::write(scratch.paths.state.join("certs/shop/seen.json"), "{").unwrap();
    assert_eq!(state.seen(&shop), None);

    let request = |n| Request { id: RequestId::from_random([n; 16]), by: Printable::new("root"), ask: json!({"n": n}) };
    for n in [9, 3, 5] {
        scratch.open().drop_request(&shop, &request(n)).unwrap();
    }
    fs::write(scratch.paths.state.join("certs/shop/requests/junk.json"), "{}").unwrap();
    assert_eq!(state.requests(&shop), [request(9), request(3), request(5)], "oldest first");
    assert!(!scratch.paths.state.join("certs/shop/requests/junk.json").exists());
    state.request_journaled(&shop, &request(9).id);
    assert_eq!(state.requests(&shop), [request(3), request(5)]);
}

#[test]
fn the_seed_is_made_once_however_many_ask() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let seeds: Vec<_> = std::thread::scope(|threads| {
        let ask = || threads.spawn(|| open(&scratch.paths).install_seed().unwrap());
        [ask(), ask(), ask(), ask()].map(|thread| thread.join().unwrap()).to_vec()
    });
    assert!(seeds.iter().all(|seed| *seed == seeds[0]) && seeds[0] != [0; 32]);
    assert_eq!(scratch.open().install_seed().unwrap(), seeds[0]);
}

#[test]
fn accounts_of_two_directories_live_side_by_side() {
    let scratch = Scratch::new();
    let state = scratch.open();
    let issuer = IssuerName::new("le").unwrap();
    let account = |directory: &str, key: &str, url: Option<&str>| StoredAccount {
        directory: directory.to_owned(),
        key_pkcs8: Secret::new(key.to_owned()),
        url: url.map(str::to_owned),
    };
    assert_eq!(AccountStore::load(&state, &issuer, "https://a/dir").unwrap(), None);
    for url in [None, Some("https://a/acct/1")] {
        state.save(&issuer, &account("https://a/dir", "AAAA", url)).unwrap();
    }
    state.save(&issuer, &account("https://b/dir", "BBBB", None)).unwrap();
    let load = |directory| AccountStore::load(&scratch.open(), &issuer, directory).unwrap();
    assert_eq!(load("https://a/dir"), Some(account("https://a/dir", "AAAA", Some("https://a/acct/1"))));
    assert_eq!(load("https://b/dir"), Some(account("https://b/dir", "BBBB", None)));
    assert_eq!(load("https://c/dir"), None);
    let refused = state.save(&issuer, &account("https://a/dir", "CCCC", None)).unwrap_err();
    assert_eq!(refused.code, "account:other_key");

    let path = scratch.paths.state.join("accounts/le/credentials.json");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    fs::write(&path, "{\"key_pkcs8\":\"AAAA\"").unwrap();
    let failure = AccountStore::load(&state, &issuer, "https://a/dir").unwrap_err();
    assert_eq!(failure.code, "account:damaged");
    assert!(!failure.to_string().contains("AAAA"));
}

#[test]
fn a_thousand_certificates_with_nothing_due_cost_little() {
    let scratch = Scratch::new();
    let state = scratch.open();
    let names: Vec<_> = (0..1000).map(|n| cert(&format!("c{n}"))).collect();
    for name in &names {
        let dir = scratch.paths.state.join("certs").join(name.as_str());
        fs::create_dir_all(dir).unwrap();
    }
    state.set_index(&json!({}));
    let start = std::time::Instant::now();
    let state = scratch.open();
    state.index();
    for name in &names {
        assert!(state.requests(name).is_empty());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}, though a debug build on a busy machine", start.elapsed());
}
