//! What was seen, judged: one file a concern. Pure: observations go in, findings come out.

pub mod staple;
