//! After many certificates at once: what is live, what is not, and what to type next.

use super::causes::names_of;
use super::page::{Page, Paint, clock};
use super::status::{CertificateStatus, NodeStatus, Said};
use crate::types::{NodeName, runs};
use std::collections::{BTreeMap, BTreeSet};

/// Certificates named in a command; more are all of them.
const TYPED: usize = 8;

/// What to type next, and what that does; `None` where nothing is left to do.
#[must_use]
pub fn left_to_do(certificates: &[CertificateStatus], width: usize, paint: Paint) -> Option<String> {
    let mut page = Page::new(width, paint);
    nodes(&mut page, certificates);
    let of = |chosen: &dyn Fn(&CertificateStatus) -> bool| -> Vec<&CertificateStatus> {
        certificates.iter().filter(|it| it.exit != 0 && chosen(it)).collect()
    };
    let names = |some: &[&CertificateStatus]| names_of(&some.iter().map(|it| &it.name).collect::<Vec<_>>());
    let mut steps: Vec<(String, String)> = Vec::new();
    let behind = of(&|it| !unsettled(it).is_empty());
    if !behind.is_empty() {
        let nodes: BTreeSet<&NodeName> = behind.iter().flat_map(|it| unsettled(it)).collect();
        let places = runs(&nodes.into_iter().collect::<Vec<_>>());
        let why = format!(
            "once {places} can do it: publishes, reloads and looks again, without a new order ({})",
            names(&behind)
        );
        steps.push(("everleaf run".to_owned(), why));
    }
    let refused = of(&|it| matches!(it.outcome, Said::Operator | Said::Danger) && unsettled(it).is_empty());
    let (asked, other): (Vec<_>, Vec<_>) = refused.into_iter().partition(|it| {
        it.troubles.iter().any(|failure| failure.code.starts_with("acme:") || failure.code.starts_with("net:"))
    });
    if !asked.is_empty() {
        let typed: Vec<&str> = asked.iter().map(|it| it.name.as_str()).collect();
        let typed = if typed.len() > TYPED { "--all".to_owned() } else { typed.join(" ") };
        let why = "once what they are refused for is mended";
        steps.push((format!("everleaf renew {typed}"), why.to_owned()));
    }
    if let Some(first) = other.first() {
        steps.push((
            format!("everleaf why {}", first.name),
            format!("what stands in the way, and what to do ({})", names(&other)),
        ));
    }
    let waiting = of(&|it| it.outcome == Said::CaLimit && unsettled(it).is_empty());
    if !waiting.is_empty() {
        let last = waiting.iter().filter_map(|it| it.hold.as_ref()).map(|hold| hold.at).max();
        let until = last.map_or_else(|| "later".to_owned(), |at| format!("after {}", clock(at)));
        steps.push((
            "everleaf run".to_owned(),
            format!("{until}: a limit holds {} ({})", counted(waiting.len()), names(&waiting)),
        ));
    }
    let again = of(&|it| it.outcome == Said::Temporary && unsettled(it).is_empty());
    if !again.is_empty() {
        steps.push(("everleaf run".to_owned(), format!("tries again what failed in passing ({})", names(&again))));
    }
    if steps.is_empty() {
        return None;
    }
    page.line(&page.paint.head("to type next:"));
    for (command, why) in steps {
        page.line(&format!("  {command}"));
        page.hang("      ", &why);
    }
    Some(page.finish())
}

/// How many nodes serve all that is wanted of them, and which do not.
fn nodes(page: &mut Page, certificates: &[CertificateStatus]) {
    let mut all: BTreeMap<&NodeName, bool> = BTreeMap::new();
    for (certificate, node) in certificates.iter().flat_map(|it| it.nodes.iter().map(move |node| (it, node))) {
        let well = node.wanted.is_none() || node.settled(!certificate.unproven);
        *all.entry(&node.node).or_insert(true) &= well;
    }
    let behind: Vec<&NodeName> = all.iter().filter(|(_, well)| !**well).map(|(name, _)| *name).collect();
    if all.len() > 1 && !behind.is_empty() {
        let well = all.len() - behind.len();
        let text = format!("{well} of {} nodes have all that is wanted of them; not {}", all.len(), runs(&behind));
        page.hang("", &text);
    }
}

/// The nodes that something wanted is not yet seen on.
fn unsettled(certificate: &CertificateStatus) -> Vec<&NodeName> {
    let behind = |node: &&NodeStatus| node.wanted.is_some() && !node.settled(!certificate.unproven);
    certificate.nodes.iter().filter(behind).map(|node| &node.node).collect()
}

fn counted(certificates: usize) -> String {
    if certificates == 1 { "1 certificate".to_owned() } else { format!("{certificates} certificates") }
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;
    use crate::types::{Class, Failure};

    #[test]
    fn each_thing_left_has_a_command() {
        let plain = Paint { colour: false };
        assert_eq!(left_to_do(&[samples::live("shop")], 80, plain), None);
        let mut refused = samples::live("mail");
        refused.outcome = Said::Operator;
        refused.exit = 1;
        refused.troubles = vec![Failure::new(Class::Operator, "acme:caa", "CA", "CAA forbids it")];
        let mut limited = samples::live("web");
        (limited.outcome, limited.exit, limited.hold) = (Said::CaLimit, 21, samples::lagging().next);
        let all = [samples::lagging(), refused, limited, samples::live("shop")];
        let expected = "\
1 of 2 nodes have all that is wanted of them; not edge2
to type next:
  everleaf run
      once edge2 can do it: publishes, reloads and looks again, without a new
      order (api)
  everleaf renew mail
      once what they are refused for is mended
  everleaf run
      after 2026-11-22 10:10 UTC: a limit holds 1 certificate (web)
";
        assert_eq!(left_to_do(&all, 80, plain).as_deref(), Some(expected));
    }
}
