//! The command line: arguments, output, exit codes.
//!
//! Each command is a short file that takes what was typed and calls [`crate::wire`]. Whatever ends a command early is a
//! `Stop`, turned into words and an exit code here and nowhere else.

mod account;
mod args;
mod check;
mod config;
mod context;
mod daemon;
mod document;
mod forget;
mod probe;
mod process;
mod receive;
mod rehearsal;
mod renew;
mod run;
mod said;
mod screen;
mod status;
mod stores;
mod supervisor;
mod verdict;
mod verify;

use crate::config::ConfigErrors;
use crate::report::{CONFIG, USAGE, exit_of_failure};
use crate::types::Failure;
use args::{AccountCommand, Command, ConfigCommand, Everleaf};
use clap::Parser as _;
use context::Context;
use screen::Screen;
use std::ffi::OsString;
use std::process::ExitCode;

/// Does what `args` (the program's name first) ask for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed = match Everleaf::try_parse_from(args) {
        Ok(typed) => typed,
        Err(refusal) => {
            // Help and version are data that was asked for; a reader that goes away is no failure.
            let _ = refusal.print();
            return ExitCode::from(if refusal.use_stderr() { USAGE } else { 0 });
        }
    };
    process::harden();
    process::catch_defects();
    let screen = Screen::new(&typed);
    process::log(screen, matches!(typed.command, Command::Daemon));
    let context = Context::new(screen, typed.config);
    ExitCode::from(dispatch(&context, typed.command).unwrap_or_else(|stop| told(screen, &stop)))
}

/// Why a command ends early.
#[derive(Debug)]
enum Stop {
    /// What was typed makes no sense.
    Usage(String),
    /// The configuration cannot be used.
    Config(Box<ConfigErrors>),
    /// Something outside failed.
    Failed(Box<Failure>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

fn dispatch(context: &Context, command: Command) -> Result<u8, Stop> {
    match command {
        Command::Run(typed) => run::run(context, &typed),
        Command::Daemon => daemon::daemon(context),
        Command::Renew(typed) if typed.dry_run => rehearsal::dry_run(context, &typed),
        Command::Renew(typed) => renew::renew(context, &typed),
        Command::Deploy(typed) => renew::deploy(context, typed),
        Command::Rollback(typed) => renew::rollback(context, typed),
        Command::Forget(typed) => forget::forget(context, &typed),
        Command::Status(typed) => status::status(context, &typed.names),
        Command::Why(typed) => status::why(context, &typed.name),
        Command::Plan(typed) => status::plan(context, &typed.names),
        Command::Check(typed) => check::check(context, &typed),
        Command::Probe(typed) => probe::probe(context, &typed),
        Command::Verify(typed) => verify::verify(context, &typed),
        Command::Receive(typed) => receive::receive(context, *typed),
        Command::Config(typed) => match typed.command {
            ConfigCommand::Check => config::check(context),
        },
        Command::Account(typed) => match typed.command {
            AccountCommand::Show(which) => account::show(context, which.issuer.as_ref(), false),
            AccountCommand::Register(which) => account::show(context, which.issuer.as_ref(), true),
        },
    }
}

/// Says why, and gives the exit code.
fn told(screen: Screen, stop: &Stop) -> u8 {
    match stop {
        Stop::Usage(text) => {
            screen.say(&format!("everleaf: {text}"));
            USAGE
        }
        Stop::Config(errors) => {
            screen.say(&errors.0.render(screen.talk_paint.colour));
            CONFIG
        }
        Stop::Failed(failure) => {
            said::failure(screen, "", failure, None);
            exit_of_failure(failure)
        }
    }
}
