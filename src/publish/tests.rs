use super::*;
use crate::config::spec::{ExtraFile, FileContent};
use crate::types::{Secret, sha256};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

const FILES: [&str; 5] = ["privkey.pem", "bundle.pem", "cert.pem", "chain.pem", "fullchain.pem"];

struct Site {
    temp: tempfile::TempDir,
    name: CertName,
    access: Access,
}

/// A generation's parts, told apart by its number.
struct Parts {
    generation: GenId,
    cert: String,
    chain: String,
    privkey: Secret,
}

impl Parts {
    fn new(number: u32) -> Self {
        let cert = format!("CERT {number}\n");
        let generation = GenId::new(number, &sha256(&[cert.as_bytes()]));
        Self { generation, cert, chain: format!("CHAIN {number}\n"), privkey: Secret::new(format!("KEY {number}\n")) }
    }

    fn files(&self) -> Files<'_> {
        Files { generation: self.generation, cert: &self.cert, chain: &self.chain, privkey: &self.privkey }
    }

    fn expected(&self) -> [String; 5] {
        let (key, cert, chain) = (self.privkey.reveal(), &self.cert, &self.chain);
        [key.to_owned(), format!("{key}{cert}{chain}"), cert.clone(), chain.clone(), format!("{cert}{chain}")]
    }
}

impl Site {
    fn new() -> Self {
        let access = Access { owner: None, group: None, key_mode: 0o640, cert_mode: 0o644, dir_mode: 0o755 };
        Self { temp: tempfile::tempdir().unwrap(), name: CertName::new("shop").unwrap(), access }
    }

    fn live(&self) -> PathBuf {
        self.temp.path().join("live")
    }

    fn dir(&self) -> PathBuf {
        self.live().join("shop")
    }

    fn publish(&self, number: u32, epoch: u64) -> Result<Done, Failure> {
        let live = self.live();
        let target = Target { live: &live, name: &self.name, access: &self.access };
        publish(&target, &Parts::new(number).files(), Epoch(epoch))
    }

    fn inspect(&self, number: u32) -> Found {
        let live = self.live();
        let target = Target { live: &live, name: &self.name, access: &self.access };
        inspect(&target, &Parts::new(number).files()).unwrap()
    }

    fn placeholder(&self, family: KeyFamily) -> bool {
        let live = self.live();
        let target = Target { live: &live, name: &self.name, access: &self.access };
        placeholder(&target, &["shop.example".parse().unwrap()], family, Timestamp::from_secs(1_800_000_000)).unwrap()
    }

    fn shown(&self) -> [String; 5] {
        FILES.map(|file| fs::read_to_string(self.dir().join(file)).unwrap())
    }

    fn assert_shows(&self, number: u32) {
        assert_eq!(self.shown(), Parts::new(number).expected());
    }

    fn generations(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("..gen-"))
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_layout_is_as_documented() {
    let site = Site::new();
    assert!(site.publish(7, 1).unwrap().changed);
    site.assert_shows(7);
    let id = Parts::new(7).generation;
    assert_eq!(fs::read_link(site.dir().join("..data")).unwrap(), PathBuf::from(format!("..gen-{id}")));
    for file in FILES {
        assert_eq!(fs::read_link(site.dir().join(file)).unwrap(), PathBuf::from("..data").join(file));
        let mode = if ["privkey.pem", "bundle.pem"].contains(&file) { 0o640 } else { 0o644 };
        assert_eq!(site.dir().join(file).metadata().unwrap().mode() & 0o7777, mode, "{file}");
    }
    assert_eq!(site.dir().join("..data/").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(site.inspect(7), Found { generation: Some(id), epoch: Some(Epoch(1)), intact: true });
    let entries = fs::read_dir(site.dir()).unwrap().count();
    assert_eq!(entries, 7, "five names, the link and one generation");
}

#[test]
fn publishing_again_changes_nothing() {
    let site = Site::new();
    site.publish(7, 1).unwrap();
    let inode = |path: &str| site.dir().join(path).symlink_metadata().unwrap().ino();
    let before = ["..data", "cert.pem", "..data/cert.pem"].map(inode);
    assert_eq!(site.publish(7, 1).unwrap(), Done::default());
    assert_eq!(["..data", "cert.pem", "..data/cert.pem"].map(inode), before);
}

#[test]
fn a_lower_epoch_is_refused_and_a_higher_one_takes_an_older_generation() {
    let site = Site::new();
    site.publish(7, 5).unwrap();
    let refused = site.publish(8, 4).unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Operator, "publish:epoch"));
    site.assert_shows(7);
    site.publish(6, 6).unwrap();
    site.assert_shows(6);
    site.publish(6, 7).unwrap();
    assert_eq!(site.inspect(6).epoch, Some(Epoch(7)));
    assert_eq!(site.publish(7, 6).unwrap_err().code, "publish:epoch", "a raised epoch counts without a switch");
}

#[test]
fn the_generation_shown_and_the_one_before_are_kept() {
    let site = Site::new();
    for number in 1..=4 {
        site.publish(number, u64::from(number)).unwrap();
    }
    let name = |number| format!("..gen-{}", Parts::new(number).generation);
    assert_eq!(site.generations(), [name(3), name(4)]);
    site.publish(3, 5).unwrap();
    site.publish(3, 5).unwrap();
    assert_eq!(site.generations(), [name(3), name(4)]);
    site.assert_shows(3);
}

#[test]
fn what_was_edited_by_hand_is_healed() {
    let edits: [fn(&Site); 9] = [
        |site| fs::write(site.dir().join("..data/privkey.pem"), "KEY edited\n").unwrap(),
        |site| fs::remove_file(site.dir().join("..data/bundle.pem")).unwrap(),
        |site| fs::remove_file(site.dir().join("..data")).unwrap(),
        |site| fs::remove_file(site.dir().join("chain.pem")).unwrap(),
        |site| fs::remove_dir_all(site.dir().join(fs::read_link(site.dir().join("..data")).unwrap())).unwrap(),
        |site| fs::remove_dir_all(site.live()).unwrap(),
        |site| fs::set_permissions(site.dir().join("..data/privkey.pem"), fs::Permissions::from_mode(0o666)).unwrap(),
        |site| {
            fs::remove_file(site.dir().join("cert.pem")).unwrap();
            fs::write(site.dir().join("cert.pem"), "mine").unwrap();
        },
        |site| {
            fs::remove_file(site.dir().join("..data")).unwrap();
            symlink("/nonexistent", site.dir().join("..data")).unwrap();
        },
    ];
    for (number, edit) in edits.iter().enumerate() {
        let site = Site::new();
        site.publish(7, 3).unwrap();
        edit(&site);
        assert!(!site.inspect(7).intact, "edit {number} is noticed");
        assert!(site.publish(7, 3).unwrap().changed, "edit {number}");
        site.assert_shows(7);
        assert!(site.inspect(7).intact, "edit {number} is healed");
        assert_eq!(site.publish(7, 3).unwrap(), Done::default(), "edit {number} is healed at once");
    }
}

#[test]
fn foreign_files_are_kept_aside_and_served_until_the_switch() {
    let site = Site::new();
    fs::create_dir_all(site.dir()).unwrap();
    fs::write(site.dir().join("cert.pem"), "old cert").unwrap();
    fs::write(site.dir().join("privkey.pem"), "old key").unwrap();
    fs::write(site.dir().join("..foreign-cert.pem"), "older still").unwrap();
    fs::write(site.dir().join("README"), "leave me").unwrap();
    assert!(!site.placeholder(KeyFamily::Ecdsa), "something is there already");
    let done = site.publish(7, 1).unwrap();
    assert_eq!(done.notes.len(), 2, "{:?}", done.notes);
    site.assert_shows(7);
    for (name, contents) in [
        ("..foreign-cert.pem", "older still"),
        ("..foreign-cert.pem.1", "old cert"),
        ("..foreign-privkey.pem", "old key"),
        ("README", "leave me"),
    ] {
        assert_eq!(fs::read_to_string(site.dir().join(name)).unwrap(), contents);
    }
}

#[test]
fn links_planted_in_the_directory_lead_nowhere() {
    let site = Site::new();
    fs::create_dir_all(site.dir()).unwrap();
    let victim = site.temp.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let id = Parts::new(7).generation;
    for name in ["privkey.pem", "..data", &format!("..gen-{id}"), "..tmp-1-0"] {
        symlink(&victim, site.dir().join(name)).unwrap();
    }
    site.publish(7, 1).unwrap();
    site.assert_shows(7);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    fs::remove_dir_all(site.dir()).unwrap();
    fs::create_dir(site.temp.path().join("elsewhere")).unwrap();
    symlink(site.temp.path().join("elsewhere"), site.dir()).unwrap();
    assert_eq!(site.publish(7, 1).unwrap_err().class, Class::Operator, "nor does the directory itself");
    assert_eq!(fs::read_dir(site.temp.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn a_placeholder_starts_a_server_and_gives_way() {
    for family in [KeyFamily::Ecdsa, KeyFamily::Rsa] {
        let site = Site::new();
        assert!(site.placeholder(family));
        assert!(!site.placeholder(family), "once is enough");
        let [key, bundle, cert, chain, fullchain] = site.shown();
        assert_eq!((bundle, fullchain, chain.as_str()), (format!("{key}{cert}"), cert.clone(), ""));
        let leaf = &crate::pki::parse::chain(cert.as_bytes()).unwrap()[0];
        assert_eq!(leaf.key(), key::id_of(&Secret::new(key)).unwrap());
        assert_eq!(leaf.key_kind().family(), Some(family));
        assert_eq!(site.inspect(7), Found::default());
        site.publish(7, 1).unwrap();
        site.assert_shows(7);
        assert!(!site.placeholder(family), "never over a certificate");
    }
}

#[test]
fn an_owner_by_number_is_set_before_anything_is_readable_and_an_unknown_one_is_refused() {
    let mut site = Site::new();
    site.access.owner = Some("no-such-user-here".to_owned());
    assert_eq!(site.publish(7, 1).unwrap_err().code, "publish:owner");
    assert!(!site.dir().exists());
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    site.access.owner = Some("12345".to_owned());
    site.access.group = Some("23456".to_owned());
    site.publish(7, 1).unwrap();
    for path in ["", "..data/", "privkey.pem", "cert.pem"] {
        let found = site.dir().join(path).metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 23_456), "{path}");
    }
    assert_eq!(site.publish(7, 1).unwrap(), Done::default());
    site.access.key_mode = 0o400;
    assert!(site.publish(7, 1).unwrap().changed, "a changed mode is published");
    assert_eq!(site.dir().join("privkey.pem").metadata().unwrap().mode() & 0o7777, 0o400);
}

#[test]
fn an_extra_file_is_written_healed_and_never_followed() {
    let site = Site::new();
    let path = site.temp.path().join("haproxy.pem");
    let file = ExtraFile { path: path.clone(), content: FileContent::Bundle, owner: None, group: None, mode: 0o600 };
    let parts = Parts::new(7);
    let write = || extra(&file, &parts.files()).unwrap();
    let holds = || extra_holds(&file, &parts.files()).unwrap();
    assert!(!holds());
    assert!(write().is_some_and(|note| note.as_str().ends_with("written")));
    assert_eq!(write(), None);
    assert_eq!(fs::read_to_string(&path).unwrap(), parts.expected()[1]);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    assert!(holds());

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!holds(), "another mode");
    assert!(write().is_some_and(|note| note.as_str().ends_with("replaced")));
    let victim = site.temp.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    assert!(!holds(), "a link");
    fs::write(site.temp.path().join("..everleaf-haproxy.pem"), "left by a kill").unwrap();
    assert!(write().is_some());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(site.temp.path()).unwrap().count(), 2, "the temporary is gone");

    let missing = ExtraFile { path: site.temp.path().join("no/such/dir.pem"), ..file.clone() };
    assert!(!extra_holds(&missing, &parts.files()).unwrap());
    assert_eq!(extra(&missing, &parts.files()).unwrap_err().code, "publish:enoent");
    assert_eq!(extra(&ExtraFile { path: "/".into(), ..file }, &parts.files()).unwrap_err().code, "publish:path");
}

#[test]
fn an_inspection_of_nothing_finds_nothing_and_makes_nothing() {
    let site = Site::new();
    assert_eq!(site.inspect(7), Found::default());
    assert!(!site.live().exists());
}

/// What a careless or hostile hand can do to a live directory.
#[derive(Debug, Clone)]
enum Act {
    Publish(u32),
    Remove(&'static str),
    Write(&'static str),
    Link(&'static str, &'static str),
    MakeDir(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    const PLACES: [&str; 10] = [
        "cert.pem",
        "privkey.pem",
        "bundle.pem",
        "..data",
        "..data/privkey.pem",
        "..data/cert.pem",
        "..data/..epoch",
        "..tmp-9-9",
        "..gen-foreign",
        "..foreign-cert.pem",
    ];
    let place = prop::sample::select(&PLACES[..]);
    prop_oneof![
        (1_u32..4).prop_map(Act::Publish),
        place.clone().prop_map(Act::Remove),
        place.clone().prop_map(Act::Write),
        (place.clone(), prop::sample::select(&["..data", "..gen-foreign", "cert.pem", "/nonexistent", "."][..]))
            .prop_map(|(place, target)| Act::Link(place, target)),
        place.prop_map(Act::MakeDir),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_lies_there_one_publish_puts_it_right(acts in prop::collection::vec(act(), 0..12)) {
        let site = Site::new();
        let mut epoch = 0;
        fs::create_dir_all(site.dir()).unwrap();
        for act in acts {
            let at = |place: &str| site.dir().join(place);
            let clear = |place: &str| fs::remove_file(at(place)).or_else(|_| fs::remove_dir_all(at(place)));
            // An act that is not possible here is no act.
            let _ = match act {
                Act::Publish(number) => {
                    epoch += 1;
                    site.publish(number, epoch).unwrap();
                    site.assert_shows(number);
                    Ok(())
                }
                Act::Remove(place) => clear(place),
                Act::Write(place) => clear(place).and_then(|()| fs::write(at(place), "by hand")),
                Act::Link(place, target) => clear(place).and_then(|()| symlink(target, at(place))),
                Act::MakeDir(place) => clear(place).and_then(|()| fs::create_dir(at(place))),
            };
        }
        site.publish(9, 99).unwrap();
        site.assert_shows(9);
        prop_assert!(site.inspect(9).intact);
        prop_assert_eq!(site.publish(9, 99).unwrap(), Done::default());
    }
}
