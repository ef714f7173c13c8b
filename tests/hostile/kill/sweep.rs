//! Many blows, each on a shop put back as it was, shared out over threads; what fell short is told with its call.

use super::judge::Before;
use super::points::{Blow, Kind, Struck, blows, survey};
use super::shop::Shop;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// A blow that met another call than was meant is repeated so often; what it met is judged each time.
const TRIES: usize = 4;

/// What is struck, and how much of it.
pub(crate) struct Sweep {
    /// How a shop is made.
    pub(crate) shop: fn() -> Shop,
    /// How it stands before each blow.
    pub(crate) stand: &'static str,
    /// What is run.
    pub(crate) arguments: &'static [&'static str],
    /// Which blows of all.
    pub(crate) chosen: fn(&Blow) -> bool,
    /// How many shops are struck at once.
    pub(crate) shops: u64,
    /// Which share of the blows, and how many shares there are.
    pub(crate) share: (u64, u64),
}

/// What came of a share.
#[derive(Default)]
struct Tally {
    struck: BTreeMap<Kind, usize>,
    unmet: Vec<String>,
    bad: Vec<String>,
    unhealed: Vec<String>,
}

/// Whether everything is swept, and not a sample.
pub(crate) fn full() -> bool {
    std::env::var_os("EVERLEAF_FULL").is_some()
}

/// One in so many, the same ones each time with the same `EVERLEAF_KILL_SEED`.
pub(crate) fn sampled(blow: &Blow, one_in: u64) -> bool {
    number(&(seed(), blow.to_string())).is_multiple_of(one_in)
}

fn seed() -> String {
    std::env::var("EVERLEAF_KILL_SEED").unwrap_or_else(|_| "1".to_owned())
}

/// The same for the same value in every process.
fn number(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Sweep {
    /// Strikes, and fails with every blow that left something broken or unhealed.
    #[track_caller]
    pub(crate) fn run(&self) {
        let begin = Instant::now();
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.shops).map(|worker| scope.spawn(move || self.strike_all(worker))).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker ends")).collect()
        });
        let mut all = Tally::default();
        for tally in tallies {
            tally.struck.into_iter().for_each(|(kind, count)| *all.struck.entry(kind).or_default() += count);
            all.unmet.extend(tally.unmet);
            all.bad.extend(tally.bad);
            all.unhealed.extend(tally.unhealed);
        }
        let total: usize = all.struck.values().sum();
        let (bad, unhealed, unmet) = (all.bad.len(), all.unhealed.len(), all.unmet.len());
        println!(
            "`everleaf {}` on a shop {}, share {} of {}, seed {}: {total} blows ({:?}), {bad} bad, {unhealed} unhealed, {unmet} \
             not met, in {:.0?}",
            self.arguments.join(" "),
            self.stand,
            self.share.0 + 1,
            self.share.1,
            seed(),
            all.struck,
            begin.elapsed(),
        );
        all.unmet.iter().for_each(|blow| println!("not met: {blow}"));
        let failures: Vec<String> = all.bad.into_iter().chain(all.unhealed).collect();
        assert!(failures.is_empty(), "{bad} bad, {unhealed} unhealed of {total}:\n{}", failures.join("\n"));
        assert!(total > 0 && unmet * 10 <= total, "{unmet} of {total} calls were not met:\n{}", all.unmet.join("\n"));
    }

    fn strike_all(&self, worker: u64) -> Tally {
        let shop = (self.shop)();
        let command = shop.command(self.arguments);
        shop.put_back(self.stand);
        let points = survey(&shop, &command);
        let (share, shares) = (self.share.0 * self.shops + worker, self.share.1 * self.shops);
        let mine = |blow: &Blow| number(&blow.to_string()) % shares == share && (self.chosen)(blow);
        let mut tally = Tally::default();
        for mut blow in blows(&points).into_iter().filter(mine) {
            let met = (0..TRIES).any(|_| self.strike(&shop, &mut blow, &command, &mut tally));
            *tally.struck.entry(blow.kind).or_default() += 1;
            if !met {
                tally.unmet.push(blow.to_string());
            }
        }
        tally
    }

    /// One blow and its judgement. Says whether it met the call that was meant.
    fn strike(&self, shop: &Shop, blow: &mut Blow, command: &std::process::Command, tally: &mut Tally) -> bool {
        shop.put_back(self.stand);
        let before = Before::of(shop);
        let Struck { output, met } = blow.strike(shop, command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let call = met.clone().unwrap_or_else(|| "another call".to_owned());
        let tell = |why: &str| format!("{blow} (met: {call}): {why}\n    it said: {}", said.trim_end());
        let stands = before.stands(shop).and_then(|()| match (blow.kind, output.status.code()) {
            // Where something was said, it may be that there is no status to look at; an interrupted call is nothing to speak of.
            (kind, Some(0)) if said.is_empty() || (kind == Kind::Error("EINTR") && met.is_some()) => {
                before.done(shop).map_err(|why| format!("exit 0, but {why}"))
            }
            (Kind::Error("EINTR"), code) if met.is_some() => Err(format!("an interrupted call ended it: {code:?}")),
            (Kind::Error(_), Some(_)) if said.is_empty() => Err("it failed without a word".to_owned()),
            _ => Ok(()),
        });
        if let Err(why) = stands {
            tally.bad.push(tell(&why));
        }
        if let Err(why) = before.healed(shop) {
            tally.unhealed.push(tell(&why));
        }
        met.as_ref() == Some(&blow.point.what)
    }
}
