//! What two everleafs say to each other.

use super::said;
use everleaf::deploy::bundle::{Asked, Bundle, MOST_BUNDLED, Outcome, Received};
use everleaf::ports::Shown;
use everleaf::probe::relay::{Ask, Looked};
use everleaf::types::Printable;
use std::time::Duration;

/// What another everleaf asks on standard input.
pub(crate) fn asked(bytes: &[u8]) {
    match Ask::read(bytes) {
        Ok(ask) => {
            match ask.queries(&Printable::new("here")) {
                Ok(queries) => assert!(queries.iter().all(|query| !query.stores.is_empty())),
                Err(failure) => said::failure(&failure),
            }
            for look in ask.looks() {
                let endpoint = look.endpoint();
                assert!((1..=1000).contains(&look.look(&endpoint).handshakes));
                assert!(look.over() <= Duration::from_secs(600));
            }
        }
        Err(failure) => said::failure(&failure),
    }
}

/// What a vantage answers to a look.
pub(crate) fn looked(line: &[u8]) {
    let leaf = "01".repeat(32);
    let asked = format!(
        "{{\"schema\":\"everleaf.ask/1\",\"looks\":[{{\"host\":\"192.0.2.1\",\"port\":443,\"name\":\"a.example\",\
         \"starttls\":\"no\",\"leaf\":\"{leaf}\",\"chain\":[\"{leaf}\"],\"family\":\"ecdsa\",\"handshakes\":4,\"over_ms\":1000}}]}}"
    );
    let asked = Ask::read(asked.as_bytes()).expect("a question");
    match Looked::read(line, asked.looks()) {
        Ok(looked) => {
            assert!(looked.at == 0 && !looked.observations.is_empty());
            for observation in &looked.observations {
                observation.notes.iter().for_each(said::printable);
                match &observation.shown {
                    Shown::Wanted => assert_eq!(observation.matched, 4),
                    Shown::BrokenChain { message } => said::printable(message),
                    Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } => said::failure(failure),
                    Shown::Other { .. } => {}
                    Shown::NotLooked { .. } => panic!("it looked, or says nothing"),
                }
            }
            said::again(&looked.observations);
        }
        Err(why) => said::failure(&why.failure("ssh://edge")),
    }
}

/// What another everleaf sends to be published.
pub(crate) fn bundle(stdin: &[u8]) {
    match Bundle::read(stdin) {
        Ok(Bundle { asked, parcel, .. }) => {
            assert!(stdin.len() <= MOST_BUNDLED, "{} bytes are read", stdin.len());
            match (&asked, parcel) {
                (Asked::Deploy { files, .. }, Some(parcel)) => {
                    assert!(files.cert.is_of(&parcel.cert) && files.chain.is_of(&parcel.chain));
                    assert!(files.privkey.is_of(parcel.privkey.reveal()));
                }
                (Asked::Deploy { .. }, None) | (_, Some(_)) => panic!("files come with a deploy, and only there"),
                _ => {}
            }
            said::again(&asked);
        }
        Err(failure) => said::failure(&failure),
    }
}

/// What a node answers that received a bundle.
pub(crate) fn received(stdout: &[u8]) {
    match Received::read(stdout) {
        Ok(received) => {
            received.notes.iter().for_each(said::printable);
            received.served.iter().for_each(|it| said::printable(&it.seen));
            said::printable(&received.everleaf);
            match &received.failure {
                Some(failure) => said::failure(failure),
                None => assert!(received.outcome != Outcome::Failed, "it failed, and is not said how"),
            }
            said::again(&received);
        }
        Err(why) => said::failure(&why.failure("node edge (ssh://edge)")),
    }
}
