//! Tells the program when it was built: a clock that shows an earlier time is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // Who builds reproducibly says when it is (https://reproducible-builds.org/specs/source-date-epoch/).
    let named = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=EVERLEAF_BUILT={}", named.unwrap_or_else(now));
}
