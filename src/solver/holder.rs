//! Who listens at an address that is in use, as far as this process may see.

use std::fmt::{self, Write as _};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The processes looked at: beyond this a name is not worth the time.
const MAX_PROCESSES: usize = 20_000;

/// A process with a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    command: String,
}

impl Holder {
    /// Whether it is an everleaf, which will give the address back: another one, or this very process, by whatever name it
    /// was started, whose listener of a moment ago is not closed yet.
    pub(super) fn is_everleaf(&self) -> bool {
        self.command == "everleaf" || self.pid == std::process::id()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.command, self.pid)
    }
}

/// Whoever listens at `address` or at the unspecified address with its port. Other users' processes are seen by root only.
pub(super) fn of(address: SocketAddr) -> Option<Holder> {
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(|table| listening(table, address)).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES);
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| holds(*pid, &inodes))
        .map(|pid| Holder { pid, command: command(pid) })
}

/// The inodes of the sockets in the state LISTEN (0A) at `address`'s port that stand in its way.
fn listening(table: &str, address: SocketAddr) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let unspecified = ip.bytes().all(|digit| digit == b'0');
        let here = ip.eq_ignore_ascii_case(&kernel_form(address.ip())) || unspecified || address.ip().is_unspecified();
        let ours = u16::from_str_radix(port, 16).ok()? == address.port() && fields.get(3) == Some(&"0A");
        (ours && here).then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
    };
    text.lines().skip(1).filter_map(inode).collect()
}

/// An address as `/proc/net/tcp` shows it: 32-bit words in the machine's order, in hexadecimal.
fn kernel_form(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.chunks_exact(4).fold(String::with_capacity(32), |mut text, word| {
        // Writing to a String does not fail.
        let _ = write!(text, "{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        text
    })
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

fn command(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim().is_empty() { "an unknown program".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_our_own_is_found_by_its_address_and_from_the_unspecified_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for asked in [address, SocketAddr::from(([0, 0, 0, 0], address.port()))] {
            assert_eq!(of(asked).map(|holder| holder.pid), Some(std::process::id()), "{asked}");
        }
        assert_eq!(of(SocketAddr::from(([127, 0, 0, 2], address.port()))), None);
    }
}
