//! Deeper looks at one address: each touches the network, records what it saw, and never decides.

pub mod crl;
pub mod hello;
pub mod http;
