//! Tells people: by a command or by a webhook; and tells a dead-man's switch that runs happen.
//!
//! One JSON document (`everleaf.notice/1`) serves both. Beside the notice's own fields it has `event` (`notify`) and `text`,
//! the notice as a few lines, which is what Slack and everything compatible with it shows.

mod ping;
mod webhook;

pub use ping::{Outcome, ping};
pub use webhook::SIGNATURE;

use crate::config::spec::{Hook, Notifier, NotifierKind};
use crate::hook::{Answer, Call, Systemd};
use crate::net::http::{Http, Options, Plain};
use crate::ports::{Notice, NoticeKind, Notify, Pending};
use crate::types::{CertName, Class, Failure};
use serde_json::{Map, Value};
use std::time::Duration;

/// To open a connection to a webhook's receiver.
const CONNECT: Duration = Duration::from_secs(10);
/// For one notification, reply included: people wait for it, a run does not.
const REQUEST: Duration = Duration::from_secs(20);
/// How many certificates the few lines name; the JSON has all.
const NAMED: usize = 10;

/// The ways to tell people.
pub struct Notifiers {
    http: Http,
    systemd: Systemd,
}

impl Notifiers {
    /// Makes them. Nothing is connected to before the first notice.
    #[must_use]
    pub const fn new(systemd: Systemd) -> Self {
        Self { http: http(REQUEST), systemd }
    }

    async fn by_command(&self, hook: &Hook, notice: &Notice, place: &str) -> Result<(), Failure> {
        let call = Call::new(hook, "notify", place).systemd(self.systemd.clone()).fields(document(notice, place)?);
        match call.run().await? {
            Answer::Done { .. } => Ok(()),
            Answer::NotForMe => {
                let message = "its command says that it does not notify (exit 42)";
                Err(Failure::new(Class::Operator, "notify:not-for-me", place, message))
            }
        }
    }
}

impl Notify for Notifiers {
    fn tell<'a>(&'a self, notifier: &'a Notifier, notice: &'a Notice) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let place = format!("notifier {}", notifier.name);
            match &notifier.kind {
                NotifierKind::Exec(hook) => self.by_command(hook, notice, &place).await,
                NotifierKind::Webhook { url, hmac } => {
                    let body = Value::Object(document(notice, &place)?).to_string();
                    webhook::post(&self.http, url, hmac.as_ref(), body, &place).await
                }
            }
        })
    }
}

/// A client for capabilities: https, or http on a loopback address.
const fn http(request: Duration) -> Http {
    Http::new(Options { connect: CONNECT, request, ca_bundle: None, plain: Plain::Loopback })
}

/// The JSON document.
fn document(notice: &Notice, place: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(notice) {
        Ok(Value::Object(mut document)) => {
            document.insert("event".to_owned(), "notify".into());
            document.insert("text".to_owned(), text(notice).into());
            Ok(document)
        }
        other => {
            let message = format!(
                "the notice cannot be written as JSON: {}",
                other.err().map_or_else(String::new, |e| e.to_string())
            );
            Err(Failure::new(Class::Operator, "notify:document", place, message))
        }
    }
}

/// The notice as a few lines.
fn text(notice: &Notice) -> String {
    let kind = match notice.kind {
        NoticeKind::Recovery => "recovered",
        NoticeKind::Failure => "failed",
        NoticeKind::Danger => "DANGER",
    };
    let mut lines = vec![format!("everleaf on {}: {kind}: {}", notice.host, notice.summary)];
    let names: Vec<&str> = notice.certificates.iter().take(NAMED).map(CertName::as_str).collect();
    match notice.certificates.len().saturating_sub(NAMED) {
        _ if names.is_empty() => {}
        0 => lines.push(format!("certificates: {}", names.join(", "))),
        more => lines.push(format!("certificates: {} and {more} more", names.join(", "))),
    }
    if !notice.advice.is_empty() {
        lines.push(notice.advice.to_string());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Printable, Timestamp};

    #[test]
    fn a_few_lines_name_a_few_certificates() {
        let notice = Notice {
            schema: "everleaf.notice/1".to_owned(),
            kind: NoticeKind::Danger,
            cause: Printable::new("acme:caa"),
            summary: Printable::new("3 days left"),
            advice: Printable::default(),
            details: Vec::new(),
            certificates: (0..12).map(|n| CertName::new(format!("shop{n}")).expect("a name")).collect(),
            host: Printable::new("edge1"),
            at: Timestamp::from_secs(0),
        };
        let text = text(&notice);
        assert!(text.starts_with("everleaf on edge1: DANGER: 3 days left\ncertificates: shop0, "), "{text}");
        assert!(text.ends_with("shop9 and 2 more"), "{text}");
    }
}
