//! Names: whether the leaf is for those asked for, and whether its issuers may issue for those it has.

use super::Question;
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::Identifier;

/// Names listed in one message.
const LISTED: usize = 8;

/// Whether the leaf covers every name asked for; without a question, whether a server's leaf has names at all.
pub(super) fn leaf(leaf: &Certificate, question: &Question<'_>) -> Vec<Finding> {
    let nameless = leaf.names().is_empty();
    let common: Option<Identifier> = leaf.common_name.as_ref().and_then(|name| name.as_str().parse().ok());
    let in_subject = |asked: &Identifier| nameless && common.as_ref().is_some_and(|name| name.covers(asked));
    let mut found = Vec::new();
    for asked in question.names.iter().filter(|asked| !leaf.names().iter().any(|name| name.covers(asked))) {
        found.push(match &common {
            Some(common) if in_subject(asked) => cn_only(common),
            _ if question.published => Finding::new(Label::DiskNamesMissing, mismatch(leaf, asked)),
            _ => Finding::new(Label::NameMismatch, mismatch(leaf, asked)),
        });
    }
    if question.names.is_empty() && nameless && question.usage != Usage::Client {
        found.push(match &common {
            Some(common) => cn_only(common),
            None => Finding::new(Label::NameMismatch, format!("{} is for no name at all", leaf.subject_or_names())),
        });
    }
    found
}

fn cn_only(common: &Identifier) -> Finding {
    let seen = format!("{common} stands only in the subject's common name; there is no such subjectAltName");
    Finding::new(Label::CnOnlyNoSan, seen)
}

fn mismatch(leaf: &Certificate, asked: &Identifier) -> String {
    let names: Vec<String> = leaf.names().iter().take(LISTED).map(ToString::to_string).collect();
    let more = match leaf.names().len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let have = match (names.is_empty(), &leaf.common_name) {
        (false, _) => format!("it is for {}{more}", names.join(", ")),
        (true, Some(common)) => format!("it has no names but the common name {common}"),
        (true, None) => "it has no names".to_owned(),
    };
    format!("the certificate does not cover {asked}: {have}{}", hint(leaf, asked))
}

/// The two things about names that surprise people.
fn hint(leaf: &Certificate, asked: &Identifier) -> &'static str {
    let Identifier::Dns(asked) = asked else {
        return if leaf.names().iter().any(|name| matches!(name, Identifier::Ip(_))) {
            ""
        } else {
            " (an address must stand in it as an address)"
        };
    };
    let below = |name: &Identifier| match name {
        Identifier::Dns(name) => name
            .strip_prefix("*.")
            .is_some_and(|base| asked == base || asked.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))),
        Identifier::Ip(_) => false,
    };
    let top = |name: &Identifier| match (name, asked.split_once('.')) {
        (Identifier::Dns(name), Some((_, base))) => !base.contains('.') && name.strip_prefix("*.") == Some(base),
        _ => false,
    };
    if leaf.names().iter().any(top) {
        return " (no wildcard counts directly below a top-level name)";
    }
    if leaf.names().iter().any(below) { " (a wildcard stands for exactly one label)" } else { "" }
}

/// Whether the leaf's names are within what its issuers may issue for: `members` from the leaf on, then the trusted root.
pub(super) fn constraints(members: &[&Certificate], root: Option<&Certificate>) -> Vec<Finding> {
    let Some(leaf) = members.first() else { return Vec::new() };
    let issuers = members.iter().skip(1).copied().chain(root);
    let refused = |issuer: &Certificate| {
        let found = leaf.names().iter().find_map(|name| Some((name, issuer.constraints.refuse(name)?)));
        found.map(|(name, why)| {
            Finding::new(
                Label::NameConstraint,
                format!("{name} is outside the constraints of {}, which {why}", issuer.subject()),
            )
        })
    };
    issuers.filter_map(refused).collect()
}
