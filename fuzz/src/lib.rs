//! What everleaf reads of others: each target is one call to a public function of the library, and what must hold of its
//! answer. The fuzzer and the stable tests (`tests/hostile/bytes.rs`) call these same functions.

mod ca;
mod files;
mod peer;
mod said;
mod talk;
mod vantage;

/// Takes bytes that anybody may have sent, and panics when what everleaf makes of them breaks a promise.
pub type Target = fn(&[u8]);

/// Every target, by the name of its file in `fuzz_targets/` and of its directory in `corpus/`.
pub const TARGETS: [(&str, Target); 31] = [
    ("account", files::account),
    ("ari", ca::ari),
    ("asked", vantage::asked),
    ("bundle", vantage::bundle),
    ("certificate", ca::certificate),
    ("chain", ca::chain),
    ("crl", peer::crl),
    ("configured", talk::configured),
    ("directory", ca::directory),
    ("hook_answer", talk::hook_answer),
    ("hook_output", talk::hook_output),
    ("hsts", talk::hsts),
    ("http_head", talk::http_head),
    ("http_reply", talk::http_reply),
    ("index", files::index),
    ("journal", files::journal),
    ("key", files::key),
    ("link", ca::link),
    ("looked", vantage::looked),
    ("pid_file", files::pid_file),
    ("problem", ca::problem),
    ("received", vantage::received),
    ("replay", files::replay),
    ("request", files::request),
    ("retry_after", ca::retry_after),
    ("seen", files::seen),
    ("server_hello", talk::server_hello),
    ("staple", peer::staple),
    ("starttls", talk::starttls),
    ("status", files::status),
    ("yaml", files::yaml),
];

/// Calls the target `name`.
///
/// # Panics
/// When there is none of that name, or when it finds something.
pub fn call(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = found.unwrap_or_else(|| panic!("no target is called {name}"));
    target(bytes);
}
