//! A disk that refuses, lies or was meddled with: how every such case is judged.
//!
//! Each case begins with a healthy installation, or with none; a defect is brought about; everleaf is called and must say what
//! is wrong or mend it; the defect is taken away and one ordinary run must put everything right. At no point is a private key
//! lost, or what servers read worse than the defect itself made it.

use crate::rig::scene::{Ran, Scene, everleaf};
use crate::rig::snapshot;
use crate::rig::{own_mounts, run};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything of an installation that a case may change.
const PARTS: [&str; 5] = ["state", "live", "run", "served", "extra"];

/// A defect, the call that meets it, and what is expected of it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The name of the case, and of the file with the words that everleaf finds.
    pub(crate) name: &'static str,
    /// Whether there is a healthy installation to begin with.
    pub(crate) begun: bool,
    /// Brings the defect about.
    pub(crate) spoil: fn(&Site),
    /// A program that starts everleaf in surroundings of its own, with its arguments.
    pub(crate) through: &'static [&'static str],
    /// How everleaf is called.
    pub(crate) call: &'static [&'static str],
    /// Its exit code.
    pub(crate) exit: i32,
    /// Takes the defect away, as its message says.
    pub(crate) mend: fn(&Site),
}

impl Case {
    /// An ordinary run that meets a defect, which needs nobody to take it away.
    pub(crate) const fn new(name: &'static str, exit: i32, spoil: fn(&Site)) -> Self {
        Self { name, begun: true, spoil, through: &[], call: &["run"], exit, mend: |_| {} }
    }

    pub(crate) const fn call(self, call: &'static [&'static str]) -> Self {
        Self { call, ..self }
    }

    pub(crate) const fn through(self, through: &'static [&'static str]) -> Self {
        Self { through, ..self }
    }

    pub(crate) const fn mend(self, mend: fn(&Site)) -> Self {
        Self { mend, ..self }
    }

    pub(crate) const fn with_nothing(self) -> Self {
        Self { begun: false, ..self }
    }
}

/// What a server would load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    not_before: i64,
    leaf: Vec<u8>,
}

/// An installation with one certificate, whose server reads what is published when it is told to, and only then.
pub(crate) struct Site {
    pub(crate) scene: Scene,
}

impl Site {
    /// A healthy one; `more` are further lines of the certificate.
    pub(crate) fn new(more: impl FnOnce(&Scene) -> String) -> Self {
        own_mounts();
        let scene = Scene::easy();
        // A server that loads what it is told of; it keeps the old pair when the new one does not load.
        let reload =
            scene.script("reload", &format!("cd {} && cat live/shop/bundle.pem >served", scene.path("").display()));
        let node = format!("nodes:\n  local: {{ reload: {{ exec: [{}] }} }}\ncertificates:", reload.display());
        let yaml = scene.unproven(&more(&scene)).replace("certificates:", &node);
        fs::create_dir(scene.path("extra")).expect("a directory");
        scene.run(&yaml).exits(0);
        scene.everleaf(&["run"]).exits(0);
        let site = Self { scene };
        for part in PARTS {
            site.shell(&format!("cp -a {part} healthy-{part}"));
        }
        site
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.scene.path(part)
    }

    /// Runs a line of shell in the scene's directory: defects are what people and other programs do.
    pub(crate) fn shell(&self, line: &str) {
        run(Command::new("sh").args(["-euc", line]).current_dir(self.path("")), None);
    }

    /// The CA recalls what is published: the next run renews.
    pub(crate) fn recall(&self) {
        self.scene.pebble.set_window(&self.scene.leaf("shop"), "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        self.shell("rm -f state/index.json state/certs/shop/seen.json");
    }

    /// Everything as it was when it was healthy, or nothing at all.
    pub(crate) fn begin(&self, begun: bool) {
        for part in PARTS {
            self.shell(&format!("rm -rf {part}"));
            if begun {
                self.shell(&format!("cp -a healthy-{part} {part}"));
            }
        }
        self.shell("mkdir -p extra");
    }

    /// Calls everleaf as a case says.
    pub(crate) fn call(&self, through: &[&str], arguments: &[&str]) -> Ran {
        let Some((program, before)) = through.split_first() else { return self.scene.everleaf(arguments) };
        let mut command = Command::new(crate::rig::require("timeout"));
        command.args(["--signal=KILL", "120", program]).args(before).arg(everleaf());
        self.scene.finish(&mut command, arguments);
        Ran::new(&command.output().expect("it starts"))
    }

    /// What a server that starts now would load; nothing when it would not.
    pub(crate) fn pair(&self) -> Option<Pair> {
        let read = |file: &str| fs::read_to_string(self.path("live/shop").join(file)).ok();
        let [chain, key, bundle] = ["fullchain.pem", "privkey.pem", "bundle.pem"].map(read);
        let (chain, key) = (chain?, key?);
        let key_pair = KeyPair::from_pem(&key).ok()?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).ok()?;
        let leaf = pem.parse_x509().ok()?;
        let whole = chain.matches("BEGIN CERTIFICATE").count() >= 2 && bundle? == key + &chain;
        let ours = *leaf.public_key().subject_public_key.data == *key_pair.der_bytes();
        (whole && ours).then(|| Pair { not_before: leaf.validity().not_before.timestamp(), leaf: pem.contents.clone() })
    }

    /// Every private key below the state directory, by content.
    pub(crate) fn keys(&self) -> BTreeSet<Vec<u8>> {
        let all = files(&self.path("state"));
        let key = |contents: &[u8]| {
            contents.starts_with(b"-----BEGIN PRIVATE KEY")
                || serde_json::from_slice(contents).is_ok_and(|it: Value| it["key_pkcs8"].is_string())
        };
        all.into_values().filter(|contents| key(contents)).collect()
    }

    /// Whether everything is as it should be: what is published loads, the server reads it, nobody else can read a key.
    pub(crate) fn judge_healthy(&self) {
        assert!(self.pair().is_some(), "what is published does not load");
        assert_eq!(self.scene.text("served"), self.scene.text("live/shop/bundle.pem"), "the server was not told");
        for (path, _) in files(&self.path("state")) {
            let found = fs::symlink_metadata(&path).expect("a file");
            assert_eq!(found.mode() & 0o077, 0, "{} has mode {:o}", path.display(), found.permissions().mode());
        }
        for file in ["privkey.pem", "bundle.pem"] {
            let found = fs::metadata(self.path("live/shop").join(file)).expect("a file");
            assert_eq!(found.mode() & 0o777, 0o600, "{file}");
        }
        let stage = self.scene.status("shop")["stage"].clone();
        assert_eq!(stage, "unproven", "installed, and nothing was asked to prove it");
    }

    /// Plays one case.
    fn play(&self, case: &Case) {
        self.begin(case.begun);
        let healthy = self.pair();
        let met = catch_unwind(AssertUnwindSafe(|| self.meet(case)));
        (case.mend)(self);
        let (keys, said) = met.unwrap_or_else(|words| resume_unwind(words));
        let ran = self.scene.everleaf(&["run"]);
        assert_eq!(ran.exit, 0, "the next run did not put it right:\n{}\nafter:\n{said}", ran.err);
        assert!(keys.is_subset(&self.keys()), "a key is gone after the next run:\n{}", ran.err);
        let now = self.pair();
        assert!(now.as_ref().map(|it| it.not_before) >= healthy.map(|it| it.not_before), "an older one is published");
        self.judge_healthy();
    }

    /// Brings the defect of a case about, calls everleaf, and judges what that did. Answers the keys there are, and what it said.
    fn meet(&self, case: &Case) -> (BTreeSet<Vec<u8>>, String) {
        (case.spoil)(self);
        let (keys, pair) = (self.keys(), self.pair());
        let ran = self.call(case.through, case.call);
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.exit, case.exit, "it said:\n{said}");
        assert!(keys.is_subset(&self.keys()), "a key is gone; it said:\n{said}");
        let now = self.pair();
        assert!(
            now.map(|it| it.not_before) >= pair.map(|it| it.not_before),
            "what is published is worse; it said:\n{said}"
        );
        let looks = !["run", "renew", "deploy"].contains(&case.call[0]);
        assert_eq!(looks, ran.out.contains("shop"), "who asks is answered, and nobody else: {said}");
        let chances = [
            (r"\b(\d{4})-[0-9a-f]{8}\b", "$1-LEAF"),
            (r"\.\.tmp-\d+-\d+", "..tmp-PID-N"),
            (r"my-account/\w+", "my-account/ID"),
        ];
        let plain = chances.iter().fold(self.scene.plain(&ran.err), |text, (chance, plain)| {
            let chance = regex::Regex::new(chance).expect("a valid expression");
            chance.replace_all(&text, *plain).into_owned()
        });
        snapshot(&format!("hostile/messages/disk/{}", case.name), &plain);
        (keys, said)
    }

    /// Plays a renewal that a limit may or may not stop: whatever it comes to, it is said and nothing is lost.
    pub(crate) fn play_any(&self, through: &[&str], spoil: impl Fn(&Self), mend: impl Fn(&Self)) {
        self.begin(true);
        self.recall();
        spoil(self);
        let (keys, pair) = (self.keys(), self.pair());
        let ran = self.call(through, &["run"]);
        assert!([0, 1, 20, 75].contains(&ran.exit), "{ran:#?}");
        assert_eq!(ran.exit == 0, !ran.err.contains("everleaf: "), "a failure is said, and nothing else is: {ran:#?}");
        assert!(keys.is_subset(&self.keys()), "a key is gone: {ran:#?}");
        assert!(
            self.pair().map(|it| it.not_before) >= pair.map(|it| it.not_before),
            "what is published is worse: {ran:#?}"
        );
        mend(self);
        let next = self.scene.everleaf(&["run"]);
        assert_eq!(next.exit, 0, "the next run did not put it right:\n{}\nafter:\n{}", next.err, ran.err);
        assert!(keys.is_subset(&self.keys()), "a key is gone after the next run:\n{}", next.err);
        self.judge_healthy();
    }

    /// Plays all cases, and says of each what went wrong.
    pub(crate) fn play_all(&self, cases: &[Case]) {
        let only = std::env::var("EVERLEAF_CASE").unwrap_or_default();
        let failed: Vec<&str> = cases
            .iter()
            .filter(|case| case.name.contains(&only))
            .filter(|case| {
                let played = catch_unwind(AssertUnwindSafe(|| self.play(case)));
                played.is_err()
            })
            .map(|case| case.name)
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// All regular files below `dir`, with their contents.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap_or_default())),
            _ => {}
        }
    }
    found
}

impl Site {
    /// Puts what is in `part` on a file system of its own.
    pub(crate) fn mount(&self, part: &str, options: &str) {
        self.shell(&format!("mkdir -p {part}; rm -rf kept; cp -a {part} kept"));
        mount(Some("none"), &self.path(part), Some("tmpfs"), MsFlags::empty(), Some(options)).expect("tmpfs");
        self.shell(&format!("cp -a kept/. {part}"));
    }

    /// Makes `part`'s file system read-only.
    pub(crate) fn freeze(&self, part: &str) {
        let (here, bind) = (self.path(part), MsFlags::MS_BIND);
        mount(Some(&here), &here, None::<&str>, bind, None::<&str>).expect("a bind mount");
        mount(None::<&str>, &here, None::<&str>, bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)
            .expect("read-only");
    }

    /// Ends the last mount at `part`, and keeps what was in it.
    pub(crate) fn unmount(&self, part: &str) {
        self.shell(&format!("rm -rf kept; cp -a {part} kept"));
        umount2(&self.path(part), MntFlags::MNT_DETACH).expect("unmounted");
        self.shell(&format!("rm -rf {part}/* {part}/.[!.]* {part}/..?*; cp -a kept/. {part}"));
    }
}
