//! ACME accounts: `accounts/ISSUER/credentials.json`, 0600.
//!
//! An issuer's name may later stand for another directory, or for its staging directory: the first directory has `credentials.json`, every
//! other one `credentials-DIGEST.json`, after the digest of its URL. None is ever overwritten by another's.

use super::{PRIVATE_FILE, StateRoot, failed};
use crate::disk::{Dir, Durability};
use crate::ports::{AccountStore, Generations, Journal as _, StoredAccount};
use crate::types::{Class, Failure, IssuerName, Secret, sha256};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// An account's file with an RSA key has less than 4 KB.
const MAX_ACCOUNT: usize = 64 * 1024;
const ACCOUNTS: &str = "accounts";
const FIRST: &str = "credentials.json";

/// The file's fields. Its key is wiped by [`Secret`] once it is read.
#[derive(Serialize, Deserialize)]
struct Written {
    v: u32,
    directory: String,
    key_pkcs8: String,
    url: Option<String>,
}

const VERSION: u32 = 1;

impl AccountStore for StateRoot {
    fn load(&self, issuer: &IssuerName, directory: &str) -> Result<Option<StoredAccount>, Failure> {
        let Some(dir) = self.existing(&[ACCOUNTS, issuer.as_str()]).map_err(failed)? else { return Ok(None) };
        match read(&dir, FIRST)? {
            Some(account) if account.directory == directory => Ok(Some(account)),
            _ => read(&dir, &other(directory)),
        }
    }

    fn save(&self, issuer: &IssuerName, account: &StoredAccount) -> Result<(), Failure> {
        let dir = self.made(&[ACCOUNTS, issuer.as_str()]).map_err(failed)?;
        self.sweep_dir(&dir);
        let first_is_free = read(&dir, FIRST)?.is_none_or(|first| first.directory == account.directory);
        let file = if first_is_free { FIRST.to_owned() } else { other(&account.directory) };
        if AccountStore::load(self, issuer, &account.directory)?.is_some_and(|kept| kept.key_pkcs8 != account.key_pkcs8)
        {
            let place = dir.path().join(file).to_string_lossy().into_owned();
            return Err(Failure::new(
                Class::Operator,
                "account:other_key",
                place,
                "another account key is kept for this directory",
            )
            .advise("move that file away if the account is to be replaced; it is never overwritten"));
        }
        let written = Written {
            v: VERSION,
            directory: account.directory.clone(),
            key_pkcs8: account.key_pkcs8.reveal().to_owned(),
            url: account.url.clone(),
        };
        let json = serde_json::to_string(&written).map(Secret::new);
        drop(Secret::new(written.key_pkcs8));
        let json =
            json.map_err(|error| Failure::new(Class::Retry, "account:damaged", issuer.as_str(), error.to_string()))?;
        dir.replace(&file, json.reveal().as_bytes(), &PRIVATE_FILE, Durability::Synced).map_err(failed)
    }

    fn ordered_before(&self, directory: &str) -> Option<String> {
        let names = self.certificates().unwrap_or_default();
        let mut all = names.iter().flat_map(|name| Generations::list(self, name).unwrap_or_default());
        all.find(|about| about.directory == directory && !about.account.is_empty()).map(|about| about.account)
    }
}

/// The accounts for whoever asks for one in so many words: what was ordered before does not matter, and no URL is believed,
/// so that the CA is asked, and an account that it has forgotten is registered anew with the same key.
pub struct NewAccounts(pub Rc<StateRoot>);

impl AccountStore for NewAccounts {
    fn load(&self, issuer: &IssuerName, directory: &str) -> Result<Option<StoredAccount>, Failure> {
        let stored = AccountStore::load(&*self.0, issuer, directory)?;
        Ok(stored.map(|account| StoredAccount { url: None, ..account }))
    }

    fn save(&self, issuer: &IssuerName, account: &StoredAccount) -> Result<(), Failure> {
        self.0.save(issuer, account)
    }

    fn ordered_before(&self, _: &str) -> Option<String> {
        None
    }
}

/// The file of a directory that is not the issuer's first.
fn other(directory: &str) -> String {
    format!("credentials-{}.json", sha256(&[directory.as_bytes()]).short())
}

fn read(dir: &Dir, file: &str) -> Result<Option<StoredAccount>, Failure> {
    let Some(json) = dir.read(file, MAX_ACCOUNT).map_err(failed)? else { return Ok(None) };
    credentials(&dir.path().join(file).to_string_lossy(), json).map(Some)
}

/// The account in a stored `credentials.json`; `place` is where it lies.
///
/// # Errors
/// Code `account:damaged` or, when a newer everleaf wrote it, `state:newer`. Nothing of the content is in them.
pub fn credentials(place: &str, json: Vec<u8>) -> Result<StoredAccount, Failure> {
    let damaged = |why: &str| {
        Failure::new(Class::Operator, "account:damaged", place, format!("the account cannot be read: {why}")).advise(
            "put this file back from a backup; only if there is none, move it away and call `everleaf account register`, \
             which makes a new account",
        )
    };
    let json = Secret::new(String::from_utf8(json).map_err(|_| damaged("it is not UTF-8"))?);
    // The parser's own message could quote the key.
    let written: Written = serde_json::from_str(json.reveal())
        .map_err(|error| damaged(&format!("line {} is no JSON of an account", error.line())))?;
    if written.v > VERSION {
        return Err(Failure::new(Class::Operator, "state:newer", place, "a newer everleaf wrote it")
            .advise("run the newer everleaf"));
    }
    Ok(StoredAccount { directory: written.directory, key_pkcs8: Secret::new(written.key_pkcs8), url: written.url })
}
