//! What was typed about files on this machine, and what their servers say they load.

use crate::cli::args::Probe;
use crate::probe::configured::haproxy;
use crate::probe::files::{Reader, Service, Source};
use crate::types::{Class, Failure};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What is read of a server's configuration.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// For each read from HAProxy's socket.
const LIMIT: Duration = Duration::from_secs(5);

/// The service, where one was typed.
pub(super) fn service(typed: &Probe) -> Result<Option<Service>, Failure> {
    let source = match (&typed.live, &typed.fullchain) {
        (Some(dir), _) => Source::Live(dir.clone()),
        (None, Some(fullchain)) => Source::Pair { fullchain: fullchain.clone(), key: typed.key.clone() },
        (None, None) => return Ok(None),
    };
    let text = |path: &Path| {
        said(path).map_err(|error| {
            let why = format!("it cannot be read: {error}");
            Failure::new(Class::Operator, "probe:service", path.to_string_lossy(), why)
                .advise("Name what `nginx -T` printed (- for standard input), or HAProxy's socket or configuration.")
        })
    };
    Ok(Some(Service {
        source,
        reader: typed.user.as_deref().map(Reader::named).transpose()?,
        nginx: typed.nginx.as_deref().map(text).transpose()?,
        haproxy: typed.haproxy.as_deref().map(text).transpose()?,
    }))
}

fn said(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(MAX_BYTES).read_to_end(&mut bytes)?;
    } else if path.metadata()?.file_type().is_socket() {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.write_all(haproxy::LIST.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        stream.take(MAX_BYTES).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
