//! What several tests here need: scratch directories, scripts, contexts, one-thread runtimes.

use crate::systemd::Recorder;
use everleaf::config::spec::Hook;
use everleaf::deploy::Nodes;
use everleaf::ports::{Clock, HookContext, Pending};
use everleaf::types::{CertName, Epoch, GenId, NodeName, Printable, Timestamp, sha256};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Runs `work` on one thread, as everleaf does.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// A scratch directory that not everybody may write, which hooks' directories must be.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("everleaf-edge-").tempdir().expect("a scratch directory")
}

/// Writes an executable script.
pub(crate) fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("write the script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    path
}

/// A hook that runs `argv`.
pub(crate) fn hook<S: AsRef<str>>(argv: impl IntoIterator<Item = S>) -> Hook {
    Hook {
        argv: argv.into_iter().map(|word| word.as_ref().to_owned()).collect(),
        shell: false,
        timeout: Duration::from_secs(20),
        certbot: false,
        unit: None,
    }
}

/// A hook that is a shell line.
pub(crate) fn shell(line: &str) -> Hook {
    Hook { shell: true, ..hook([line]) }
}

/// The generation `number`, whose leaf has a made-up fingerprint.
pub(crate) fn generation(number: u32) -> GenId {
    GenId::new(number, &sha256(&[b"leaf", &number.to_be_bytes()]))
}

/// A context in which everything is known.
pub(crate) fn context(name: &str, live_dir: &Path, files: Option<&Path>) -> HookContext {
    HookContext {
        name: CertName::new(name).expect("a name"),
        domains: ["shop.example.com", "*.shop.example.com"].map(|name| name.parse().expect("a domain")).to_vec(),
        node: Some(NodeName::new("edge1").expect("a node")),
        generation: Some(generation(7)),
        epoch: Some(Epoch(3)),
        live_dir: live_dir.to_path_buf(),
        files: files.map(Path::to_path_buf),
        serial: Some("00aa".parse().expect("a serial")),
        not_after: Some(Timestamp::from_secs(1_800_000_000)),
        prev_serial: Some("00bb".parse().expect("a serial")),
        reason: Printable::new("ARI window"),
        dry_run: false,
        attempt: 4,
    }
}

/// The nodes of a machine with this recorded systemd.
pub(crate) fn nodes(systemd: &Recorder) -> Nodes {
    Nodes::new(systemd.systemd(), Rc::new(Today))
}

/// A clock that stands still in 2026.
struct Today;

impl Clock for Today {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_341_600)
    }

    fn sleep(&self, span: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// Whether a process lives (a zombie does not).
pub(crate) fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Waits until `condition` holds, at most ten seconds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..500 {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
