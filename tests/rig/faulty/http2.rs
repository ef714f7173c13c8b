//! One connection's requests over HTTP/2, each stream passed on or met by a fault.

use super::conversation::{Request, compose, sorted};
use super::{Answer, Fault, Shared};
use bytes::Bytes;
use h2::server::SendResponse;
use std::fmt::Write as _;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Answers requests until either side ends the connection.
pub(super) fn serve(stream: TcpStream, config: &Arc<rustls::ServerConfig>, shared: &Arc<Shared>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let stream = tokio_rustls::TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
        let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
        let (go_away, mut goes_away) = unbounded_channel();
        loop {
            tokio::select! {
                next = connection.accept() => {
                    let Some(next) = next else { return Ok(()) };
                    let (request, respond) = next.map_err(io::Error::other)?;
                    let (shared, go_away) = (Arc::clone(shared), go_away.clone());
                    // A client that goes away ends its request, nothing else.
                    tokio::task::spawn_local(async move { answer(&shared, request, respond, &go_away).await });
                }
                Some(reason) = goes_away.recv() => connection.abrupt_shutdown(reason),
            }
        }
    })
}

async fn answer(
    shared: &Shared,
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    go_away: &UnboundedSender<h2::Reason>,
) -> Result<(), h2::Error> {
    let request = read(request).await?;
    let fault = shared.meet(&request.asked);
    match fault {
        Some(Fault::GoAway(reason)) => {
            // The loop ends when its connection does, and its receiver with it.
            let _ = go_away.send(reason.into());
            // Until then this stream stays without an answer.
            std::future::pending::<()>().await;
        }
        Some(Fault::RefuseStream(reason)) => respond.send_reset(reason.into()),
        fault => {
            let answer = compose(shared, &request, fault).unwrap_or_else(|error| Answer::html(502, &error.to_string()));
            let mut response = http::Response::builder().status(answer.status);
            for (name, value) in &answer.headers {
                response = response.header(name, value);
            }
            let response = response.body(()).expect("headers that were headers before");
            let bodiless = request.asked.method == "HEAD" || answer.body.is_empty();
            let mut stream = respond.send_response(response, bodiless)?;
            if !bodiless {
                stream.send_data(answer.body.into(), true)?;
            }
        }
    }
    Ok(())
}

/// A request as HTTP/1.1 would write it.
async fn read(request: http::Request<h2::RecvStream>) -> Result<Request, h2::Error> {
    let (parts, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let host = parts.uri.authority().map_or("", http::uri::Authority::as_str);
    let mut text = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\n", parts.method);
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != http::header::CONTENT_LENGTH) {
        let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    let asked = sorted(&text, &body);
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    Ok(Request { asked, text })
}
