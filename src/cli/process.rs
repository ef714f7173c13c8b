//! What the process is before it does anything: private, without core files, with one line for a defect.

use super::screen::Screen;
use crate::report::INTERNAL;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use std::io::Write as _;
use tracing_subscriber::EnvFilter;

/// Files are private unless somebody says otherwise; keys never reach a core file or another process of the same user.
pub(super) fn harden() {
    umask(Mode::from_bits_truncate(0o077));
    // Both may be forbidden in a sandbox, which then forbids core files itself.
    let _ = set_dumpable(false);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// A defect is one line with its place, and exit 70. Its message is not shown: it could hold anything.
pub(super) fn catch_defects() {
    std::panic::set_hook(Box::new(|defect| {
        let place = defect.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(
            std::io::stderr().lock(),
            "everleaf: a defect of everleaf {version} at {place}; what was done is in the journals, and the next run goes on from there"
        );
        std::process::exit(i32::from(INTERNAL));
    }));
}

/// Logs to standard error: warnings, more with each `-v`, only errors with `-q`.
pub(super) fn log(screen: Screen) {
    let level = match (screen.volume, screen.log_json) {
        (..0, _) => "error",
        (0, false) => "warn",
        (0, true) | (1, _) => "everleaf=info,warn",
        (2, _) => "everleaf=debug,info",
        _ => "everleaf=trace,debug",
    };
    // Nobody reading the log is no failure: without this, a line that cannot be written would be told on standard error,
    // which is what cannot be written to.
    let logger = tracing_subscriber::fmt().log_internal_errors(false);
    let logger = logger.with_env_filter(EnvFilter::new(level)).with_writer(std::io::stderr);
    // A second logger in one process is refused; the first one then goes on.
    let _ = if screen.log_json {
        logger.json().flatten_event(true).try_init()
    } else {
        logger.without_time().with_target(false).with_ansi(screen.talk_paint.colour).try_init()
    };
}
