//! The `everleaf` command.
fn main() {}
