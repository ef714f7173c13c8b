//! What is said of mistakes: `mistakes/NAME.yaml` is read, and `mistakes/NAME.txt` is what must be printed, whole.

use super::read;
use super::snapshot::snapshot;
use everleaf::config::{Report, parse};
use proptest::prelude::*;
use std::path::Path;

fn compare(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/mistakes");
    let text = std::fs::read_to_string(directory.join(name).with_extension("yaml")).expect("the mistakes");
    let errors = parse(&[(format!("{name}.yaml").into(), text)]).expect_err("it holds mistakes");
    let said = format!("{errors}\n");
    snapshot(&format!("config/mistakes/{name}"), &said);
}

macro_rules! mistakes {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            compare($name);
        })*

        #[test]
        fn every_text_is_compared() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/mistakes");
            let files = std::fs::read_dir(directory).expect("mistakes/").count();
            assert_eq!(files, 2 * [$($name),*].len());
        }
    };
}

mistakes! {
    roll_outs_that_are_none: "rollout",
    five_mistakes_in_one_certificate_are_five_errors: "five-in-one",
    syntax_errors_stand_alone: "syntax",
    tabs_are_named: "tab",
    keys_unknown_missing_or_twice: "keys",
    values_of_the_wrong_type: "types",
    names_that_are_none: "names",
    names_that_no_solver_proves: "solvers",
    references_to_nothing: "references",
    fleets_that_do_not_add_up: "fleet",
    groups_that_are_none: "groups",
    secrets_are_never_shown: "secrets",
    hooks_that_cannot_run: "hooks",
    spans_paths_and_modes: "spans-and-modes",
    endpoints_that_prove_nothing: "endpoints",
    issuers_that_cannot_be_used: "issuers",
    nothing_at_all: "empty",
}

#[test]
fn no_secret_of_the_example_is_in_what_is_said_of_it() {
    let text = include_str!("mistakes/secrets.yaml");
    let said = read(text).expect_err("mistakes").to_string();
    assert_eq!(text.matches("c2VjcmV0").count(), 6);
    assert!(!said.contains("c2VjcmV0"), "{said}");
}

#[test]
fn five_errors_have_five_places() {
    let report: Report = read(include_str!("mistakes/five-in-one.yaml")).expect_err("mistakes").0;
    let places: Vec<_> = report.problems().iter().map(|problem| report.place(problem)).collect();
    let lines: Vec<_> = places.iter().map(|(_, line, column)| (*line, *column)).collect();
    assert_eq!(lines, [(7, 31), (7, 53), (8, 5), (10, 28), (11, 28)]);
}

#[test]
fn an_unquoted_wildcard_is_told_with_its_remedy() {
    let said = read("version: 1\nx: [*.example.com]\n").expect_err("an alias").to_string();
    assert!(said.contains("help: quote it: \"*.example.com\""), "{said}");
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text = format!("{text}a{level}: &a{level} [{list}]\n");
    }
    let said = read(&text).expect_err("too much").to_string();
    assert!(said.contains("aliases repeat more than"), "{said}");
    let deep = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(read(&deep).expect_err("too deep").to_string().contains("nest deeper than"));
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let keys: Vec<String> = (0..100_000).map(|n| format!("k{n}: 1")).collect();
    let report = read(&keys.join("\n")).expect_err("mistakes").0;
    assert_eq!(report.problems().len(), 200);
}

/// Whole configurations cut, joined and garbled: whatever comes, an answer comes back.
fn fragment() -> impl Strategy<Value = String> {
    let whole = [
        include_str!("mistakes/five-in-one.yaml"),
        include_str!("mistakes/endpoints.yaml"),
        include_str!("mistakes/hooks.yaml"),
        include_str!("mistakes/secrets.yaml"),
        include_str!("../../examples/three-edges.yaml"),
        include_str!("../../examples/private-ca.yaml"),
        include_str!("../../examples/fleet.yaml"),
        include_str!("mistakes/groups.yaml"),
    ];
    let garbage = "[\\PC\t\n]{0,12}|[-:{}\\[\\],&*#?|<>!%@`'\" \n]{0,12}";
    (0..whole.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), garbage).prop_map(
        move |(which, from, to, garbage)| {
            let lines: Vec<&str> = whole[which].lines().collect();
            let (a, b) = (from.index(lines.len()), to.index(lines.len()));
            format!("{}\n{garbage}{}", lines[..a].join("\n"), lines[a.min(b)..].join("\n"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_an_answer_comes_back(first in fragment(), second in fragment()) {
        let files = [("a.yaml".into(), first), ("conf.d/b.yaml".into(), second)];
        match parse(&files) {
            Ok(loaded) => { let _ = (loaded.warnings.render(true), loaded.spec.rehearse()); }
            Err(errors) => {
                prop_assert!(!errors.0.problems().is_empty());
                for problem in errors.0.problems() {
                    let (file, line, column) = errors.0.place(problem);
                    prop_assert!(file.as_os_str().is_empty() || line >= 1 && column >= 1);
                }
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
