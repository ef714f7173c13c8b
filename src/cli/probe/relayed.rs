//! The other end of `--via`: what another everleaf asks on standard input.

use super::targets::{Against, Asked, Look};
use crate::cli::Stop;
use crate::cli::screen::Screen;
use crate::probe::relay::{Ask, Looked, MOST_ASKED};
use crate::types::{Class, Failure, Vantage};
use crate::wire;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::io::Read as _;

/// Reads what is asked.
///
/// # Errors
/// Code `probe:asked` when it cannot be read or understood.
pub(super) fn ask() -> Result<Ask, Failure> {
    let mut text = Vec::new();
    let most = MOST_ASKED as u64;
    std::io::stdin().take(most + 1).read_to_end(&mut text).map_err(|error| {
        Failure::new(Class::Retry, "probe:asked", "standard input", format!("it cannot be read: {error}"))
    })?;
    Ask::read(&text)
}

/// What a probe is asked for.
pub(super) fn asked(ask: &Ask) -> Asked {
    let resolvers = ask.resolvers.clone();
    match ask.queries(&wire::host()) {
        Ok(queries) => {
            let look = |query| Look { query, against: Against::Nothing, from: Vantage::Here };
            Asked { looks: queries.into_iter().map(look).collect(), resolvers, ..Asked::default() }
        }
        Err(failure) => Asked { unusable: vec![failure], resolvers, ..Asked::default() },
    }
}

/// Takes the looks of a confirm step and answers each as it is done.
pub(super) fn looks(screen: Screen, ask: &Ask, resolvers: &[std::net::SocketAddr]) -> Result<u8, Stop> {
    let shown: Result<(), Stop> = wire::block_on(async {
        let prober = wire::prober(resolvers)?;
        let prober = &prober;
        let looks = ask.looks().iter().enumerate();
        let mut looks: FuturesUnordered<_> =
            looks.map(|(at, look)| async move { Looked::new(at, prober.relayed(look).await) }).collect();
        while let Some(looked) = looks.next().await {
            if let Err(stop) = screen.json_text(&looked).and_then(|text| screen.data(&text)) {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(()))
    })?;
    shown.map(|()| 0)
}
