//! What everleaf promises stands in ARCHITECTURE.md, each line with the tests that hold it. This holds the table: nothing
//! without a test, and no test that is not there.

use crate::rig::repository;
use std::collections::BTreeMap;
use std::fs;

/// Files, issuance, deploying, saying: how many promises there are of each.
const PROMISED: [(char, usize); 4] = [('F', 6), ('I', 8), ('D', 5), ('S', 3)];

/// The table's rows: a promise's number, and the tests named for it as `FILE::TEST`, with the file below `tests/` or `src/`.
fn table() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (number, _promise, held) = (cells.next()?, cells.next()?, cells.next()?);
        let is_promise =
            PROMISED.iter().any(|(kind, _)| number.strip_prefix(*kind).is_some_and(|n| n.parse::<u8>().is_ok()));
        let tests = held.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        is_promise.then(|| (number.to_owned(), tests))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let table = table();
    for (kind, count) in PROMISED {
        for number in 1..=count {
            let promise = format!("{kind}{number}");
            let tests = table.get(&promise).unwrap_or_else(|| panic!("{promise} is not in the table"));
            assert!(!tests.is_empty(), "nothing holds {promise}");
            for test in tests {
                let (file, name) =
                    test.split_once("::").unwrap_or_else(|| panic!("{promise}: `{test}` is no FILE::TEST"));
                let text = fs::read_to_string(repository().join(file)).unwrap_or_default();
                // A macro's list of tests has their names without `fn`.
                let named = [format!("fn {name}("), format!(" {name}:"), format!("    {name} ")];
                assert!(named.iter().any(|named| text.contains(named)), "{promise}: there is no {test}");
            }
        }
    }
}
