//! What is agreed on, and with whom nothing could be.

use super::Case;
use crate::probe::finding::Finding;
use crate::probe::label::Label;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let only13 = case.views.iter().filter_map(|view| {
        let trouble = view.sight.old.as_ref()?.end.as_ref().err()?;
        let seen = format!("offered TLS 1.2 only: {}", trouble.message);
        (trouble.label == Label::ProtocolTooOld).then(|| view.found(Finding::new(Label::Tls13Only, seen)))
    });
    only13.collect()
}
