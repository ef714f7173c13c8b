//! What everleaf is made of, held to `deny.toml`: licences, bans and sources of every package that is built into it, as
//! `cargo metadata` names them. `cargo deny check` says more (advisories), and is not everywhere.

use crate::rig::repository;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// Where crates may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One package of the tree.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for a path: this repository itself.
    source: Option<String>,
}

/// What `deny.toml` allows.
struct Policy {
    targets: Vec<String>,
    licences: Vec<String>,
    banned: BTreeSet<String>,
}

impl Policy {
    fn read(text: &str) -> Self {
        let table: toml::Table = text.parse().expect("deny.toml is TOML");
        let words = |section: &str, key: &str| -> Vec<String> {
            let list =
                table[section][key].as_array().unwrap_or_else(|| panic!("deny.toml: {section}.{key} is no list"));
            let word = |entry: &toml::Value| entry.as_str().or_else(|| entry.get("crate")?.as_str()).map(str::to_owned);
            list.iter()
                .map(|entry| word(entry).unwrap_or_else(|| panic!("deny.toml: {section}.{key}: {entry}")))
                .collect()
        };
        for unknown in ["unknown-registry", "unknown-git"] {
            assert_eq!(table["sources"][unknown].as_str(), Some("deny"), "deny.toml: sources.{unknown}");
        }
        let bans = words("bans", "deny");
        // Only whole crates are banned; a version requirement would need more than this reader.
        assert!(bans.iter().all(|name| !name.contains(['@', ':'])), "{bans:?}");
        Self {
            targets: words("graph", "targets"),
            licences: words("licenses", "allow"),
            banned: bans.into_iter().collect(),
        }
    }

    /// Everything that is wrong with a package.
    fn complaints(&self, package: &Package) -> Vec<String> {
        let mut wrong = Vec::new();
        let who = format!("{} {}", package.name, package.version);
        if self.banned.contains(&package.name) {
            wrong.push(format!("{who} is banned"));
        }
        if package.source.as_ref().is_some_and(|source| source != REGISTRY) {
            wrong.push(format!("{who} comes from {:?}", package.source));
        }
        match &package.license {
            None => wrong.push(format!("{who} names no licence")),
            Some(text) => match spdx::Expression::parse_mode(text, spdx::ParseMode::LAX) {
                Err(error) => wrong.push(format!("{who}: {text:?} is no SPDX expression: {error}")),
                Ok(expression) => {
                    // An exception belongs to its licence: `Apache-2.0 WITH LLVM-exception` is allowed as a whole.
                    if !expression.evaluate(|asked| self.licences.contains(&asked.to_string())) {
                        wrong.push(format!("{who} is under {text}, which deny.toml does not allow"));
                    }
                }
            },
        }
        wrong
    }
}

fn metadata(target: &str) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ask = |extra: &[&str]| {
        let asked = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
        Command::new(&cargo).args(asked).args(extra).current_dir(repository()).output().expect("cargo starts")
    };
    // Built from here, everything is on this machine already; only another target's crates may be missing.
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]);
    }
    assert!(output.status.success(), "cargo metadata for {target}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a dependency is built with these features. The resolution in the lock file names an optional one also where a feature
/// only says what to ask of it if it is there (`ring?/std`).
fn is_enabled(package: &Value, name: &str, features: &[&str]) -> bool {
    let called = |dependency: &Value| {
        let name = dependency["rename"].as_str().or_else(|| dependency["name"].as_str()).unwrap_or_default();
        name.replace('-', "_")
    };
    let declared = array(package, "dependencies").iter().filter(|dependency| dependency["kind"] != "dev");
    let mut declared = declared.filter(|dependency| called(dependency) == name).peekable();
    // A library may be called otherwise than its package: it is then taken for one that is always there.
    if declared.peek().is_none() || declared.any(|dependency| dependency["optional"] != true) {
        return true;
    }
    let enables = |asked: &Value| {
        let asked = asked.as_str().unwrap_or_default();
        let whole = asked.strip_prefix("dep:").or_else(|| asked.split_once('/').map(|(whole, _)| whole));
        whole.is_some_and(|whole| !whole.ends_with('?') && whole.replace('-', "_") == name)
    };
    features.iter().any(|feature| array(&package["features"], feature).iter().any(enables))
}

/// The packages that are built into everleaf or run while it is built; what only its tests need is left out.
fn built_in(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let packages: BTreeMap<&str, &Value> =
        array(metadata, "packages").iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"], "nodes").iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let mut reached = BTreeSet::new();
    let mut ahead = vec![metadata["resolve"]["root"].as_str().expect("a root")];
    while let Some(id) = ahead.pop() {
        if !reached.insert(id) {
            continue;
        }
        let features: Vec<&str> = array(nodes[id], "features").iter().filter_map(Value::as_str).collect();
        for dependency in array(nodes[id], "deps") {
            let wanted = array(dependency, "dep_kinds").iter().any(|kind| kind["kind"] != "dev");
            let name = dependency["name"].as_str().expect("a name");
            if wanted && is_enabled(packages[id], name, &features) {
                ahead.extend(dependency["pkg"].as_str());
            }
        }
    }
    let package = |id: &&str| {
        let it = packages[*id];
        let [name, version] = ["name", "version"].map(|key| text(it, key).expect("it has one"));
        Package { name, version, license: text(it, "license"), source: text(it, "source") }
    };
    reached.iter().map(package).collect()
}

fn policy() -> Policy {
    Policy::read(&fs::read_to_string(repository().join("deny.toml")).expect("deny.toml"))
}

#[test]
fn licences_bans_and_sources_are_as_deny_toml_wants_them() {
    let policy = policy();
    assert!(!policy.targets.is_empty() && policy.licences.len() > 3 && policy.banned.contains("openssl-sys"));
    for target in &policy.targets {
        let packages = built_in(&metadata(target));
        let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert!(names.len() > 100 && names.contains("rustls"), "only {} packages were found for {target}", names.len());
        assert!(!names.contains("proptest"), "what only tests need is no part of it");
        let wrong: Vec<String> = packages.iter().flat_map(|package| policy.complaints(package)).collect();
        assert!(wrong.is_empty(), "for {target}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn what_deny_toml_forbids_is_noticed() {
    let policy = policy();
    let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        license: license.map(str::to_owned),
        source: source.map(str::to_owned),
    };
    for (license, allowed) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR GPL-2.0-only) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("MIT WITH LLVM-exception", false),
        ("OpenSSL", false),
        ("whatever you like", false),
    ] {
        let complaints = policy.complaints(&package("thing", Some(license), Some(REGISTRY)));
        assert_eq!(complaints.is_empty(), allowed, "{license}: {complaints:?}");
    }
    let complain = |package: Package| policy.complaints(&package).len();
    assert_eq!(complain(package("ring", Some("MIT"), Some(REGISTRY))), 1, "a banned crate");
    assert_eq!(complain(package("thing", None, Some(REGISTRY))), 1, "no licence");
    assert_eq!(complain(package("thing", Some("MIT"), Some("git+https://example.com/thing"))), 1, "another source");
    assert_eq!(
        complain(package("thing", Some("MIT"), Some("registry+https://example.com/index"))),
        1,
        "another registry"
    );
    assert_eq!(complain(package("everleaf", Some("MIT OR Apache-2.0"), None)), 0, "this repository");
}
