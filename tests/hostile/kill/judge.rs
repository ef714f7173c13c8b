//! Whether a shop is as it must be: at the moment after a blow, and after one ordinary run.

use super::shop::{NAME, NAMES, Shop};
use crate::rig::scene::plain_serial;
use crate::rig::{Nginx, require, wait_until};
use everleaf::types::{Digest, sha256};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long nginx's old workers may go on.
const SETTLE: Duration = Duration::from_secs(20);

/// How things stood before a blow.
pub(crate) struct Before {
    /// The serial number that was served.
    served: Option<String>,
    /// What was published: nothing where everleaf has published nothing yet.
    published: BTreeMap<PathBuf, Vec<u8>>,
    issued: usize,
    orders: usize,
    /// Requests that wait, and requests that ever were taken up.
    asked: (usize, usize),
}

/// What was found good before: of the same bytes, openssl and nginx say the same again.
#[derive(Default)]
pub(crate) struct Verdicts {
    good: RefCell<HashMap<Digest, String>>,
}

impl Verdicts {
    fn judged(&self, bytes: &[&[u8]], judge: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let digest = sha256(bytes);
        if let Some(known) = self.good.borrow().get(&digest) {
            return Ok(known.clone());
        }
        let found = judge()?;
        self.good.borrow_mut().insert(digest, found.clone());
        Ok(found)
    }
}

impl Before {
    /// As it is now.
    pub(crate) fn of(shop: &Shop) -> Self {
        let data = fs::read_link(shop.live("..data")).map(|name| shop.live(&name.to_string_lossy()));
        let published = data.map(|dir| contents(&dir)).unwrap_or_default();
        let (issued, orders) = (shop.scene.pebble.issued(), shop.scene.pebble.orders());
        // A worker of the last blow's nginx may still answer where the machine is busy.
        let shown = pair(shop, published.is_empty()).expect("a shop put back has a pair");
        let mut served = None;
        let settled = wait_until(SETTLE, || {
            served = shop.served();
            served.as_ref() == Some(&shown)
        });
        assert!(settled, "nginx serves {served:?} and not {shown}, which was put back");
        Self { served, published, issued, orders, asked: asked(shop) }
    }

    /// At the moment: a pair that loads is published, what was published before is as it was, nginx serves, and no key that may be
    /// needed is gone.
    pub(crate) fn stands(&self, shop: &Shop) -> Result<(), String> {
        let live = pair(shop, self.published.is_empty())?;
        let served = shop.served();
        if served.is_none() || (served != self.served && served.as_ref() != Some(&live)) {
            return Err(format!("nginx serves {served:?}, live is {live}, and before it was {:?}", self.served));
        }
        for (path, bytes) in &self.published {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                return Err(format!("{} is not as it was", path.display()));
            }
        }
        keys(shop)
    }

    /// After one ordinary run: exit 0, the next generation is live and served, one certificate was issued and at most one order more.
    /// Whoever was killed before the request was there has asked for nothing, and gets nothing.
    pub(crate) fn healed(&self, shop: &Shop) -> Result<(), String> {
        let (waiting, taken) = asked(shop);
        let owed = self.published.is_empty() || self.asked.0 > 0 || waiting + taken > self.asked.1;
        let ran = shop.run();
        let said = format!("{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            return Err(format!("the next run was not enough: {said}"));
        }
        let wanted = if owed { self.done(shop) } else { self.untouched(shop) };
        wanted.map_err(|why| format!("after the next run ({said}): {why}"))
    }

    /// Everything is live with one certificate more.
    pub(crate) fn done(&self, shop: &Shop) -> Result<(), String> {
        if Some(Self::live(shop)?) == self.served {
            return Err("nothing was renewed".to_owned());
        }
        match self.spent(shop) {
            (1, 1 | 2) => Ok(()),
            (issued, orders) => Err(format!("{orders} orders, and {issued} certificates")),
        }
    }

    /// Everything is live as it was.
    fn untouched(&self, shop: &Shop) -> Result<(), String> {
        match (Some(Self::live(shop)?) == self.served, self.spent(shop)) {
            (true, (0, 0)) => Ok(()),
            (_, (issued, orders)) => Err(format!("nobody asked, but: {orders} orders, and {issued} certificates")),
        }
    }

    /// How many certificates and orders there are more than before.
    fn spent(&self, shop: &Shop) -> (usize, usize) {
        (shop.scene.pebble.issued() - self.issued, shop.scene.pebble.orders() - self.orders)
    }

    /// What is published is served and is what the status names, and nothing is left lying about. Answers its serial number.
    fn live(shop: &Shop) -> Result<String, String> {
        let status = shop.scene.status(NAME);
        let named = plain_serial(status["generation"]["serial"].as_str().unwrap_or_default());
        let live = pair(shop, false)?;
        // Two handshakes at once, as the shop's configuration has it, need not meet a worker that is about to go.
        let mut served = None;
        let settled = wait_until(SETTLE, || {
            served = shop.served();
            served.as_ref() == Some(&named)
        });
        if status["stage"] != "live" || !settled || live != named {
            let stage = &status["stage"];
            return Err(format!("it is {stage}, status names {named}, live is {live}, nginx serves {served:?}"));
        }
        if let Some(left) = shop.left() {
            return Err(format!("{} is left", left.display()));
        }
        keys(shop).map(|()| live)
    }
}

/// Requests that wait, and requests that ever were taken up.
fn asked(shop: &Shop) -> (usize, usize) {
    let waiting =
        fs::read_dir(shop.scene.path(&format!("state/certs/{NAME}/requests"))).into_iter().flatten().flatten();
    let waiting = waiting.filter(|entry| entry.path().extension().is_some_and(|it| it == "json")).count();
    (waiting, shop.scene.events(NAME).iter().filter(|kind| *kind == "asked").count())
}

/// The serial number of what is published, when it is a pair: openssl and nginx say so. Before anything of ours is published,
/// `foreign` files of somebody else may lie there.
fn pair(shop: &Shop, foreign: bool) -> Result<String, String> {
    let read = |file: &str| fs::read_to_string(shop.live(file)).map_err(|error| format!("{file}: {error}"));
    let [key, bundle, fullchain] = [read("privkey.pem")?, read("bundle.pem")?, read("fullchain.pem")?];
    if bundle != format!("{key}{fullchain}") {
        return Err("bundle.pem is not privkey.pem and fullchain.pem".to_owned());
    }
    let ours = fs::read_link(shop.live("..data")).is_ok_and(|to| !to.to_string_lossy().contains("foreign"));
    if ours && fullchain != format!("{}{}", read("cert.pem")?, read("chain.pem")?) {
        return Err("fullchain.pem is not cert.pem and chain.pem".to_owned());
    }
    if !ours && !foreign {
        return Err("nothing of everleaf's is published".to_owned());
    }
    shop.verdicts.judged(&[bundle.as_bytes(), &[u8::from(ours)]], || matching(shop, ours))
}

/// The serial number of a pair that matches and loads, and that clients accept where it is `ours`.
fn matching(shop: &Shop, ours: bool) -> Result<String, String> {
    let path = |file: &str| shop.live(file).display().to_string();
    let of_key = openssl(&["pkey", "-in", &path("privkey.pem"), "-pubout"])?;
    let of_leaf = openssl(&["x509", "-in", &path("fullchain.pem"), "-noout", "-serial", "-pubkey"])?;
    let (serial, of_leaf) = of_leaf.split_once('\n').ok_or("x509 printed nothing")?;
    if of_key != of_leaf {
        return Err("privkey.pem is not the key of the leaf".to_owned());
    }
    let root = shop.root.display().to_string();
    for name in NAMES.into_iter().filter(|_| ours) {
        let verified = ["verify", "-CAfile", &root, "-untrusted", &path("chain.pem"), "-verify_hostname", name];
        openssl(&[&verified[..], &[&path("cert.pem")]].concat())?;
    }
    loads(&shop.nginx)?;
    Ok(plain_serial(serial.trim_start_matches("serial=")))
}

/// Every key that was made and not let go of is there and is the key its name says; a request whose key is gone is a certificate lost.
fn keys(shop: &Shop) -> Result<(), String> {
    let journal = shop.scene.text(&format!("state/certs/{NAME}/journal.jsonl"));
    let mut needed: BTreeMap<String, Option<String>> = BTreeMap::new();
    for event in journal.lines().filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["event"].clone())) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("key_made") => drop(needed.insert(text(&event["key"]), None)),
            Some("chain_staged") => {
                needed.insert(text(&event["about"]["key"]), Some(text(&event["about"]["generation"])));
            }
            Some("pruned") => needed.retain(|_, generation| *generation != Some(text(&event["generation"]))),
            Some("key_discarded") => drop(needed.remove(&text(&event["key"]))),
            _ => {}
        }
    }
    // The one being pruned is gone before that is written down.
    let oldest = needed.iter().filter_map(|(key, generation)| Some((generation.clone()?, key.clone()))).min();
    let pruned = oldest.filter(|_| needed.len() > 2).map(|(_, key)| key);
    for key in needed.keys().filter(|key| Some(*key) != pruned.as_ref()) {
        let path = shop.scene.path(&format!("state/certs/{NAME}/keys/{key}.pem"));
        let text = fs::read_to_string(&path).map_err(|error| format!("the key {key} is lost: {error}"))?;
        let pair = KeyPair::from_pem(&text).map_err(|error| format!("the key {key} does not load: {error}"))?;
        if sha256(&[&pair.subject_public_key_info()]).to_string() != *key {
            return Err(format!("what is kept as {key} is another key"));
        }
    }
    Ok(())
}

/// Whether nginx itself takes what is published.
fn loads(nginx: &Nginx) -> Result<(), String> {
    let command = nginx.check_command();
    let judged = Command::new(&command[0]).args(&command[1..]).output().map_err(|error| error.to_string())?;
    if judged.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&judged.stderr).into_owned()) }
}

fn openssl(arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(require("openssl")).args(arguments).stdin(Stdio::null()).output().expect("openssl");
    if ran.status.success() {
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    } else {
        Err(format!("openssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr)))
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| (entry.path(), fs::read(entry.path()).expect("readable"))).collect()
}
