//! What one everleaf hands to another: a bundle on the standard input of `everleaf receive`, an answer on its standard output.
//!
//! ```text
//! {"schema":"everleaf.bundle/1","everleaf":"0.1.0","node":"edge3","errand":{"deploy":{"name":"shop",…,"files":{…}}}}
//! the bytes of cert.pem, chain.pem and privkey.pem, as many of each as the line above says; their digests stand there too
//! ```
//!
//! The manifest says what, never how: no command, no path, no owner, no mode and no address is in it. The key stands behind it as it is,
//! not in the JSON, whose reader would leave copies of it in memory.

mod answer;

pub use answer::{Lies, Outcome, Received, Served};

use crate::pki::MAX_CHAIN_BYTES;
use crate::ports::{Generation, Production};
use crate::types::{CertName, Class, Digest, Epoch, Failure, GenId, NodeName, Printable, Secret, sha256};
use serde::{Deserialize, Serialize};

/// What a bundle is, before the number of its version.
const FAMILY: &str = "everleaf.bundle/";
/// The version that is written and read here.
const VERSION: u32 = 1;
/// The manifest, in bytes: ten thousand certificates of one reload.
const MAX_MANIFEST: usize = 1 << 20;
/// A PEM key: RSA 8192 takes about 6.4 KB.
const MAX_KEY: usize = 64 << 10;
/// The most that is read of a bundle: nothing that is one is longer.
pub const MOST_BUNDLED: usize = MAX_MANIFEST + 2 * MAX_CHAIN_BYTES + MAX_KEY;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    /// The version of the everleaf that sends it.
    everleaf: String,
    /// How the sender calls the node.
    node: NodeName,
    errand: Asked,
}

/// What of a first line every version has.
#[derive(Debug, Deserialize)]
struct Beginning {
    schema: String,
    #[serde(default)]
    everleaf: Printable,
}

/// What the node is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    /// Publish what is behind the manifest.
    Deploy {
        /// The certificate.
        name: CertName,
        /// Which generation of it.
        generation: GenId,
        /// The number of the decision to publish it.
        epoch: Epoch,
        /// Its files.
        files: Sums,
    },
    /// Say what lies there, held against these files.
    Inspect {
        /// The certificate.
        name: CertName,
        /// The generation that should lie there.
        generation: GenId,
        /// Its files.
        files: Sums,
    },
    /// Run the node's own check.
    Check,
    /// Check and reload, if what lies there of all these is whole.
    Reload {
        /// What is to be read anew.
        certificates: Vec<Named>,
    },
}

/// A certificate, and what should lie there of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The certificate.
    pub name: CertName,
    /// The generation, where one was deployed.
    pub generation: Option<GenId>,
}

/// Lengths and digests of the files that the others are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// `cert.pem`.
    pub cert: Sum,
    /// `chain.pem`.
    pub chain: Sum,
    /// `privkey.pem`.
    pub privkey: Sum,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    bytes: usize,
    sha256: Digest,
}

impl Sum {
    fn of(text: &str) -> Self {
        Self { bytes: text.len(), sha256: sha256(&[text.as_bytes()]) }
    }

    /// Whether `text` is that file.
    #[must_use]
    pub fn is_of(&self, text: &str) -> bool {
        *self == Self::of(text)
    }
}

impl Sums {
    /// Of a generation's files.
    #[must_use]
    pub fn of(generation: &Generation<Production>) -> Self {
        let (cert, chain) = (Sum::of(&generation.cert), Sum::of(&generation.chain));
        Self { cert, chain, privkey: Sum::of(generation.privkey.reveal()) }
    }
}

/// The files of a bundle, as their digests say they are.
#[derive(Debug)]
pub struct Parcel {
    /// `cert.pem`.
    pub cert: String,
    /// `chain.pem`.
    pub chain: String,
    /// `privkey.pem`.
    pub privkey: Secret,
}

/// What came on standard input.
#[derive(Debug)]
pub struct Bundle {
    /// How the sender calls the node.
    pub node: NodeName,
    /// What is to be done.
    pub asked: Asked,
    /// The files, where they are to be published.
    pub parcel: Option<Parcel>,
}

/// A bundle for the node `node` that asks for `asked`, with the files of `generation` where they are to be published.
///
/// # Errors
/// Never in practice: everything in it can be written as JSON.
pub(super) fn bundled(
    node: &NodeName,
    asked: Asked,
    generation: Option<&Generation<Production>>,
) -> Result<Secret, Failure> {
    let (schema, everleaf) = (format!("{FAMILY}{VERSION}"), env!("CARGO_PKG_VERSION").to_owned());
    let manifest = Manifest { schema, everleaf, node: node.clone(), errand: asked };
    let manifest = serde_json::to_string(&manifest).map_err(|error| misread(&format!("its manifest: {error}")))?;
    let files = generation.map(|it| [it.cert.as_str(), it.chain.as_str(), it.privkey.reveal()]).unwrap_or_default();
    // Long enough from the beginning: a text that grows leaves copies of the key behind.
    let mut text = String::with_capacity(manifest.len() + 1 + files.iter().map(|file| file.len()).sum::<usize>());
    text.push_str(&manifest);
    text.push('\n');
    text.extend(files);
    Ok(Secret::new(text))
}

impl Bundle {
    /// Reads what somebody sends, whole: a bundle that is cut short, or whose files are not what its digests say, is none.
    ///
    /// # Errors
    /// `receive:empty`, `receive:cut` (it ends early), `receive:newer` (the sender's everleaf is newer than this one), `receive:bundle`
    /// (it is nothing that an everleaf sends), `receive:digest` (a file is not the one that was sent).
    pub fn read(stdin: &[u8]) -> Result<Self, Failure> {
        if stdin.trim_ascii().is_empty() {
            let message = "nothing came on standard input, where another everleaf sends a bundle";
            return Err(Failure::new(Class::Retry, "receive:empty", HERE, message)
                .advise("this command is for another everleaf to call: a node of `type: ssh` with `receive: true`"));
        }
        let end = stdin.iter().position(|byte| *byte == b'\n');
        let (line, body) = end.map_or((stdin, &[][..]), |end| (&stdin[..end], &stdin[end + 1..]));
        if line.len() > MAX_MANIFEST {
            return Err(misread(&format!("its first line has {} bytes; at most {MAX_MANIFEST} are read", line.len())));
        }
        let beginning: Beginning = match serde_json::from_slice(line) {
            Ok(beginning) => beginning,
            Err(error) if end.is_none() && error.is_eof() => return Err(cut()),
            Err(error) => return Err(misread(&format!("its first line is no manifest: {error}"))),
        };
        spoken_here(&beginning)?;
        let manifest: Manifest =
            serde_json::from_slice(line).map_err(|error| misread(&format!("its manifest: {error}")))?;
        let parcel = match &manifest.errand {
            Asked::Deploy { files, .. } => Some(Parcel::read(files, body)?),
            _ if body.is_empty() => None,
            _ => return Err(misread("something follows a manifest that has no files")),
        };
        Ok(Self { node: manifest.node, asked: manifest.errand, parcel })
    }
}

impl Parcel {
    fn read(sums: &Sums, body: &[u8]) -> Result<Self, Failure> {
        if sums.cert.bytes.max(sums.chain.bytes) > MAX_CHAIN_BYTES || sums.privkey.bytes > MAX_KEY {
            return Err(misread(&format!(
                "its files are too long: certificates have {MAX_CHAIN_BYTES} bytes at most, keys {MAX_KEY}"
            )));
        }
        let mut rest = body;
        let mut take = |name: &str, sum: &Sum| {
            let (file, behind) = rest.split_at_checked(sum.bytes).ok_or_else(cut)?;
            rest = behind;
            let text = std::str::from_utf8(file).ok().filter(|text| sum.is_of(text));
            text.ok_or_else(|| damaged(name))
        };
        let (cert, chain) = (take("cert.pem", &sums.cert)?.to_owned(), take("chain.pem", &sums.chain)?.to_owned());
        let privkey = Secret::new(take("privkey.pem", &sums.privkey)?.to_owned());
        if !rest.is_empty() {
            return Err(misread(&format!("more follows its files, {} bytes", rest.len())));
        }
        Ok(Self { cert, chain, privkey })
    }
}

/// Where a bundle comes in, for messages.
const HERE: &str = "standard input";

/// Whether a bundle of this version can be read; if not, which side is the older one.
fn spoken_here(beginning: &Beginning) -> Result<(), Failure> {
    let version = beginning.schema.strip_prefix(FAMILY).and_then(|number| number.parse::<u32>().ok());
    let (own, sender) = (env!("CARGO_PKG_VERSION"), beginning.everleaf.as_str());
    match version {
        Some(VERSION) => Ok(()),
        Some(newer @ VERSION..) => {
            let message = format!(
                "everleaf {own} on the node is older than everleaf {sender} that sends: it reads bundles of version {VERSION}, and this \
                 one has version {newer}"
            );
            Err(Failure::new(Class::Operator, "receive:newer", HERE, message)
                .advise(format!("install everleaf {sender} on the node as well; what is published there stays")))
        }
        _ => Err(misread(&format!("its schema is {:?}", Printable::new(&beginning.schema).as_str()))),
    }
}

fn misread(why: &str) -> Failure {
    let message = format!("it is no bundle that everleaf {} can read: {why}", env!("CARGO_PKG_VERSION"));
    Failure::new(Class::Operator, "receive:bundle", HERE, message)
        .advise("let both machines have the same everleaf; nothing was changed")
}

fn cut() -> Failure {
    Failure::new(Class::Retry, "receive:cut", HERE, "the bundle ended early; what was published stays")
        .advise("it is sent again; if that goes on, look what ends the connection")
}

fn damaged(file: &str) -> Failure {
    let message = format!("{file} is not the file that was sent: its digest is another; what was published stays");
    Failure::new(Class::Retry, "receive:digest", HERE, message)
        .advise("if it happens again, look what stands between the two machines")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{AnyGeneration, Material};
    use serde_json::json;

    fn generation() -> Generation<Production> {
        let digest = sha256(&[b"leaf"]);
        let about = json!({ "generation": "0007-3fa94c1b", "leaf": digest, "serial": "00aa", "key": digest, "family": "ecdsa",
            "validity": { "start": "2026-01-01T00:00:00Z", "end": "2026-04-01T00:00:00Z" }, "names": ["a.example"], "ari": null,
            "issued_by": "nobody", "issuer": "le", "directory": "https://ca.example/dir", "rehearsal": false, "account": "x",
            "spec_digest": digest });
        let about = serde_json::from_value(about).unwrap();
        let text = |word: &str| format!("{word}\n").repeat(20);
        let (cert, chain, privkey) = (text("CERT"), text("CHAIN"), Secret::new(text("KEY")));
        match AnyGeneration::new(about, "/nowhere".into(), Material { cert, chain, privkey, served: Vec::new() }) {
            AnyGeneration::Production(generation) => generation,
            AnyGeneration::Rehearsed(_) => panic!("no rehearsal"),
        }
    }

    #[test]
    fn what_is_bundled_is_read_and_every_part_of_it_counts() {
        let (node, generation) = (NodeName::new("edge1").unwrap(), generation());
        let (name, files) = (CertName::new("shop").unwrap(), Sums::of(&generation));
        let deploy = Asked::Deploy { name, generation: generation.about.generation, epoch: Epoch(3), files };
        let bundle = bundled(&node, deploy.clone(), Some(&generation)).unwrap();
        let whole = bundle.reveal().as_bytes();
        let read = Bundle::read(whole).unwrap();
        assert_eq!((&read.node, &read.asked), (&node, &deploy));
        let parcel = read.parcel.unwrap();
        assert_eq!((&parcel.cert, &parcel.chain), (&generation.cert, &generation.chain));
        assert_eq!(parcel.privkey, generation.privkey);
        for length in 0..whole.len() {
            let failure = Bundle::read(&whole[..length]).unwrap_err();
            assert!(["receive:cut", "receive:empty"].contains(&failure.code.as_str()), "{length}: {failure:?}");
        }
        let begin = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in begin..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 1;
            assert_eq!(Bundle::read(&flipped).unwrap_err().code, "receive:digest", "{at}");
        }
        let without = bundled(&node, Asked::Check, Some(&generation)).unwrap();
        assert_eq!(Bundle::read(without.reveal().as_bytes()).unwrap_err().code, "receive:bundle");
    }
}
