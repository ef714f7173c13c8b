//! The layers of DESIGN §3.
