//! Words without what a CA makes up anew in each run: names of its objects, serial numbers, remaining times.

use crate::rig::scene::Scene;

/// `text` for a snapshot.
pub(super) fn plain(scene: &Scene, text: &str) -> String {
    const CHANCES: [(&str, &str); 6] = [
        (r"\b(my-order|my-account|authZ|chalZ|certZ|finalize-order|acme-challenge)/[A-Za-z0-9_-]+", "$1/ID"),
        (r"\b(\d{4})-[0-9a-f]{8}\b", "$1-ID"),
        (r"\bCA [0-9a-f]{6}\b", "CA ID"),
        (r"\b(key|ordered for) [0-9a-f]{8}\b", "$1 KEY"),
        (r"\.com:\d{5}\b", ".com:PORT"),
        (r"\(in [0-9dhms ]+\)", "(in SPAN)"),
    ];
    CHANCES.iter().fold(scene.plain(text), |text, (chance, plain)| {
        regex::Regex::new(chance).expect("a valid expression").replace_all(&text, *plain).into_owned()
    })
}
