//! What is agreed on, and with whom nothing could be.

use super::{Case, offered};
use crate::probe::finding::Finding;
use crate::probe::label::Label;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let only13 = case.views.iter().filter_map(|view| {
        let trouble = view.sight.old.as_ref()?.end.as_ref().err()?;
        if trouble.label == Label::ProtocolTooOld {
            let seen = format!("offered TLS 1.2 only: {}", trouble.message);
            return Some(view.found(Finding::new(Label::Tls13Only, seen)));
        }
        Some(view.found(offered::beside(trouble, view.sight.tls12.as_ref()?)?))
    });
    only13.collect()
}
