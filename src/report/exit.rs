//! Exit codes and which of several wins.

use crate::types::{Class, Failure};

/// Live, or nothing was due.
pub const OK: u8 = 0;
/// A person is needed.
pub const OPERATOR: u8 = 1;
/// Something changed; only with `--detailed-exitcode`.
pub const CHANGED: u8 = 10;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// A file holds what cannot be used (`EX_DATAERR`).
pub const DATA: u8 = 65;
/// A defect of everleaf (`EX_SOFTWARE`).
pub const INTERNAL: u8 = 70;
/// It failed in passing; state is kept (`EX_TEMPFAIL`).
pub const TEMPORARY: u8 = 75;
/// Rights are missing (`EX_NOPERM`).
pub const PERMISSION: u8 = 77;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// The highest concern first.
const PRECEDENCE: [u8; 12] = [INTERNAL, CONFIG, PERMISSION, DATA, USAGE, 11, OPERATOR, 20, 21, TEMPORARY, CHANGED, OK];

/// The code of the highest concern among `codes`; [`OK`] when there are none.
pub fn highest(codes: impl IntoIterator<Item = u8>) -> u8 {
    let rank = |code: &u8| PRECEDENCE.iter().position(|known| known == code).unwrap_or(0);
    codes.into_iter().min_by_key(rank).unwrap_or(OK)
}

/// The exit code of a failure that kept everleaf from working at all.
#[must_use]
pub fn of_failure(failure: &Failure) -> u8 {
    let code = failure.code.as_str();
    let ends = |word: &str| code.rsplit(':').next() == Some(word);
    match failure.class {
        _ if code == "internal" => INTERNAL,
        _ if code == "state:newer" => CONFIG,
        _ if ["eacces", "eperm", "owner", "mode"].iter().any(|word| ends(word)) => PERMISSION,
        _ if ends("damaged") || ends("unreadable") => DATA,
        Class::Spec => CONFIG,
        Class::Operator => OPERATOR,
        Class::HoldUntil => 21,
        Class::Retry => TEMPORARY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_concern_wins_whatever_the_order() {
        assert_eq!(highest([]), 0);
        assert_eq!(highest([0, 10, 75, 21, 20]), 20);
        assert_eq!(highest([20, 1, 0]), 1);
        assert_eq!(highest([1, 11, 64]), 64);
        assert_eq!(highest([78, 70, 77]), 70);
        assert_eq!(highest([10, 0]), 10);
    }

    #[test]
    fn rights_and_newer_state_have_codes_of_their_own() {
        let code = |class, word: &str| of_failure(&Failure::new(class, word, "/x", "y"));
        assert_eq!(code(Class::Operator, "state:eacces"), PERMISSION);
        assert_eq!(code(Class::Operator, "state:newer"), CONFIG);
        assert_eq!(code(Class::Operator, "account:damaged"), DATA);
        assert_eq!(code(Class::Retry, "net:timeout"), TEMPORARY);
    }
}
