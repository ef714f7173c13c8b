//! `notifiers:` and `ping:`

use super::issuers::{Scheme, checked_url};
use super::problem::Problem;
use super::read::{Fields, Reader};
use super::spec::{Notifier, NotifierKind, Ping};
use super::yaml::Node;
use crate::types::{NotifierName, Secret};
use std::time::Duration;

impl Reader<'_> {
    pub(super) fn notifier(&self, name: NotifierName, node: &Node, hook_time: Duration) -> Option<Notifier> {
        let mut fields = Fields::open(self, node, "a notifier, a mapping with exec or webhook,")?;
        let (exec, webhook) = (fields.take("exec"), fields.take("webhook"));
        let at = fields.at;
        fields.close(self);
        let kind = match (exec, webhook) {
            (Some(hook), None) => NotifierKind::Exec(self.hook(hook, hook_time)?),
            (None, Some(node)) => self.webhook(node)?,
            _ => {
                self.error(
                    at,
                    "a notifier is exactly one thing",
                    "write exec: [PROGRAM, …] or webhook: { url_file: FILE }",
                );
                return None;
            }
        };
        Some(Notifier { name, kind })
    }

    fn webhook(&self, node: &Node) -> Option<NotifierKind> {
        let mut fields = Fields::confidential(self, node, "a webhook, a mapping with url_file,", &[])?;
        let url = self.capability(&mut fields);
        let hmac = self.secret(&mut fields, ("hmac", "hmac_file"), |_| false);
        fields.close(self);
        Some(NotifierKind::Webhook { url: url?, hmac })
    }

    pub(super) fn ping(&self, node: &Node) -> Option<Ping> {
        let mut fields = Fields::confidential(self, node, "a ping, a mapping with url_file,", &[])?;
        let url = self.capability(&mut fields);
        fields.close(self);
        Some(Ping { url: url? })
    }

    /// A URL whose knowledge is all that is needed to use it.
    fn capability(&self, fields: &mut Fields<'_>) -> Option<Secret> {
        let Some(node) = fields.take("url_file").or_else(|| fields.take("url")) else {
            fields.missing("url_file", "put the URL into a file with mode 0600, and name it here");
            return None;
        };
        let url = self.secret(fields, ("url", "url_file"), |text| text.contains("://"))?;
        // An empty secret is one that was not looked up: the YAML was read by itself.
        if let Err(why) = checked_url(url.reveal())
            && !url.reveal().is_empty()
        {
            self.sink.mask(node.at);
            self.error(node.at, format!("the URL cannot be used: {why}"), "write https://HOST/PATH");
            return None;
        }
        if node.scalar() == Some(url.reveal()) {
            self.inline_url(node, url.reveal());
        }
        Some(url)
    }

    fn inline_url(&self, node: &Node, url: &str) {
        if !matches!(checked_url(url), Ok(Scheme::LoopbackHttp)) {
            self.sink.mask(node.at);
            let message = "whoever reads this file can use this URL";
            self.sink.push(
                Problem::warning(node.at, message).help("put it into a file with mode 0600, and write url_file: FILE"),
            );
        }
    }
}
