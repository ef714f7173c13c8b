//! `verify`: what clients would say of certificate files.

use super::Stop;
use super::args::{Use, Verify};
use super::context::Context;
use super::said;
use super::verdict::{Document, page};
use crate::config::spec::{Roots, Usage};
use crate::pki::{Anchors, RootStore};
use crate::probe::chain::{Judged, Question, Store, judge};
use crate::probe::files::{Presented, present};
use crate::probe::{Label, Verdict};
use crate::types::{Class, Failure};
use crate::wire::now;
use std::path::Path;
use std::rc::Rc;

/// Could not judge.
const UNKNOWN: u8 = 3;
/// The trust store of the machine.
const SYSTEM: &str = "system";

/// Judges, also when there is nothing to judge: that is an answer of its own.
pub(super) fn verify(context: &Context, typed: &Verify) -> Result<u8, Stop> {
    let screen = context.screen;
    let (presented, stores) = match present(&typed.files).and_then(|presented| Ok((presented, stores(&typed.stores)?)))
    {
        Ok(found) => found,
        Err(failure) => {
            said::failure(screen, "", &failure, None);
            return Ok(UNKNOWN);
        }
    };
    let question = Question {
        names: &typed.names,
        stores: &stores,
        usage: if typed.usage == Use::Client { Usage::Client } else { Usage::Server },
        now: typed.at.unwrap_or_else(now),
        pins: &typed.pins,
        published: presented.published,
    };
    let judged = judge(&presented.sent, &question);
    let verdict = settled(&presented, &judged);
    let target = typed.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    if screen.json {
        screen.json(&Document::new(&target, &verdict, &presented.taken, &judged.steps))?;
    } else {
        screen.data(&page(screen, &target, &verdict, &presented.taken, &judged.steps, question.now))?;
    }
    Ok(verdict.exit_code())
}

fn settled(presented: &Presented, judged: &Judged) -> Verdict {
    let found = presented.findings.iter().chain(&judged.findings).cloned().collect();
    Verdict::new(found, || Label::Ok.meaning().to_owned())
}

/// The trust stores that were asked for; the machine's where none was.
fn stores(typed: &[std::path::PathBuf]) -> Result<Vec<Store>, Failure> {
    let system = [Path::new(SYSTEM).to_owned()];
    let typed = if typed.is_empty() { &system[..] } else { typed };
    typed.iter().map(|path| store(path)).collect()
}

fn store(path: &Path) -> Result<Store, Failure> {
    let advise = |failure: Failure| failure.advise("Install ca-certificates, or name a PEM file of roots with --ca.");
    if path == Path::new(SYSTEM) {
        let anchors = Rc::new(Anchors::system().map_err(advise)?);
        return Ok(Store { name: SYSTEM.to_owned(), anchors, system: true });
    }
    let name = path.display().to_string();
    if path.exists() && !path.is_file() {
        return Err(advise(Failure::new(Class::Operator, "roots:unreadable", name, "it is no regular file")));
    }
    let anchors = RootStore::default().load(&Roots::File(path.to_owned())).map_err(advise)?;
    Ok(Store { name, anchors, system: false })
}
