//! A renewal struck at every system call that changes something, and at every word to the CA: killed, or the call refused. The live
//! directory serves a matching pair at that moment, and one ordinary run afterwards ends live with one certificate issued. So do the
//! very first certificate, over files of somebody else, and one that a person forces.
//!
//! Each test takes a share of the blows. In the normal run these are SIGKILL at every call of a publish and of a journal of a
//! renewal, and a sample of everything else (`EVERLEAF_KILL_SEED` chooses another one); with `EVERLEAF_FULL=1`, all of them.

#![expect(clippy::print_stdout, reason = "a sweep reports its counts")]

mod judge;
mod points;
mod shop;
mod sweep;

use points::{Blow, Kind, Place};
use shop::Shop;
use sweep::{Sweep, full, sampled};

/// Shares of the renewal's blows, each a test.
const SHARES: u64 = 4;

/// How many shops are struck at once: most of a blow's time is waiting.
fn shops() -> u64 {
    if full() { 4 } else { 3 }
}

/// SIGKILL where something is published or journaled. Taking and letting go of a lock leaves nothing on the disk.
fn kill_that_counts(blow: &Blow) -> bool {
    let place = matches!(blow.point.place, Place::Publish | Place::Journal);
    blow.kind == Kind::Kill && place && blow.point.call.name != "flock"
}

/// Somebody asked for a renewal, and `run` makes it.
fn renewal(share: u64) {
    let chosen = |blow: &Blow| full() || kill_that_counts(blow) || sampled(blow, 60);
    let share = (share, SHARES);
    Sweep { shop: Shop::asked, stand: "asked", arguments: &["run"], chosen, shops: shops(), share }.run();
}

/// A sample of both kinds.
fn some(blow: &Blow) -> bool {
    full() || (kill_that_counts(blow) && sampled(blow, 6)) || sampled(blow, 120)
}

#[test]
fn the_first_certificate_struck() {
    Sweep { shop: Shop::new, stand: "bare", arguments: &["run"], chosen: some, shops: shops(), share: (0, 1) }.run();
}

#[test]
fn a_forced_renewal_struck() {
    let arguments = &["renew", "shop", "--force"];
    Sweep { shop: Shop::asked, stand: "live", arguments, chosen: some, shops: shops(), share: (0, 1) }.run();
}

macro_rules! shares {
    ($($name:ident $share:literal)*) => {
        $(#[test]
        fn $name() {
            renewal($share);
        })*
    };
}

shares! {
    a_renewal_struck_1 0
    a_renewal_struck_2 1
    a_renewal_struck_3 2
    a_renewal_struck_4 3
}
