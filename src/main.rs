//! The `everleaf` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    everleaf::cli::main(std::env::args_os())
}
