use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn scratch() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = Dir::open(temp.path()).expect("it opens");
    (temp, dir)
}

#[test]
fn a_replaced_file_has_its_mode_and_leaves_no_temporary() {
    let (temp, dir) = scratch();
    for contents in [&b"one"[..], b"two"] {
        dir.replace("key", contents, &Attributes::mode(0o640), Durability::Synced).unwrap();
        assert_eq!(dir.read("key", 10).unwrap().as_deref(), Some(contents));
    }
    assert_eq!(temp.path().join("key").metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(dir.names(10).unwrap(), ["key"]);
}

#[test]
fn writing_replaces_a_link_and_never_follows_it() {
    let (temp, dir) = scratch();
    std::fs::write(temp.path().join("victim"), "untouched").unwrap();
    symlink("victim", temp.path().join("trap")).unwrap();
    assert_eq!(dir.read("trap", 100).unwrap_err().errno(), Errno::ELOOP);
    assert!(dir.create("trap", b"x", &Attributes::mode(0o600), Durability::Losable).is_err());
    dir.replace("trap", b"x", &Attributes::mode(0o600), Durability::Losable).unwrap();
    assert_eq!(std::fs::read(temp.path().join("victim")).unwrap(), b"untouched");
    assert_eq!(dir.link_target("trap").unwrap(), None);
}

#[test]
fn a_failed_replacement_leaves_the_old_contents_and_nothing_else() {
    let (temp, dir) = scratch();
    std::fs::create_dir_all(temp.path().join("there/inside")).unwrap();
    let error = dir.replace("there", b"x", &Attributes::mode(0o600), Durability::Synced).unwrap_err();
    assert_eq!(error.failure("publish").code, "publish:eisdir");
    assert_eq!(dir.names(10).unwrap(), ["there"]);
}

#[test]
fn missing_parents_are_made_and_a_wrong_mode_is_put_right() {
    let (temp, dir) = scratch();
    let deep = temp.path().join("a/b/c");
    Dir::open_or_make(&deep, 0o700).unwrap();
    assert_eq!(deep.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(temp.path().join("a/b").metadata().unwrap().mode() & 0o777, 0o755);
    std::fs::set_permissions(temp.path().join("a"), std::fs::Permissions::from_mode(0o777)).unwrap();
    dir.make("a", &Attributes::mode(0o750)).unwrap();
    assert_eq!(temp.path().join("a").metadata().unwrap().mode() & 0o777, 0o750);
}

#[test]
fn what_is_too_large_or_no_file_is_not_read() {
    let (temp, dir) = scratch();
    std::fs::write(temp.path().join("big"), "12345").unwrap();
    assert_eq!(dir.read("big", 4).unwrap_err().errno(), Errno::EFBIG);
    assert_eq!(dir.read("big", 5).unwrap().as_deref(), Some(&b"12345"[..]));
    nix::unistd::mkfifo(&temp.path().join("pipe"), Mode::S_IRWXU).unwrap();
    assert!(dir.read("pipe", 4).is_err(), "and it does not wait for a writer");
    assert_eq!(dir.read("absent", 4).unwrap(), None);
}

#[test]
fn a_directory_is_removed_whole_but_links_in_it_are_not_followed() {
    let (temp, dir) = scratch();
    std::fs::create_dir_all(temp.path().join("tree/inside")).unwrap();
    std::fs::create_dir(temp.path().join("kept")).unwrap();
    std::fs::write(temp.path().join("kept/file"), "").unwrap();
    symlink("../kept", temp.path().join("tree/link")).unwrap();
    dir.remove_all("tree").unwrap();
    dir.remove_all("tree").unwrap();
    assert_eq!(dir.names(10).unwrap(), ["kept"]);
    assert!(temp.path().join("kept/file").exists());
}

#[test]
fn a_lock_excludes_others_until_it_is_dropped() {
    let (_temp, dir) = scratch();
    let lock = dir.lock().unwrap().expect("this file system has locks");
    assert_eq!(dir.lock().unwrap_err().errno(), Errno::EWOULDBLOCK);
    drop(lock);
    assert!(dir.lock().is_ok());
}
