//! Looks whether what lies published loads: no server is told to read a pair that does not.

use crate::pki::{self, MAX_CHAIN_BYTES};
use crate::ports::HookContext;
use crate::types::{Class, Failure, GenId, Secret};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A PEM key: RSA 4096 takes about 3.3 KB.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// Succeeds when the pair of `context` published below `live` is the generation it names, parses, and belongs together.
///
/// # Errors
/// Code `reload:not-published` when another generation or none lies there, `reload:pair` when it would not load.
pub(super) fn loads(live: &Path, context: &HookContext) -> Result<(), Failure> {
    let dir = live.join(context.name.as_str());
    let place = dir.display().to_string();
    let data = dir.join("..data");
    if let Some(wanted) = context.generation {
        let target = std::fs::read_link(&data).unwrap_or_default();
        if !target.to_str().is_some_and(|target| names(target, wanted)) {
            let message =
                format!("{wanted} is not what is published there ({}), so nothing is reloaded", target.display());
            return Err(Failure::new(Class::Retry, "reload:not-published", place, message)
                .advise(format!("everleaf deploy {}", context.name)));
        }
    }
    // By the directory, so that both are of one generation.
    belong_together(&data).map_err(|why| {
        Failure::new(
            Class::Retry,
            "reload:pair",
            place,
            format!("the published pair would not load: {why}; nothing is reloaded"),
        )
        .advise(format!("everleaf deploy {} publishes it anew", context.name))
    })
}

/// Whether a directory is a generation's: `..gen-0007-3fa94c1b`, or `..gen-0007-3fa94c1b.1` once it was built anew.
fn names(directory: &str, wanted: GenId) -> bool {
    let id = directory.strip_prefix("..gen-").and_then(|rest| rest.split('.').next());
    id.is_some_and(|id| id == wanted.to_string())
}

fn belong_together(dir: &Path) -> Result<(), String> {
    let chain = read(&dir.join("fullchain.pem"), MAX_CHAIN_BYTES).map_err(|error| format!("fullchain.pem: {error}"))?;
    let key = read(&dir.join("privkey.pem"), MAX_KEY_BYTES).map_err(|error| format!("privkey.pem: {error}"))?;
    let chain = pki::parse::chain(chain.as_bytes()).map_err(|failure| failure.message.to_string())?;
    let leaf = chain.first().ok_or("fullchain.pem holds no certificate")?;
    let key = pki::key::id_of(&Secret::new(key)).map_err(|failure| failure.message.to_string())?;
    if leaf.key() == key { Ok(()) } else { Err("the key is not the certificate's".to_owned()) }
}

fn read(path: &Path, limit: usize) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit as u64 + 1).read_to_string(&mut text)?;
    if text.len() > limit { Err(io::Error::other(format!("more than {limit} bytes"))) } else { Ok(text) }
}
