//! What was seen, judged: one file a concern. Pure: observations go in, findings come out.

pub mod clock;
pub mod hsts;
pub mod http;
pub mod staple;
