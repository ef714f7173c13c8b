//! What the process is before it does anything: private, without core files, with one line for a defect.

use super::said::Once;
use super::screen::Screen;
use crate::report::INTERNAL;
use crate::types::Failure;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Files are private unless somebody says otherwise; keys never reach a core file or another process of the same user; a
/// limit kills nobody.
pub(super) fn harden() {
    umask(Mode::from_bits_truncate(0o077));
    // Both may be forbidden in a sandbox, which then forbids core files itself.
    let _ = set_dumpable(false);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // A limit on the size of files is met as an error with a place and a reason, not as a death in the middle of a write.
    // Programs started from here have no signal blocked: the standard library sees to that.
    let mut too_large = SigSet::empty();
    too_large.add(Signal::SIGXFSZ);
    let _ = too_large.thread_block();
}

/// Works until somebody ends it at the keyboard; then what is under way is dropped, as at any crash, and hooks are ended with
/// their groups. `None` says so.
pub(super) async fn interruptible<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<Option<T>, Failure> {
    let Ok(mut keyboard) = signal(SignalKind::interrupt()) else { return work.await.map(Some) };
    tokio::select! {
        came = work => came.map(Some),
        _ = keyboard.recv() => Ok(None),
    }
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
        #[expect(clippy::disallowed_methods, reason = "after a defect nothing is trusted to be finished")]
        std::process::exit(i32::from(INTERNAL));
    }));
}

/// Logs to standard error: warnings, more with each `-v`, only errors with `-q`. With `once`, a warning that lasts is not
/// repeated before an hour has passed.
pub(super) fn log(screen: Screen, once: bool) {
    let level = match (screen.volume, screen.log_json) {
        (..0, _) => "error",
        (0, false) => "warn",
        (0, true) | (1, _) => "everleaf=info,warn",
        (2, _) => "everleaf=debug,info",
        _ => "everleaf=trace,debug",
    };
    let filter = EnvFilter::new(level).and(Repeats(once.then(Mutex::default)));
    // Nobody reading the log is no failure: without this, a line that cannot be written would be told on standard error,
    // which is what cannot be written to.
    let layer = layer().log_internal_errors(false).with_writer(std::io::stderr);
    let layer = if screen.log_json {
        layer.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        layer.without_time().with_target(false).with_ansi(screen.talk_paint.colour).with_filter(filter).boxed()
    };
    // A second logger in one process is refused; the first one then goes on.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Lets a warning or an error pass that was not logged lately.
struct Repeats(Option<Mutex<Once>>);

impl<S> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let Some(once) = self.0.as_ref().filter(|_| *event.metadata().level() <= Level::WARN) else { return true };
        let mut words = Words(event.metadata().target().to_owned());
        event.record(&mut words);
        once.lock().map_or(true, |mut once| once.is_news(&words.0))
    }
}

/// All that an event says, as one text.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_daemon_logs_what_lasts_once() {
        let paper = Paper::default();
        let writer = paper.clone();
        let filter = Repeats(Some(Mutex::default()));
        let layer = layer::<tracing_subscriber::Registry>().without_time().with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.with_filter(filter)), || {
            for pass in 0..3 {
                tracing::warn!(disk = "full", "the status is not written");
                tracing::info!("looked");
                tracing::error!(pass, "another each time");
            }
        });
        let text = String::from_utf8(paper.0.lock().expect("no panic").clone()).expect("text");
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("not written"), count("looked"), count("another")), (1, 3, 3), "{text}");
    }
}
