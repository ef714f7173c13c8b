//! The same question in HTTP/2 (RFC 9113), for servers that take no other.

use super::{Head, LIMIT, MAX_HEAD, Mute, Question, Reply, Spoken, refuses_head};
use crate::net::chain;
use crate::ports::Clock;
use reqwest::{Client, Method, Response, Url, redirect::Policy};
use rustls::ClientConfig;
use std::error::Error;
use std::net::SocketAddr;

/// Asks for `/` at `address`. Redirects are not followed.
///
/// # Errors
/// Why there is no answer; bounded as HTTP/1 is.
pub(crate) async fn ask(
    tls: ClientConfig,
    address: SocketAddr,
    question: &Question,
    clock: &dyn Clock,
) -> Result<Spoken, Mute> {
    let broken = |error: &(dyn Error + 'static)| Mute::Broken(chain(error));
    let url = format!("{}://{}/", question.scheme, question.authority());
    let url = Url::parse(&url).map_err(|error| broken(&error))?;
    #[expect(clippy::disallowed_methods, reason = "it believes whatever certificate is shown, and asks one address")]
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(super::USER_AGENT)
        .resolve(&question.host, address)
        .no_proxy()
        .redirect(Policy::none())
        .http2_prior_knowledge()
        .http2_max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .build()
        .map_err(|error| broken(&error))?;
    let request = async |method: Method| {
        let sent = tokio::time::timeout(LIMIT, client.request(method, url.clone()).send()).await;
        sent.map_err(|_| Mute::Silent)?.map(head).map_err(|error| broken(&error))
    };
    let first = request(Method::HEAD).await?;
    let head = if refuses_head(first.status) { request(Method::GET).await? } else { first };
    Ok(Spoken { first: Reply { path: "/".to_owned(), head, at: clock.now() }, onward: Vec::new() })
}

fn head(mut response: Response) -> Head {
    Head { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()) }
}
