//! What every command starts from: the screen and the configuration.

use super::Stop;
use super::screen::Screen;
use crate::config::spec::Spec;
use crate::config::{self, Loaded};
use crate::report::{Progress, Snapshot};
use crate::types::{CertName, Printable};
use crate::wire::{App, Readable, Watch, read_status};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Where the configuration lies when nobody says.
const CONFIG: &str = "/etc/everleaf/everleaf.yaml";
/// Names another configuration.
const CONFIG_VARIABLE: &str = "EVERLEAF_CONFIG";
/// Where the status file lies when the configuration does not say.
const RUN: &str = "/run/everleaf";
/// The largest configuration whose run directory is looked for.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// So many certificates at once are counted, and not told of step by step.
pub(super) const MANY: usize = 5;
/// Names listed in a message at most.
const LISTED: usize = 12;

/// What every command starts from.
pub(super) struct Context {
    /// Where it speaks.
    pub(super) screen: Screen,
    /// The configuration's file.
    pub(super) config: PathBuf,
}

/// The little of a configuration that readers without rights need.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Glance {
    paths: GlancePaths,
    every: Option<String>,
}

/// Read apart from [`Glance`]: a mistake here must not hide where the status lies.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GlanceResolvers {
    resolvers: OneOrMore,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GlancePaths {
    run: Option<PathBuf>,
}

/// Where the status lies, and how often it is written as far as the configuration says.
pub(super) struct Whereabouts {
    pub(super) run: PathBuf,
    pub(super) every: Option<Duration>,
}

impl Context {
    pub(super) fn new(screen: Screen, typed: Option<PathBuf>) -> Self {
        let variable = || std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { screen, config: typed.or_else(variable).unwrap_or_else(|| PathBuf::from(CONFIG)) }
    }

    /// The whole configuration. Its warnings are shown to whoever watches.
    pub(super) fn load(&self) -> Result<Spec, Stop> {
        let loaded = config::load(&self.config).map_err(|errors| Stop::Config(Box::new(errors)))?;
        let Loaded { spec, warnings, .. } = loaded;
        if !warnings.is_empty() {
            self.screen.chat(&warnings.render(self.screen.talk_paint.colour));
        }
        Ok(spec)
    }

    /// The configuration, where there is one that can be used: for commands that also work without.
    pub(super) fn known(&self) -> Option<Spec> {
        config::load(&self.config).ok().map(|loaded| loaded.spec)
    }

    /// Everything a command that changes something works with.
    pub(super) fn open(&self) -> Result<App, Stop> {
        let program = std::env::current_exe().map_or_else(|_| PathBuf::from("everleaf"), |path| in_place(&path));
        let config = std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone());
        let words = [program.as_path(), Path::new("--config"), config.as_path(), Path::new("run")];
        let command = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(App::open(self.load()?, command)?)
    }

    /// How a command shows what it does.
    pub(super) fn watch(&self) -> Rc<Watch> {
        let Screen { log_json, volume, watched, .. } = self.screen;
        let progress = match () {
            () if log_json || volume < 0 => Progress::quiet(),
            () if watched => Progress::terminal(),
            () if volume > 0 => Progress::lines(),
            () => Progress::quiet(),
        };
        Rc::new(Watch::new(progress, log_json))
    }

    /// The same for `all` certificates that somebody asked for at once, who wants to see that something moves even where no
    /// terminal is.
    pub(super) fn watch_many(&self, all: usize) -> Rc<Watch> {
        let Screen { log_json, volume, watched, width, .. } = self.screen;
        if log_json || volume != 0 || all < MANY {
            return self.watch();
        }
        Rc::new(Watch::new(Progress::many(Some(all), watched, width), log_json))
    }

    /// The same for a pass over `all` certificates, of which some are due: for whoever watches.
    pub(super) fn watch_due(&self, all: usize) -> Rc<Watch> {
        let Screen { log_json, volume, watched, width, .. } = self.screen;
        if log_json || volume != 0 || !watched || all < MANY {
            return self.watch();
        }
        Rc::new(Watch::new(Progress::many(None, watched, width), log_json))
    }

    /// Where the status lies. Needs no more of the configuration than its `paths:`, so that readers need no rights.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        let glance: Glance = self.glance();
        let every = glance.every.and_then(|every| humantime::parse_duration(&every).ok());
        Whereabouts { run: glance.paths.run.unwrap_or_else(|| PathBuf::from(RUN)), every }
    }

    /// The resolvers that the configuration names; none where there is none or it names none.
    pub(super) fn resolvers(&self) -> Vec<SocketAddr> {
        const DNS: u16 = 53;
        let named = match self.glance::<GlanceResolvers>().resolvers {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        let place =
            |text: String| text.parse().or_else(|_| text.parse().map(|it: IpAddr| SocketAddr::new(it, DNS))).ok();
        named.into_iter().filter_map(place).collect()
    }

    /// A part of the configuration, as far as it can be read.
    fn glance<T: DeserializeOwned + Default>(&self) -> T {
        let small = std::fs::metadata(&self.config).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_CONFIG);
        let text = if small { std::fs::read_to_string(&self.config).ok() } else { None };
        text.and_then(|text| serde_yaml::from_str(&text).ok()).unwrap_or_default()
    }

    /// The status that the last pass left, if there is one.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>, Stop> {
        match read_status(&self.whereabouts().run)? {
            Readable::There(snapshot) => Ok(Some(*snapshot)),
            Readable::Absent => Ok(None),
        }
    }
}

/// Where a program lies. The kernel marks the one that this process was started from when an update has replaced it since.
fn in_place(program: &Path) -> PathBuf {
    const REPLACED: &[u8] = b" (deleted)";
    let octets = program.as_os_str().as_bytes();
    octets.strip_suffix(REPLACED).map_or_else(|| program.to_owned(), |path| PathBuf::from(OsStr::from_bytes(path)))
}

/// The names typed, each of them known.
pub(super) fn known<'a>(typed: &[String], all: impl Iterator<Item = &'a CertName>) -> Result<Vec<CertName>, Stop> {
    let all: Vec<&CertName> = all.collect();
    let mut chosen: Vec<CertName> = Vec::new();
    for word in typed {
        match all.iter().find(|name| name.as_str() == word) {
            Some(name) if chosen.contains(name) => {}
            Some(name) => chosen.push((*name).clone()),
            None => return Err(Stop::Usage(unknown("certificate", word, &all))),
        }
    }
    Ok(chosen)
}

/// What is said of a name that nothing has.
pub(super) fn unknown(kind: &str, word: &str, all: &[impl Display]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    let words: Vec<&str> = all.iter().map(String::as_str).collect();
    let shown = Printable::new(word);
    match config::nearest(word, &words) {
        Some(near) => format!("no {kind} is called {shown:?}; did you mean {near:?}?"),
        None if words.is_empty() => format!("no {kind} is called {shown:?}; none is known"),
        None if words.len() <= LISTED => format!("no {kind} is called {shown:?}; there are: {}", words.join(", ")),
        None => format!("no {kind} is called {shown:?}; `everleaf status` names all {}", words.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_updated_lies_where_it_lay() {
        for lies in ["/usr/bin/everleaf", "/usr/bin/everleaf (deleted)"] {
            assert_eq!(in_place(Path::new(lies)), Path::new("/usr/bin/everleaf"));
        }
    }
}
