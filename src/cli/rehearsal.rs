//! `renew --dry-run`: what was tried, how it went, and honestly what was not tried.

use super::Stop;
use super::args::Renew;
use super::context::Context;
use super::renew::chosen;
use super::said;
use crate::report::{CONFIG, CertificateStatus, OPERATOR, Page, highest};
use crate::wire::{Rehearsal, block_on, rehearse};
use serde::Serialize;

/// What a rehearsal came to. Schema `everleaf.rehearsal/1`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    exit: u8,
    certificates: &'a [CertificateStatus],
    nodes: Vec<NodeTried<'a>>,
    skipped: Vec<String>,
    not_exercised: &'a [String],
}

#[derive(Debug, Serialize)]
struct NodeTried<'a> {
    node: String,
    what: &'a str,
    ok: bool,
}

pub(super) fn dry_run(context: &Context, typed: &Renew) -> Result<u8, Stop> {
    let spec = context.load()?;
    let names = chosen(&spec, typed)?;
    let rehearsal = block_on(rehearse(&spec, &names, &context.watch()))?;
    let exit = exit(&rehearsal);
    let screen = context.screen;
    for certificate in &rehearsal.came.certificates {
        for trouble in &certificate.troubles {
            said::failure(screen, certificate.name.as_str(), trouble, None);
        }
    }
    for tried in &rehearsal.nodes {
        if let Err(failure) = &tried.result {
            said::failure(screen, tried.node.as_str(), failure, None);
        }
    }
    if screen.json {
        screen.json(&document(&rehearsal, exit))?;
    } else {
        screen.data(&page(context, &rehearsal))?;
    }
    Ok(exit)
}

fn exit(rehearsal: &Rehearsal) -> u8 {
    let nodes = rehearsal.nodes.iter().filter(|tried| tried.result.is_err()).map(|_| OPERATOR);
    let skipped = rehearsal.skipped.iter().map(|_| CONFIG);
    let unissued = rehearsal.came.certificates.iter().filter(|it| !rehearsal.issued(&it.name));
    let orders = unissued.map(|it| if it.exit == 0 { OPERATOR } else { it.exit });
    let refused = rehearsal.came.refused.iter().map(|_| OPERATOR);
    highest(nodes.chain(skipped).chain(orders).chain(refused))
}

fn document(rehearsal: &Rehearsal, exit: u8) -> Document<'_> {
    let nodes = rehearsal.nodes.iter();
    let nodes = nodes.map(|it| NodeTried { node: it.node.to_string(), what: it.what, ok: it.result.is_ok() });
    Document {
        schema: "everleaf.rehearsal/1",
        exit,
        certificates: &rehearsal.came.certificates,
        nodes: nodes.collect(),
        skipped: rehearsal.skipped.iter().map(|(name, _)| name.to_string()).collect(),
        not_exercised: &rehearsal.untried,
    }
}

fn page(context: &Context, rehearsal: &Rehearsal) -> String {
    let paint = context.screen.paint;
    let mut page = Page::new(context.screen.width, paint);
    let mark = |ok: bool| if ok { paint.good("ok    ") } else { paint.bad("failed") };
    page.line(&paint.head("Rehearsed; nothing was published"));
    for certificate in &rehearsal.came.certificates {
        let issued = rehearsal.issued(&certificate.name);
        let text = if issued { "ordered, issued, and accepted by the gate" } else { "not issued" };
        page.line(&format!("  {}  {}: {text}", mark(issued), certificate.name));
    }
    for tried in &rehearsal.nodes {
        page.line(&format!("  {}  {}: {}", mark(tried.result.is_ok()), tried.node, tried.what));
    }
    for (name, issuer) in &rehearsal.skipped {
        page.hang("  left    ", &format!("{name}: issuer {issuer} has no `dry_run:` directory"));
    }
    page.gap();
    page.line(&paint.head("Not exercised"));
    for untried in &rehearsal.untried {
        page.hang("  - ", untried);
    }
    page.finish()
}
