//! `forget`: the last of a certificate that is no longer configured.

use super::Stop;
use super::args::Forget;
use super::context::Context;
use crate::types::CertName;
use crate::wire::block_on;
use std::io::{BufRead as _, IsTerminal as _, Read as _};

/// An answer is a word.
const MAX_ANSWER: u64 = 64;

pub(super) fn forget(context: &Context, typed: &Forget) -> Result<u8, Stop> {
    let app = context.open()?;
    let name: CertName = typed.name.parse().map_err(|error| Stop::Usage(format!("{error}")))?;
    if app.spec().certificates.contains_key(&name) {
        let file = context.config.display();
        return Err(Stop::Usage(format!("{name} is still configured; take it out of {file} first")));
    }
    let places = app.kept(&name);
    if places.is_empty() {
        return Err(Stop::Usage(format!("nothing is kept of {name}")));
    }
    let shown: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    if !typed.yes && !agreed(context, &format!("remove {} with the keys in it?", shown.join(" and ")))? {
        return Err(Stop::Usage("nothing was removed".to_owned()));
    }
    for place in block_on(app.forget(&name, &context.watch()))? {
        context.screen.chat(&format!("removed {}", place.display()));
    }
    Ok(0)
}

/// Asks on a terminal; without one, nobody can agree.
fn agreed(context: &Context, question: &str) -> Result<bool, Stop> {
    if !std::io::stdin().is_terminal() || !context.screen.watched {
        return Err(Stop::Usage("nobody can be asked without a terminal: say --yes".to_owned()));
    }
    context.screen.say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
