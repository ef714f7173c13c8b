//! The words the whole program speaks: small, validated, and free of behaviour that needs a clock, a file or a socket.
//!
//! Every module may import `types`; `types` imports nothing of the project.

mod failure;
mod id;
mod identifier;
mod names;
mod runs;
mod secret;
mod text;
mod time;
mod vantage;

pub use failure::{Class, Failure};
pub use id::{
    Attempt, Digest, Epoch, Fingerprint, GenId, InvalidId, KeyFamily, KeyId, RequestId, Seq, Serial, SpecDigest, sha256,
};
pub use identifier::{Identifier, InvalidIdentifier};
pub use names::{CertName, InvalidName, IssuerName, NodeName, NotifierName};
pub use runs::runs;
pub use secret::Secret;
pub use text::{MAX_FOREIGN_TEXT, Printable, is_deceptive};
pub use time::{InvalidTimestamp, Timestamp, Window, humane};
pub use vantage::{InvalidVantage, SshHost, Vantage};
