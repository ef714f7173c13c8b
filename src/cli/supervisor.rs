//! What a supervisor is told: systemd's notification protocol, `sd_notify(3)`.

use nix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// A status is one line; systemd shows the first few hundred characters.
const MAX_STATUS: usize = 1024;

/// Whoever started this process and wants to hear of it. Without one, nothing is told.
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it must hear that this process is alive.
    watchdog: Option<Duration>,
    heard: Cell<Option<Instant>>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn of_this_process() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Self::new(std::env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    fn new(place: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let socket = place.and_then(|place| {
            let socket = UnixDatagram::unbound().ok()?;
            // A supervisor that does not read must not stop renewals.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address(&place)?))
        });
        Self { socket, watchdog, heard: Cell::new(None) }
    }

    /// It runs as it should, and this is how things stand.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\n{}", line(status)));
    }

    /// How things stand.
    pub(super) fn status(&self, status: &str) {
        self.tell(&line(status));
    }

    /// It reads its configuration anew; [`Supervisor::ready`] follows.
    pub(super) fn reloading(&self) {
        // Which of several reloads this is, for Type=notify-reload.
        let since = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", since.as_micros()));
    }

    /// It is about to end.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\n{}", line(status)));
    }

    /// It is alive: told twice as often as the watchdog wants to hear it.
    pub(super) fn alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        if self.heard.get().is_none_or(|heard| heard.elapsed() >= watchdog / 2) {
            self.heard.set(Some(Instant::now()));
            self.tell("WATCHDOG=1");
        }
    }

    /// How long may pass between two calls of [`Supervisor::alive`].
    pub(super) fn pace(&self) -> Duration {
        self.watchdog.map_or(Duration::MAX, |watchdog| watchdog / 4)
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}

/// A path, or behind an `@` a name in the abstract name space.
fn address(place: &OsStr) -> Option<SocketAddr> {
    match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(place).ok(),
        _ => None,
    }
}

fn line(status: &str) -> String {
    let plain: String = status.chars().map(|it| if it.is_control() { ' ' } else { it }).take(MAX_STATUS).collect();
    format!("STATUS={plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut octets = [0; 4096];
        let length = socket.recv(&mut octets).expect("a message");
        String::from_utf8_lossy(&octets[..length]).into_owned()
    }

    #[test]
    fn a_socket_may_be_a_path_or_an_abstract_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("notify");
        let name = format!("everleaf-test-{}", std::process::id());
        let hidden = SocketAddr::from_abstract_name(&name).expect("a name");
        let sockets = [
            (UnixDatagram::bind(&path).expect("bind"), path.into_os_string()),
            (UnixDatagram::bind_addr(&hidden).expect("bind"), OsString::from(format!("@{name}"))),
        ];
        for (socket, place) in sockets {
            let supervisor = Supervisor::new(Some(place), Some(Duration::from_millis(40)));
            supervisor.ready("two\nlines\u{1b}[31m");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=two lines [31m");
            supervisor.alive();
            supervisor.alive();
            supervisor.stopping("");
            assert_eq!(
                [heard(&socket), heard(&socket)],
                ["WATCHDOG=1", "STOPPING=1\nSTATUS="],
                "not more than asked for"
            );
            supervisor.reloading();
            let text = heard(&socket);
            let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both").parse::<u64>();
            assert!(micros.is_ok_and(|micros| micros > 0), "{text}");
        }
    }

    #[test]
    fn nobody_need_listen() {
        for place in [None, Some("/nonexistent/socket"), Some("vsock:2:1234"), Some("@")] {
            let supervisor = Supervisor::new(place.map(OsString::from), None);
            supervisor.ready("fine");
            supervisor.alive();
        }
    }
}
