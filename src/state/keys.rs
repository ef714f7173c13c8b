//! Private keys: `certs/NAME/keys/SPKI-SHA256.pem`, 0600 before the first byte is in it.

use super::{CERTS, PRIVATE_FILE, StateRoot, failed};
use crate::config::spec::KeyAlgorithm;
use crate::disk::Durability;
use crate::pki::{csr, key};
use crate::ports::{Keys, Pending};
use crate::types::{CertName, Class, Failure, Identifier, KeyId, Secret};

/// The PEM of a 4096-bit RSA key has 3.3 KB.
const MAX_KEY: usize = 64 * 1024;
const KEYS: &str = "keys";

impl Keys for StateRoot {
    fn make(&self, name: &CertName, algorithm: KeyAlgorithm) -> Pending<'_, Result<KeyId, Failure>> {
        let name = name.clone();
        Box::pin(async move {
            // RSA takes up to seconds, which the loop has better uses for.
            #[expect(clippy::disallowed_methods, reason = "an RSA key takes seconds and no I/O")]
            let made = tokio::task::spawn_blocking(move || key::generate(algorithm)).await;
            let key = made.map_err(|error| {
                Failure::new(Class::Retry, "key:generate", name.as_str(), format!("the key's thread ended: {error}"))
            })??;
            let dir = self.made(&[CERTS, name.as_str(), KEYS]).map_err(failed)?;
            dir.replace(&file_name(&key.id), key.pem.reveal().as_bytes(), &PRIVATE_FILE, Durability::Synced)
                .map_err(failed)?;
            Ok(key.id)
        })
    }

    fn csr(&self, name: &CertName, key: &KeyId, names: &[Identifier]) -> Result<Vec<u8>, Failure> {
        csr::request(&self.key(name, key)?, names)
    }

    fn discard(&self, name: &CertName, key: &KeyId) -> Result<(), Failure> {
        let Some(dir) = self.existing(&[CERTS, name.as_str(), KEYS]).map_err(failed)? else { return Ok(()) };
        dir.remove(&file_name(key)).and_then(|()| dir.sync()).map_err(failed)
    }
}

impl StateRoot {
    /// A stored key, PEM. It is the key its name says, or an error. One that is gone is put back from a generation that has it.
    pub(super) fn key(&self, name: &CertName, id: &KeyId) -> Result<Secret, Failure> {
        self.stored_key(name, id).or_else(|failure| {
            let lost = matches!(failure.code.as_str(), "key:missing" | "key:damaged");
            let Some(key) = (if lost { self.key_of_a_generation(name, id) } else { None }) else { return Err(failure) };
            tracing::warn!(certificate = %name, "{failure}; it is put back from a generation");
            let dir = self.made(&[CERTS, name.as_str(), KEYS]).map_err(failed)?;
            dir.replace(&file_name(id), key.reveal().as_bytes(), &PRIVATE_FILE, Durability::Synced).map_err(failed)?;
            Ok(key)
        })
    }

    fn stored_key(&self, name: &CertName, id: &KeyId) -> Result<Secret, Failure> {
        let dir = self.existing(&[CERTS, name.as_str(), KEYS]).map_err(failed)?;
        let contents = match dir {
            Some(dir) => dir.read(&file_name(id), MAX_KEY).map_err(failed)?,
            None => None,
        };
        let wrong = |code, message| {
            let path = self.root.path().join(CERTS).join(name.as_str()).join(KEYS).join(file_name(id));
            Failure::new(Class::Retry, code, path.to_string_lossy(), message)
                .advise("nothing: the next attempt makes a new key; if the old one must stay, put this file back from a backup first")
        };
        let contents = contents.ok_or_else(|| wrong("key:missing", "the key is not there"))?;
        let damaged = || wrong("key:damaged", "the file does not hold the key it is named after");
        let pem = Secret::new(String::from_utf8(contents).map_err(|_| damaged())?);
        if key::id_of(&pem).is_ok_and(|found| found == *id) { Ok(pem) } else { Err(damaged()) }
    }
}

fn file_name(id: &KeyId) -> String {
    format!("{id}.pem")
}
