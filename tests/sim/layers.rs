//! The layers of ARCHITECTURE.md.
