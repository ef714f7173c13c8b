//! Looks for the confirm step from other machines. Looks that come at once share a connection, so that a thousand endpoints seen from
//! one vantage cost that a handful of logins.

use super::relay::{Ask, COMMAND, Looked, Misread, Watched, last, understood};
use crate::hook::{Errand, Said};
use crate::ports::{Observation, Shown};
use crate::types::{Class, Failure, SshHost};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How long a look waits for others to share its connection.
const GATHER: Duration = Duration::from_millis(20);
/// Looks that share one connection.
const TOGETHER: usize = 256;
/// Connections to one vantage at once.
const CONNECTIONS: usize = 4;
/// How long an answer may take beyond the span that the handshakes are spread over: to connect, and for handshakes that are slow.
const LIMIT: Duration = Duration::from_secs(60);
/// How long an answer may be, in bytes, and how much longer for each look.
const MOST: usize = 1 << 20;
const MOST_EACH: usize = 64 << 10;

type Answer = Result<Vec<Observation>, Failure>;

/// A look on its way.
struct Waiting {
    look: Watched,
    tell: oneshot::Sender<Answer>,
}

/// Everything that is to be seen from one vantage.
struct Post {
    waiting: RefCell<VecDeque<Waiting>>,
    connections: Semaphore,
    /// Whether it could not look when it was asked last, which is logged once.
    away: Cell<bool>,
}

/// Looks from other machines.
#[derive(Default)]
pub(super) struct Far {
    posts: RefCell<BTreeMap<SshHost, Rc<Post>>>,
}

impl Far {
    /// What `look` shows from `host`; that it could not be taken, where it could not.
    pub(super) async fn look(&self, host: &SshHost, look: &Watched) -> Vec<Observation> {
        let post = self.post(host);
        loop {
            let (tell, mut told) = oneshot::channel();
            post.waiting.borrow_mut().push_back(Waiting { look: look.clone(), tell });
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut told => break answer,
                    // What is under way already is only waited for.
                    _connection = post.connections.acquire(), if !post.waiting.borrow().is_empty() => {
                        tokio::time::sleep(GATHER).await;
                        post.carry(host).await;
                    }
                }
            };
            match answer {
                Ok(Ok(observations)) => {
                    post.away.set(false);
                    return observations;
                }
                Ok(Err(failure)) => {
                    if !post.away.replace(true) {
                        tracing::warn!(code = failure.code, "nothing can be seen from {failure}");
                    }
                    return vec![Observation {
                        address: None,
                        shown: Shown::NotLooked { failure },
                        matched: 0,
                        notes: Vec::new(),
                    }];
                }
                // Whoever carried it gave up: its turn comes again.
                Err(_) => {}
            }
        }
    }

    fn post(&self, host: &SshHost) -> Rc<Post> {
        let fresh = || {
            Rc::new(Post {
                waiting: RefCell::default(),
                connections: Semaphore::new(CONNECTIONS),
                away: Cell::new(false),
            })
        };
        Rc::clone(self.posts.borrow_mut().entry(host.clone()).or_insert_with(fresh))
    }
}

impl Post {
    /// Takes what waits there over one connection.
    async fn carry(&self, host: &SshHost) {
        let (looks, tells): (Vec<Watched>, Vec<_>) = {
            let mut waiting = self.waiting.borrow_mut();
            let count = waiting.len().min(TOGETHER);
            waiting.drain(..count).map(|it| (it.look, Some(it.tell))).unzip()
        };
        if looks.is_empty() {
            return;
        }
        let answered = ask(host, &looks).await;
        let mut tells = tells;
        let mut tell = |at: usize, answer: Answer| {
            if let Some(tell) = tells.get_mut(at).and_then(Option::take) {
                // Nobody waits for it any more: that is no failure.
                let _gone = tell.send(answer);
            }
        };
        let missing = match answered {
            Ok((answers, missing)) => {
                for it in answers {
                    tell(it.at, Ok(it.observations));
                }
                missing
            }
            Err(failure) => failure,
        };
        (0..looks.len()).for_each(|at| tell(at, Err(missing.clone())));
    }
}

/// The answers, and why those that are missing are.
async fn ask(host: &SshHost, looks: &[Watched]) -> Result<(Vec<Looked>, Failure), Failure> {
    let over = looks.iter().map(Watched::over).max().unwrap_or_default();
    let errand = Errand {
        host,
        words: &COMMAND,
        stdin: Ask::of_looks(looks.to_vec()).line()?,
        config: None,
        shared: None,
        limit: over + LIMIT,
        most: MOST + MOST_EACH * looks.len(),
    };
    let said = errand.run().await?;
    let place = host.to_string();
    understood(&said, &place)?;
    let answers = said.stdout.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let answers: Result<Vec<Looked>, Misread> = answers.map(|line| Looked::read(line, looks)).collect();
    let answers = answers.map_err(|why| why.failure(&place))?;
    Ok((answers, unanswered(&said, &place)))
}

/// Why there is no answer.
fn unanswered(said: &Said, place: &str) -> Failure {
    let last = last(said).unwrap_or("it says nothing");
    Failure::new(Class::Retry, "vantage:silent", place, format!("no answer from the everleaf there: {last}"))
        .advise("see what `everleaf probe` says on that machine")
}
