//! `receive`: the node's side, called by another everleaf through ssh. One bundle on standard input, one line of JSON as answer.

use super::Stop;
use super::args::Receive;
use super::context::Context;
use crate::config::spec::{Access, Hook, Reload, Roots};
use crate::deploy::bundle::{MOST_BUNDLED, Outcome, Received};
use crate::deploy::receive::Terms;
use crate::report::exit_of_failure;
use crate::types::{Class, Failure, humane};
use crate::wire;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read as read_from;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long the sender may be silent, and how long it may take for everything.
const SILENCE: Duration = Duration::from_secs(30);
const WHOLE: Duration = Duration::from_secs(120);

/// Reads a bundle, does what it asks for as far as `typed` allows, and answers. A failure is an answer, too.
pub(super) fn receive(context: &Context, typed: Receive) -> Result<u8, Stop> {
    if std::io::stdin().is_terminal() {
        let text =
            "receive is for another everleaf to call: it reads a bundle from standard input, and that is a terminal";
        return Err(Stop::Usage(text.to_owned()));
    }
    let received = match read(std::io::stdin().as_fd(), SILENCE, WHOLE) {
        Ok(bundle) => {
            let terms = terms(typed);
            wire::block_on(async { Ok(wire::receiver(terms)?.receive(&bundle).await) }).unwrap_or_else(Received::failed)
        }
        Err(failure) => Received::failed(failure),
    };
    context.screen.data(&context.screen.json_text(&received)?)?;
    Ok(match &received.failure {
        Some(failure) => exit_of_failure(failure),
        None if received.outcome == Outcome::Failed => 1,
        None => 0,
    })
}

fn terms(typed: Receive) -> Terms {
    let limit = typed.limit;
    let line = |line: String| Hook { argv: vec![line], shell: true, timeout: limit, certbot: false, unit: None };
    let reload = match (typed.reload, typed.reload_unit, typed.haproxy) {
        (Some(command), _, _) => Reload::Exec(line(command)),
        (_, Some(unit), _) => Reload::Systemd { unit },
        (_, _, Some(socket)) => Reload::HaProxy { socket, list: typed.crt_list },
        _ => Reload::None,
    };
    Terms {
        only: typed.only,
        live: typed.live,
        access: Access::of(typed.owner, typed.group, [typed.key_mode, typed.cert_mode, typed.dir_mode]),
        check: typed.check.map(line),
        reload,
        roots: typed.roots.map_or(Roots::Unchecked, |path| match path.to_str() {
            Some("system") => Roots::System,
            _ => Roots::File(PathBuf::from("/").join(path)),
        }),
        probe: typed.probe,
    }
}

/// All that the sender sends, if it comes to an end in time. Wiped afterwards; its room is there from the beginning, since what grows leaves
/// copies of the key behind.
fn read(stdin: BorrowedFd<'_>, silence: Duration, whole: Duration) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let most = MOST_BUNDLED + 1;
    let mut bundle = Zeroizing::new(vec![0; most]);
    let (began, mut length) = (Instant::now(), 0);
    let failed = |code: &str, class, why: &str| Failure::new(class, code, "standard input", why);
    while length < most {
        let left = whole.saturating_sub(began.elapsed()).min(silence);
        if !readable(stdin, left).map_err(|errno| failed("receive:read", Class::Retry, errno.desc()))? {
            let why = format!("the sender began and did not come to an end within {}", humane(began.elapsed()));
            return Err(failed("receive:silent", Class::Retry, &why));
        }
        // By the system call: what buffers would keep a part of the key.
        match read_from(stdin, &mut bundle[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("receive:read", Class::Retry, errno.desc())),
        }
    }
    if length == most {
        let why = format!("it is no bundle: it has no end after {MOST_BUNDLED} bytes");
        return Err(failed("receive:bundle", Class::Operator, &why));
    }
    bundle.truncate(length);
    Ok(bundle)
}

/// Whether there is something to read, or an end, within `limit`.
fn readable(stdin: BorrowedFd<'_>, limit: Duration) -> Result<bool, Errno> {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    loop {
        let mut asked = [PollFd::new(stdin, PollFlags::POLLIN)];
        match poll(&mut asked, limit) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn who_falls_silent_or_drips_is_not_waited_for() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"half a bundle").expect("written");
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(60));
        let silent = read(reader.as_fd(), short, long).expect_err("it never ends");
        assert_eq!((silent.class, silent.code.as_str()), (Class::Retry, "receive:silent"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while writer.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let began = Instant::now();
            let drips =
                read(reader.as_fd(), Duration::from_secs(10), Duration::from_millis(500)).expect_err("it never ends");
            assert!(drips.code == "receive:silent" && began.elapsed() < Duration::from_secs(10), "{drips:?}");
            drop(reader);
        });
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"a bundle").expect("written");
        drop(writer);
        assert_eq!(read(reader.as_fd(), short, long).expect("an end").as_slice(), b"a bundle");
    }
}
