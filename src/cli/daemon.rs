//! `daemon`: stays, and does what is due when it is due. An equal of timer runs and commands by hand.

use super::Stop;
use super::context::Context;
use super::said::{self, Once};
use super::supervisor::Supervisor;
use crate::notify::{Outcome, ping};
use crate::ports::LockGuard;
use crate::report::{CertificateStatus, OK, Paint, Snapshot, TEMPORARY, headline};
use crate::types::{Class, Failure};
use crate::wire::{App, Keeper, Rounds, Wish, block_on};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long work under way has to come to its end after SIGTERM. The shipped unit's `TimeoutStopSec` is longer.
const STOP_WITHIN: Duration = Duration::from_secs(90);
/// How often it listens for what others ask, while it has nothing to do.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// After a pass that could not be made at all.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The dead-man's switch is told this often while nothing changes.
const PING_EVERY: Duration = Duration::from_secs(600);

pub(super) fn daemon(context: &Context) -> Result<u8, Stop> {
    let app = context.open()?;
    let only = app.be_the_daemon()?;
    let rounds = Rounds::new(app, context.watch())?;
    let desk = Desk::new(context, only, rounds.app());
    block_on(async { Ok(desk.serve(rounds).await) })?
}

/// Where signals, the supervisor and the passes come together.
struct Desk<'a> {
    context: &'a Context,
    supervisor: Supervisor,
    /// One daemon a state directory: the lock, and which directory.
    only: RefCell<(Box<dyn LockGuard>, PathBuf)>,
    /// Since when it is to end.
    stop: Cell<Option<Instant>>,
    /// The configuration as it was read anew, until the work under the old one has come to an end.
    anew: RefCell<Option<App>>,
    news: Notify,
    /// What is wrong with the configuration on disk, while an earlier one is in force.
    complaint: Cell<Option<&'static str>>,
    /// How all stand, in one line.
    standing: RefCell<String>,
    well: Cell<bool>,
    pinged: Cell<Option<(bool, Instant)>>,
    said: RefCell<Once>,
}

impl<'a> Desk<'a> {
    fn new(context: &'a Context, only: Box<dyn LockGuard>, app: &App) -> Self {
        Self {
            context,
            supervisor: Supervisor::of_this_process(),
            only: RefCell::new((only, app.spec().paths.state.clone())),
            stop: Cell::new(None),
            anew: RefCell::default(),
            news: Notify::new(),
            complaint: Cell::new(None),
            standing: RefCell::new("looking at everything for the first time".to_owned()),
            well: Cell::new(true),
            pinged: Cell::new(None),
            said: RefCell::default(),
        }
    }

    /// Serves until it is told to end. A second time means at once: what is under way is dropped, which ends hooks with their groups.
    async fn serve(&self, rounds: Rounds) -> Result<u8, Stop> {
        let signals = Signals::new()?;
        tokio::select! {
            biased;
            () = self.hear(signals) => Ok(TEMPORARY),
            () = self.go_round(rounds) => Ok(OK),
        }
    }

    // -------------------------------------------------------------------------------------------------------- signals

    async fn hear(&self, mut signals: Signals) {
        loop {
            match signals.next().await {
                Heard::Reload => self.reload(),
                Heard::End if self.stop.get().is_some() => {
                    return self
                        .say("told twice to end: what is under way is dropped, and the next start goes on from there");
                }
                Heard::End => {
                    self.stop.set(Some(Instant::now()));
                    self.supervisor.stopping("finishing what is under way");
                    self.say("told to end: nothing new begins, what is under way is finished");
                }
            }
            self.news.notify_one();
        }
    }

    /// Reads the configuration anew. One that cannot be used is complained of, and the old one stays in force.
    fn reload(&self) {
        self.supervisor.reloading();
        match self.open() {
            Ok(app) => {
                self.complaint.set(None);
                self.say(&format!("read the configuration anew: {}", certificates(&app)));
                self.anew.replace(Some(app));
            }
            Err(stop) => {
                super::told(self.context.screen, &stop);
                self.say("the configuration was not read anew: the one before stays in force until it is mended");
                self.complaint.set(Some(
                    "the configuration on disk cannot be used, an earlier one is in force; see `everleaf config check`",
                ));
            }
        }
        self.supervisor.ready(&self.status());
    }

    fn open(&self) -> Result<App, Stop> {
        let app = self.context.open()?;
        let state = &app.spec().paths.state;
        if self.only.borrow().1 != *state {
            let only = app.be_the_daemon()?;
            self.only.replace((only, state.clone()));
        }
        Ok(app)
    }

    // --------------------------------------------------------------------------------------------------------- rounds

    async fn go_round(&self, mut rounds: Rounds) {
        self.say(&format!("at work on {}", certificates(rounds.app())));
        self.supervisor.ready(&self.status());
        while self.stop.get().is_none() {
            if let Some(app) = self.anew.take() {
                match Rounds::new(app, self.context.watch()) {
                    Ok(fresh) => rounds = fresh,
                    Err(problem) => said::failure(self.context.screen, "", &problem, None),
                }
            }
            if rounds.due().is_empty() {
                self.attend(self.pause(LISTEN_EVERY.min(rounds.quiet()))).await;
                continue;
            }
            match rounds.work(self).await {
                Ok(()) => self.attend(self.ping(rounds.app())).await,
                Err(problem) => {
                    if self.said.borrow_mut().is_news(&problem.to_string()) {
                        said::failure(self.context.screen, "", &problem, None);
                    }
                    self.attend(self.pause(TRY_AGAIN)).await;
                }
            }
        }
        self.say("ended; the next start goes on from here");
    }

    /// Waits, unless there is news.
    async fn pause(&self, span: Duration) {
        tokio::select! {
            () = self.news.notified() => {}
            () = sleep(span) => {}
        }
    }

    /// Stays alive to the supervisor during something that has a time limit of its own.
    async fn attend(&self, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        loop {
            self.supervisor.alive();
            tokio::select! {
                () = &mut work => return,
                () = sleep(self.supervisor.pace()) => {}
            }
        }
    }

    /// Tells the dead-man's switch when something has changed, and every so often.
    async fn ping(&self, app: &App) {
        let Some(switch) = &app.spec().ping else { return };
        let well = self.well.get();
        if self.pinged.get().is_some_and(|(told, at)| told == well && at.elapsed() < PING_EVERY) {
            return;
        }
        self.pinged.set(Some((well, Instant::now())));
        ping(switch, if well { Outcome::Succeeded } else { Outcome::Failed }).await;
    }

    // ---------------------------------------------------------------------------------------------------------- words

    /// How it stands, in one line.
    fn status(&self) -> String {
        let standing = self.standing.borrow();
        self.complaint.get().map_or_else(|| standing.clone(), |complaint| format!("{complaint}; {standing}"))
    }

    fn say(&self, text: &str) {
        if self.context.screen.log_json {
            tracing::info!("{text}");
        } else if self.context.screen.volume >= 0 {
            self.context.screen.say(&format!("everleaf daemon: {text}"));
        }
    }
}

fn certificates(app: &App) -> String {
    match app.spec().certificates.len() {
        1 => "1 certificate".to_owned(),
        count => format!("{count} certificates"),
    }
}

impl Keeper for Desk<'_> {
    fn beat(&self) {
        self.supervisor.alive();
    }

    fn wish(&self) -> Wish {
        match self.stop.get() {
            Some(since) if since.elapsed() >= STOP_WITHIN => Wish::End,
            Some(_) => Wish::WindDown,
            None if self.anew.borrow().is_some() => Wish::WindDown,
            None => Wish::GoOn,
        }
    }

    fn looked(&self, fresh: &[CertificateStatus], all: &Snapshot) {
        *self.standing.borrow_mut() = headline(&all.certificates, Paint { colour: false });
        self.well.set(all.run.as_ref().is_some_and(|run| run.exit == OK));
        if self.stop.get().is_none() {
            self.supervisor.status(&self.status());
        }
        said::news(self.context.screen, &mut self.said.borrow_mut(), fresh);
    }
}

/// What a signal asks for.
enum Heard {
    End,
    Reload,
}

/// The signals a daemon understands.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let of = |kind| {
            signal(kind).map_err(|error| Failure::new(Class::Retry, "runtime", "this process", error.to_string()))
        };
        let (terminate, interrupt) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hang_up: of(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End,
            _ = self.interrupt.recv() => Heard::End,
            _ = self.hang_up.recv() => Heard::Reload,
        }
    }
}
