//! A relay for UDP and TCP: gives a server an address that it cannot listen on itself.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the relay looks whether it should end.
const TICK: Duration = Duration::from_millis(20);
/// How long a server may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Passes everything that arrives at one address on to another, until it is dropped.
pub(crate) struct Relay {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Listens at `address` and passes on to `server`.
    pub(crate) fn start(address: SocketAddr, server: SocketAddr) -> Self {
        let explain = |error| -> ! {
            panic!(
                "cannot listen at {address}: {error} (ports below 1024 need root, or sysctl net.ipv4.ip_unprivileged_port_start=0)"
            )
        };
        let udp = UdpSocket::bind(address).unwrap_or_else(|error| explain(error));
        let tcp = TcpListener::bind(address).unwrap_or_else(|error| explain(error));
        udp.set_read_timeout(Some(TICK)).expect("a read time-out");
        tcp.set_nonblocking(true).expect("a listener that does not block");
        let ended = Arc::new(AtomicBool::new(false));
        let flags = [Arc::clone(&ended), Arc::clone(&ended)];
        let [for_udp, for_tcp] = flags;
        let threads = vec![
            thread::spawn(move || datagrams(&Arc::new(udp), server, &for_udp)),
            thread::spawn(move || connections(&tcp, server, &for_tcp)),
        ];
        Self { ended, threads }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A relay that panicked has made its test fail already.
            let _ = thread.join();
        }
    }
}

fn datagrams(socket: &Arc<UdpSocket>, server: SocketAddr, ended: &AtomicBool) {
    let mut buffer = vec![0; DATAGRAM];
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let (question, socket) = (buffer[..length].to_vec(), Arc::clone(socket));
        thread::spawn(move || {
            let answer = exchange(server, &question);
            answer.and_then(|answer| socket.send_to(&answer, client))
        });
    }
}

fn exchange(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.send_to(question, server)?;
    let mut buffer = vec![0; DATAGRAM];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn connections(listener: &TcpListener, server: SocketAddr, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(TICK);
            continue;
        };
        let Ok(server) = client.set_nonblocking(false).and_then(|()| TcpStream::connect_timeout(&server, ANSWER))
        else {
            continue;
        };
        let Ok((client_too, server_too)) = client.try_clone().and_then(|it| Ok((it, server.try_clone()?))) else {
            continue;
        };
        thread::spawn(move || pump(client, server));
        thread::spawn(move || pump(server_too, client_too));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    // Either side may close at any time; the other one hears of it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
