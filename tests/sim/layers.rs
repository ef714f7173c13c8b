//! The layers of ARCHITECTURE.md, held by reading what each module names. Code of tests is not looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may name what of the project, besides itself. What is not here may name everything.
const MAY_NAME: [(&str, &[&str]); 18] = [
    ("types", &[]),
    ("config", &["types"]),
    ("disk", &["types"]),
    ("pki", &["types", "config"]),
    ("net", &["types"]),
    ("ports", &["types", "config"]),
    ("core", &["types", "config", "ports"]),
    ("hook", &["types", "config", "ports"]),
    ("publish", &["types", "config", "disk", "pki"]),
    ("state", &["types", "config", "ports", "disk", "pki"]),
    ("acme", &["types", "config", "ports", "net"]),
    ("solver", &["types", "config", "ports", "net", "hook", "disk"]),
    ("deploy", &["types", "config", "ports", "hook", "publish", "pki"]),
    ("probe", &["types", "config", "ports", "net", "hook", "pki"]),
    ("notify", &["types", "config", "ports", "net", "hook"]),
    ("alarm", &["types", "ports", "hook"]),
    ("agent", &["types", "config", "ports", "core"]),
    ("report", &["types", "config", "ports", "core"]),
];

/// What only wants the checked specification names nothing else of the configuration.
const ONLY_THE_SPEC: [&str; 13] = [
    "ports", "core", "hook", "publish", "pki", "state", "acme", "solver", "deploy", "probe", "notify", "agent",
    "report",
];

/// What decides does not act: no clock, no file, no socket, no process, no logger.
const PURE: [&str; 7] =
    ["core", "pki/gate", "pki/ocsp", "pki/revocation", "probe/judge", "probe/chain", "probe/checks"];
const IMPURE: [&str; 12] = [
    "tokio",
    "reqwest",
    "hickory",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "tracing",
    "println!",
    "rand::",
];

struct Source {
    /// Below `src/`, without `.rs`.
    module: String,
    text: String,
}

impl Source {
    fn top(&self) -> &str {
        self.module.split('/').next().unwrap_or_default()
    }
}

/// Every file below `src/`, without its tests and comments.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("src can be listed") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let module = path.strip_prefix(&root).expect("below src").with_extension("");
            let module = module.to_string_lossy().into_owned();
            if !module.ends_with("/tests") && !module.ends_with("/testing") && !module.contains("/tests/") {
                found.push(Source { module, text: code(&fs::read_to_string(&path).expect("it is text")) });
            }
        }
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of the project that a text names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let word =
        |rest: &str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
    text.split("crate::").skip(1).map(move |rest| &rest[..word(rest)])
}

#[test]
fn each_layer_names_only_what_lies_below_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((layer, allowed)) = MAY_NAME.iter().find(|(layer, _)| *layer == source.top()) else { continue };
        for path in named(&source.text) {
            let other = path.split(':').next().unwrap_or_default();
            let deeper = path.contains("::");
            let module = deeper && other.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if module && other != *layer && !allowed.contains(&other) {
                wrong.push(format!("{} names {path}", source.module));
            }
            let unchecked = other == "config" && !path.starts_with("config::spec");
            if unchecked && ONLY_THE_SPEC.contains(layer) {
                wrong.push(format!("{} names {path}, and not only the specification", source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_decides_names_nothing_that_acts() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let pure = |layer: &str| source.module == *layer || source.module.starts_with(&format!("{layer}/"));
        if PURE.iter().any(|layer| pure(layer)) {
            seen += 1;
            let named = IMPURE.iter().filter(|word| source.text.contains(**word));
            wrong.extend(named.map(|word| format!("{} names {word}", source.module)));
        }
    }
    assert!(seen > 15, "only {seen} files are held pure");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
