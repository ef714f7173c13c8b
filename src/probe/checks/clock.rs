//! Clocks: our own against the servers', with the certificates' dates as witnesses.

use super::Case;
use crate::net::header::date;
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::Survey;
use crate::probe::survey::http::Reply;
use crate::types::{Timestamp, humane};
use http::HeaderMap;
use http::header::AGE;
use std::time::Duration;

/// From here on a clock is wrong.
const FAR: Duration = Duration::from_secs(86_400);
/// When this program was built, in seconds since 1970: it cannot be earlier now.
const BUILT: &str = env!("EVERLEAF_BUILT");
/// The longest age that a cache is believed.
const OLDEST: i64 = 366 * 86_400;

/// What a server's clock showed, beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Ours.
    pub own: Timestamp,
    /// The server's.
    pub server: Timestamp,
}

impl Clocks {
    fn agree(self) -> bool {
        apart(self.own, self.server) < FAR
    }
}

/// The clocks at a reply: a cache passes on the `Date` of the origin, and says by `Age` how long ago that was (RFC 9111 §5.1).
#[must_use]
pub fn read(reply: &Reply) -> Option<Clocks> {
    let server = date(&reply.head.headers)?.saturating_add(age(&reply.head.headers));
    Some(Clocks { own: reply.at, server: Timestamp::from_secs(server) })
}

fn age(headers: &HeaderMap) -> i64 {
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    age.filter(|age| (0..=OLDEST).contains(age)).unwrap_or(0)
}

/// One server's witness.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    /// Its clock, beside ours.
    pub clocks: Clocks,
    /// The certificates it presented, the leaf first.
    pub chain: &'a [Certificate],
}

/// Whose clock is wrong: ours, or those of the servers at these places among the witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Ours, and what the servers say the time was when ours showed the first.
    Own(Clocks, &'static str),
    /// Ours, by the time this program was built, and there is no server that says what time it is.
    Before(Timestamp),
    /// Those of these servers; none where all agree.
    Servers(Vec<usize>),
}

/// Compares. Our own clock, which shows `own`, is wrong when it shows a time before this program was `built`, when it is the odd one
/// out among several servers, or when certificates are in date by the server's clock and not by ours. Otherwise whoever differs from
/// us is, and so is whoever shows a time before `built`: a device that stopped years ago is no witness for its expired certificate.
#[must_use]
pub fn compare(witnesses: &[Witness<'_>], own: Timestamp, built: Timestamp) -> Wrong {
    let past = |time: Timestamp| time + FAR <= built;
    if witnesses.is_empty() && past(own) {
        return Wrong::Before(built);
    }
    let wrong: Vec<usize> = (0..witnesses.len()).filter(|at| !witnesses[*at].clocks.agree()).collect();
    // A server that agrees with us would have to be wrong in the same way.
    if wrong.len() < witnesses.len() {
        return Wrong::Servers(wrong);
    }
    let possible: Vec<&Witness<'_>> = witnesses.iter().filter(|it| !past(it.clocks.server)).collect();
    let Some(first) = possible.first().map(|it| it.clocks) else { return Wrong::Servers(wrong) };
    if past(own) {
        return Wrong::Own(first, "this program was built later than this machine's clock says it is");
    }
    let ahead = |clocks: Clocks| clocks.server.as_millis() - clocks.own.as_millis();
    let alike = |it: &&Witness<'_>| u128::from(ahead(it.clocks).abs_diff(ahead(first))) < FAR.as_millis();
    let refuted = |it: &&Witness<'_>| {
        it.chain
            .first()
            .is_some_and(|leaf| leaf.validity().contains(it.clocks.own) && !leaf.validity().contains(it.clocks.server))
    };
    if possible.len() > 1 && possible.iter().all(alike) && !possible.iter().all(refuted) {
        return Wrong::Own(first, "all servers agree on another time");
    }
    if let Some(witness) = possible.iter().find(|it| vouched(it)) {
        return Wrong::Own(witness.clocks, "by the server's clock its certificates are in date, and not by ours");
    }
    Wrong::Servers(wrong)
}

/// Whether the certificates are in date by the server's clock, and the leaf is not by ours.
fn vouched(witness: &Witness<'_>) -> bool {
    let Clocks { own, server } = witness.clocks;
    let Some(leaf) = witness.chain.first() else { return false };
    !leaf.validity().contains(own) && witness.chain.iter().all(|it| it.validity().contains(server))
}

/// All clocks of a survey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hands {
    /// Those that could be read, with the place of their sight.
    each: Vec<(usize, Clocks)>,
    wrong: Wrong,
    /// The time it must be at least, by the certificates that were shown as well.
    least: Timestamp,
}

impl Hands {
    /// Reads and compares them.
    #[must_use]
    pub fn of(survey: &Survey) -> Self {
        let each: Vec<(usize, Clocks)> = survey
            .sights
            .iter()
            .enumerate()
            .filter_map(|(at, sight)| {
                let spoken = sight.http.as_ref()?.as_ref().ok()?;
                Some((at, read(&spoken.first)?))
            })
            .collect();
        let built = Timestamp::from_secs(BUILT.parse().unwrap_or(0));
        let well = if each.is_empty() { survey.at + FAR > built } else { each.iter().all(|(_, it)| it.agree()) };
        if well {
            return Self { each, wrong: Wrong::Servers(Vec::new()), least: built };
        }
        let chain =
            |at: usize| survey.sights[at].main.chain.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let chains: Vec<Vec<Certificate>> = each.iter().map(|(at, _)| chain(*at)).collect();
        let witnesses: Vec<Witness<'_>> =
            each.iter().zip(&chains).map(|((_, clocks), chain)| Witness { clocks: *clocks, chain }).collect();
        let wrong = compare(&witnesses, survey.at, built);
        let begins = (0..survey.sights.len()).filter_map(|at| Some(chain(at).first()?.validity().start));
        let least = begins.fold(built, Timestamp::max);
        Self { each, wrong, least }
    }

    /// The time to judge at: ours, put right when it is ours that is wrong.
    #[must_use]
    pub fn put_right(&self, own: Timestamp) -> Timestamp {
        match &self.wrong {
            Wrong::Own(clocks, _) => own + clocks.server.since(clocks.own) - clocks.own.since(clocks.server),
            Wrong::Before(_) => self.least,
            Wrong::Servers(_) => own,
        }
    }
}

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    match &case.hands.wrong {
        Wrong::Own(clocks, why) => vec![own(*clocks, why)],
        Wrong::Before(built) => vec![before(case.survey.at, *built, case.at)],
        Wrong::Servers(wrong) => {
            let told = |at: &usize| {
                let (sight, clocks) = case.hands.each[*at];
                case.views[sight].found(server(clocks))
            };
            wrong.iter().map(told).collect()
        }
    }
}

/// How far apart two times are.
pub(super) fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// How ours differs.
#[must_use]
pub fn own(clocks: Clocks, why: &str) -> Finding {
    Finding::new(Label::ClientClockWrong, format!("{}: {why}", told(clocks)))
}

/// How far ours is from any time that it can be.
fn before(own: Timestamp, built: Timestamp, judged: Timestamp) -> Finding {
    let seen = format!(
        "this machine's clock says {own}, and this program was built {} later, on {built}; verdicts are for {judged}",
        humane(built.since(own))
    );
    Finding::new(Label::ClientClockWrong, seen)
}

/// How a server's differs.
#[must_use]
pub fn server(clocks: Clocks) -> Finding {
    Finding::new(Label::ServerClockWrong, told(clocks))
}

fn told(Clocks { own, server }: Clocks) -> String {
    let way = if server > own { "ahead of" } else { "behind" };
    format!("the server's clock says {server}, {} {way} this machine's, {own}", humane(apart(own, server)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Authority, in_2026};
    use crate::probe::checks::hsts::tests::answer;

    const DAY: Duration = Duration::from_secs(86_400);

    fn shown(own: Timestamp, server: Timestamp) -> Clocks {
        Clocks { own, server }
    }

    #[test]
    fn one_server_that_differs_is_wrong_unless_its_certificates_vouch_for_it() {
        let root = Authority::root("Root");
        let chain = [root.leaf(&["a.test"])];
        let life = chain[0].validity();
        let inside = life.start + DAY;
        let long_ago = life.start - DAY * 4000;
        let compare = |own, server| compare(&[Witness { clocks: shown(own, server), chain: &chain }], own, long_ago);
        assert_eq!(compare(inside, inside + DAY / 2), Wrong::Servers(vec![]));
        assert_eq!(compare(inside, inside + DAY), Wrong::Servers(vec![0]), "both in date");
        assert_eq!(compare(inside, life.start - DAY * 400), Wrong::Servers(vec![0]));
        assert!(matches!(compare(life.start - DAY * 9, inside), Wrong::Own(..)), "ours is behind");
        assert!(matches!(compare(life.end + DAY * 9, inside), Wrong::Own(..)), "ours is ahead");
        assert_eq!(
            compare(life.end + DAY * 9, life.end + DAY * 9),
            Wrong::Servers(vec![]),
            "expired, and nobody is wrong"
        );
        assert_eq!(compare(life.end + DAY, life.end + DAY * 9), Wrong::Servers(vec![0]), "expired, and the server too");
        assert_eq!(compare(life.start - DAY * 9, life.start - DAY * 400), Wrong::Servers(vec![0]));
    }

    #[test]
    fn our_own_clock_is_wrong_when_it_is_the_odd_one_out() {
        let chain = [Authority::root("Root").leaf(&["a.test"])];
        let now = in_2026();
        let compare = |servers: &[Timestamp]| {
            let witnesses: Vec<_> =
                servers.iter().map(|it| Witness { clocks: shown(now, *it), chain: &chain }).collect();
            compare(&witnesses, now, now - DAY * 4000)
        };
        let (later, much) = (now + DAY * 3, now + DAY * 9000);
        assert!(matches!(compare(&[later, later + DAY / 3]), Wrong::Own(..)));
        assert_eq!(compare(&[later, now]), Wrong::Servers(vec![0]));
        assert_eq!(compare(&[later, later, now]), Wrong::Servers(vec![0, 1]));
        assert_eq!(compare(&[later, now - DAY * 3]), Wrong::Servers(vec![0, 1]), "they do not agree either");
        assert_eq!(compare(&[much, much]), Wrong::Servers(vec![0, 1]), "no certificate is in date then");
        assert_eq!(compare(&[]), Wrong::Servers(vec![]));
    }

    #[test]
    fn a_time_before_this_program_was_built_is_wrong() {
        let chain = [Authority::root("Root").leaf(&["a.test"])];
        let life = chain[0].validity();
        let inside = life.start + DAY;
        let after = life.end + DAY * 9;
        let compare = |own, servers: &[Timestamp], built| {
            let witnesses: Vec<_> =
                servers.iter().map(|it| Witness { clocks: shown(own, *it), chain: &chain }).collect();
            compare(&witnesses, own, built)
        };
        // It stopped while its certificate was in date, and we did not.
        assert_eq!(compare(after, &[inside], after - DAY), Wrong::Servers(vec![0]));
        assert_eq!(compare(after, &[inside, inside], after - DAY), Wrong::Servers(vec![0, 1]));
        assert!(matches!(compare(after, &[inside], inside), Wrong::Own(..)), "built while it was in date");
        // Both in date, and ours too early to be true.
        assert!(matches!(compare(inside, &[inside + DAY * 3], inside + DAY * 2), Wrong::Own(..)));
        assert_eq!(compare(inside, &[inside], inside + DAY * 2), Wrong::Servers(vec![]), "somebody agrees");
        assert_eq!(compare(inside, &[], inside + DAY * 2), Wrong::Before(inside + DAY * 2));
        assert_eq!(compare(inside, &[], inside + DAY / 2), Wrong::Servers(vec![]));
    }

    #[test]
    fn what_a_cache_kept_is_older_than_its_server() {
        let read = |fields: &[(&str, &str)]| read(&answer(200, fields).unwrap().first).map(|it| it.server.as_secs());
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read(&[date]), Some(784_111_777));
        assert_eq!(read(&[date, ("age", "1000000")]), Some(785_111_777));
        for nonsense in ["-5", "x", "999999999999999999", ""] {
            assert_eq!(read(&[date, ("age", nonsense)]), Some(784_111_777), "{nonsense:?}");
        }
        assert_eq!(read(&[("date", "yesterday")]), None);
        assert_eq!(read(&[]), None);
    }
}
