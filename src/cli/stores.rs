//! Trust stores as they are named with `--ca`.

use crate::config::spec::Roots;
use crate::pki::{Anchors, RootStore};
use crate::probe::chain::{MOZILLA, Source, Store};
use crate::types::{Class, Failure};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The trust store of the machine.
const SYSTEM: &str = "system";

/// The trust stores that were asked for; the machine's where none was.
pub(super) fn stores(typed: &[PathBuf]) -> Result<Vec<Store>, Failure> {
    let system = [Path::new(SYSTEM).to_owned()];
    let typed = if typed.is_empty() { &system[..] } else { typed };
    typed.iter().map(|path| store(path)).collect()
}

fn store(path: &Path) -> Result<Store, Failure> {
    let advise = |failure: Failure| failure.advise("Install ca-certificates, or name a PEM file of roots with --ca.");
    if path == Path::new(SYSTEM) {
        let anchors = Rc::new(Anchors::system().map_err(advise)?);
        return Ok(Store { name: SYSTEM.to_owned(), anchors, source: Source::System });
    }
    if path == Path::new(MOZILLA) {
        return Store::mozilla();
    }
    let name = path.display().to_string();
    if path.exists() && !path.is_file() {
        return Err(advise(Failure::new(Class::Operator, "roots:unreadable", name, "it is no regular file")));
    }
    let anchors = RootStore::default().load(&Roots::File(path.to_owned())).map_err(advise)?;
    Ok(Store { name, anchors, source: Source::File })
}
