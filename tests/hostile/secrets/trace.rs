//! What strace saw: who was started with what, and how files came to be.

use std::collections::BTreeMap;
use std::path::Path;

/// One call that succeeded.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// From the name on.
    pub(crate) line: String,
}

/// The calls of a log written by `strace -f -o`. One that another thread interrupted is put together again.
pub(crate) fn calls(log: &str) -> Vec<Call> {
    let mut begun: BTreeMap<u32, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(pid) = pid.parse::<u32>() else { continue };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, beginning.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => format!("{}{end}", begun.remove(&pid).unwrap_or_default()),
            None => rest.to_owned(),
        };
        let failed = whole.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with("-1 "));
        if let Some((name, _)) = whole.split_once('(').filter(|_| !failed) {
            calls.push(Call { pid, name: name.to_owned(), line: whole.clone() });
        }
    }
    calls
}

impl Call {
    /// The file that its file descriptor, or its result, stands for (`strace -y`).
    pub(crate) fn file(&self) -> Option<&str> {
        let place = match self.name.as_str() {
            "openat" => self.line.rsplit_once(" = ")?.1,
            _ => self.line.split_once('(')?.1,
        };
        place.split_once('<')?.1.split_once('>').map(|(path, _)| path)
    }

    /// The mode in its arguments: the last octal number.
    pub(crate) fn mode(&self) -> Option<u32> {
        let arguments = self.line.rsplit_once(" = ")?.0.trim_end().strip_suffix(')')?;
        u32::from_str_radix(arguments.rsplit_once(", ")?.1, 8).ok()
    }

    /// Whether it makes a file below `root`.
    pub(crate) fn creates_below(&self, root: &Path) -> bool {
        self.name == "openat"
            && self.line.contains("O_CREAT")
            && self.file().is_some_and(|file| Path::new(file).starts_with(root))
    }
}
