//! `run`: one pass over everything.

use super::Stop;
use super::args::Run;
use super::context::Context;
use super::process::interruptible;
use super::said::{self, Document};
use crate::report::{CHANGED, CertificateStatus, highest};
use crate::types::{Class, Failure, humane};
use crate::wire::block_on;
use aws_lc_rs::rand;
use std::time::Duration;

/// Sleeping longer than this before a run is a mistake: the next one would come first.
const LONGEST_SPLAY: Duration = Duration::from_secs(86_400);

pub(super) fn run(context: &Context, typed: &Run) -> Result<u8, Stop> {
    let screen = context.screen;
    if let Some(most) = typed.splay {
        splay(context, most)?;
    }
    // Only now: whoever edits the configuration during the splay means this run.
    let app = context.open()?;
    let watch = context.watch_due(app.spec().certificates.len());
    let Some(done) = block_on(interruptible(app.run(&watch)))? else {
        return Ok(said::interrupted(screen, &watch));
    };
    let changed = typed.detailed_exitcode && done.came.changed;
    let exit = if changed { highest([done.exit, CHANGED]) } else { done.exit };
    said::troubles(screen, &app, &done.came, &done.all);
    let silent = |it: &&CertificateStatus| it.troubles.is_empty() && !done.came.busy(&it.name);
    said::held(screen, &app, done.all.iter().filter(silent));
    said::closing(screen, &done.all);
    if screen.json {
        screen.json(&Document::new(&done.came, &done.all, exit))?;
    }
    Ok(exit)
}

/// Sleeps a part of `most`, before any lock is taken.
fn splay(context: &Context, most: Duration) -> Result<(), Stop> {
    if most > LONGEST_SPLAY {
        return Err(Stop::Usage("--splay takes a day at most".to_owned()));
    }
    let mut octets = [0; 4];
    rand::fill(&mut octets)
        .map_err(|_| Failure::new(Class::Retry, "internal", "the system's random source", "it gave nothing"))?;
    let span = most.mul_f64(f64::from(u32::from_be_bytes(octets)) / f64::from(u32::MAX));
    context.screen.chat(&format!("starting in {}", humane(span)));
    block_on(async {
        tokio::time::sleep(span).await;
        Ok(())
    })?;
    Ok(())
}
