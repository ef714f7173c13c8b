//! The mutants of `tests/mutants` still fit the source: one that cannot be applied tests nothing. That each is caught is shown by
//! `tests/mutants/run`, which `tests/run --full` calls.

use crate::rig::{repository, require};
use std::fs;
use std::process::Command;

#[test]
fn every_mutant_still_fits_the_source_and_names_what_it_trips() {
    require("patch");
    let script = repository().join("tests/mutants/run");
    let output = Command::new(script).arg("--check").output().expect("the script starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let patches = fs::read_dir(repository().join("tests/mutants")).expect("it can be listed");
    let patches =
        patches.filter(|entry| entry.as_ref().is_ok_and(|it| it.path().extension().is_some_and(|it| it == "patch")));
    assert!(patches.count() >= 11, "at least the eleven that the simulation must catch");
}
