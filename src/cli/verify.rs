//! `verify`: what clients would say of certificate files.

use super::Stop;
use super::args::{Use, Verify};
use super::context::Context;
use super::document::Document;
use super::said;
use super::stores::stores;
use super::verdict::{self, Sheet};
use crate::config::spec::Usage;
use crate::probe::chain::{Judged, Question, judge};
use crate::probe::files::{Presented, Taken, present};
use crate::probe::{Label, Verdict};
use crate::report::Page;
use crate::wire::now;

/// Could not judge.
const UNKNOWN: u8 = 3;

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
    let verdict = settled(&presented, &judged, &question);
    let target = typed.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    if screen.json {
        screen.json(&Document::new(&target, &verdict, &judged.steps).files(&presented.taken))?;
    } else {
        let mut page = Page::new(screen.width, screen.paint);
        verdict::opening(&mut page, &Sheet::new(&target, &verdict));
        page.gap();
        verdict::drawing(&mut page, &verdict::rungs(&judged.steps), question.now);
        page.gap();
        taken(&mut page, &presented.taken);
        screen.data(&format!("{}\n", page.finish().trim_end()))?;
    }
    Ok(verdict.exit_code())
}

fn settled(presented: &Presented, judged: &Judged, question: &Question<'_>) -> Verdict {
    let found = presented.findings.iter().chain(&judged.findings).cloned().collect();
    let well = || match presented.sent.first().filter(|_| question.usage == Usage::Client) {
        Some(leaf) => {
            let stores: Vec<&str> = question.stores.iter().map(|store| store.name.as_str()).collect();
            format!(
                "{} is good for client authentication where {} is trusted, until {}. Whom a server takes it for cannot be seen here.",
                leaf.subject_or_names(),
                stores.join(" or "),
                leaf.validity().end
            )
        }
        None => Label::Ok.meaning().to_owned(),
    };
    Verdict::new(found, well)
}

/// What each file was taken for.
fn taken(page: &mut Page, files: &[Taken]) {
    for file in files {
        page.hang(&format!("{}: ", file.path.display()), &file.what);
    }
}
