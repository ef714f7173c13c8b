//! Looks at every address of a name for its challenge, as the CA will. What is missing is a warning and never blocks.

mod tls;

use super::request::{EXCHANGE, MAX_HEAD};
use crate::config::spec::Solver;
use crate::net::dns::Resolver;
use crate::ports::Proof;
use crate::types::{Failure, Printable};
use futures_util::future::join_all;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For all looks together, side by side. Their answer only warns, so it must not hold up an order for long.
const LIMIT: Duration = Duration::from_secs(5);
const _: () = assert!(LIMIT.as_secs() < EXCHANGE.as_secs(), "a look ends before our own listener gives up");
/// The names looked at: a certificate has at most 100 at the known CAs.
const MAX_NAMES: usize = 100;
/// The body read: an answer has about 90 bytes.
const MAX_REPLY: u64 = 2 * MAX_HEAD as u64;

/// Where a CA looks, if it is to be looked there before: for http-01, and for tls-alpn-01.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) http: Option<u16>,
    pub(super) tls: Option<u16>,
}

/// Looks for everything of `proofs` that can be looked at by connecting, and says which address lacks it and how.
pub(super) async fn look(resolver: &Resolver, ports: Ports, proofs: &[Proof]) -> Vec<Printable> {
    let port = |proof: &Proof| match proof.solver {
        Solver::Http01(_) => ports.http,
        Solver::TlsAlpn01 { .. } => ports.tls,
        Solver::Dns01(_) => None,
    };
    let looks = proofs.iter().filter_map(|proof| Some(look_at_all(resolver, port(proof)?, proof))).take(MAX_NAMES);
    join_all(looks).await.into_iter().flatten().map(|warning| Printable::new(&warning)).collect()
}

async fn look_at_all(resolver: &Resolver, port: u16, proof: &Proof) -> Vec<String> {
    let host = proof.identifier.base();
    let addresses = match tokio::time::timeout(LIMIT, resolver.addresses(&host)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(failure)) => return vec![unresolved(&host, &failure)],
        Err(_) => return vec![format!("{host}: its addresses were not found within {} s", LIMIT.as_secs())],
    };
    let looks = addresses.into_iter().map(|address| look_at(&host, address, port, proof));
    join_all(looks).await.into_iter().flatten().collect()
}

fn unresolved(host: &str, failure: &Failure) -> String {
    format!(
        "{host}: its addresses could not be looked up from here ({}), so the CA may not find it either",
        failure.message
    )
}

async fn look_at(host: &str, address: IpAddr, port: u16, proof: &Proof) -> Option<String> {
    let address = SocketAddr::new(address, port);
    let look = async {
        match proof.solver {
            Solver::TlsAlpn01 { .. } => tls::look(address, proof).await,
            _ => match ask(host, address, &proof.token).await {
                Ok(reply) => judge(&reply, &proof.key_authorization),
                Err(error) => Err(error.kind().to_string()),
            },
        }
    };
    let late = |_| Err(format!("no answer within {} s", LIMIT.as_secs()));
    let seen = tokio::time::timeout(LIMIT, look).await.unwrap_or_else(late);
    seen.err().map(|seen| {
        format!("{host}: {address} does not show the challenge from here ({seen}); the CA is asked all the same")
    })
}

async fn ask(host: &str, address: SocketAddr, token: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: everleaf/{} (self-check)\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        super::path_of(token),
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(MAX_REPLY).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a reply would satisfy the CA; else what is wrong with it.
fn judge(reply: &str, wanted: &str) -> Result<(), String> {
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("its reply is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        // A chunked body has its length on a line before it; the answer stands there all the same.
        "200" if body.trim_end() == wanted || body.lines().any(|line| line.trim_end() == wanted) => Ok(()),
        "200" => Err(format!("it answered {:?}", Printable::new(body.get(..80).unwrap_or(body)))),
        // CAs follow redirects, also to https with any certificate; this look does not, and must not cry wolf.
        "301" | "302" | "303" | "307" | "308" => Ok(()),
        _ => Err(format!("HTTP status {}", Printable::new(status))),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn an_answer_is_judged_as_a_ca_does() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\na.b\n", "a.b"), Ok(()));
        assert_eq!(judge("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na.b\r\n0\r\n\r\n", "a.b"), Ok(()));
        assert_eq!(judge("HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n", "a.b"), Ok(()));
        assert!(judge("HTTP/1.1 200 OK\r\n\r\n<html>", "a.b").unwrap_err().contains("<html>"));
        assert!(judge("HTTP/1.1 404 Not Found\r\n\r\n", "a.b").unwrap_err().contains("404"));
        assert!(judge("220 smtp", "a.b").is_err());
    }
}
