//! Whether another user could read a file: by owner, group and mode of it and of every directory on the way.

use crate::types::{Class, Failure};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Links followed on the way (as in `path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Somebody whose rights are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The user's name.
    pub name: String,
    uid: Uid,
    groups: Vec<Gid>,
}

impl Reader {
    /// The user called `name`, with all groups.
    ///
    /// # Errors
    /// Class `Operator`, code `files:user` when there is none.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let failure = |why: &str| {
            Failure::new(Class::Operator, "files:user", name, why).advise("Name the user that the service runs as.")
        };
        let found = match name.parse().map(Uid::from_raw) {
            Ok(uid) => User::from_uid(uid),
            Err(_) => User::from_name(name),
        };
        let user =
            found.map_err(|error| failure(&error.to_string()))?.ok_or_else(|| failure("there is no such user"))?;
        let mut groups = vec![user.gid];
        if let Ok(name) = CString::new(user.name.as_str()) {
            groups.extend(getgrouplist(&name, user.gid).unwrap_or_default());
        }
        Ok(Self { name: user.name, uid: user.uid, groups })
    }

    /// What keeps this user from reading the file at `path`; nothing where nothing does, or where it is not known.
    #[must_use]
    pub fn obstacle(&self, path: &Path) -> Option<String> {
        if self.uid.is_root() {
            return None;
        }
        let walk = Walk::of(path)?;
        let shut = |place: &Path, bit: u32, what: &str| {
            let about = fs::symlink_metadata(place).ok()?;
            let (uid, gid, mode) = (about.uid(), about.gid(), about.mode());
            let allowed = match () {
                () if uid == self.uid.as_raw() => mode >> 6,
                () if self.groups.contains(&Gid::from_raw(gid)) => mode >> 3,
                () => mode,
            };
            (allowed & bit == 0).then(|| {
                let mode = mode & 0o7777;
                format!("{} may not {what} {} (mode {mode:04o}, owner {uid}, group {gid})", self.name, place.display())
            })
        };
        let dirs = walk.dirs.iter().find_map(|dir| shut(dir, 0o1, "enter"));
        dirs.or_else(|| shut(&walk.end, 0o4, "read"))
    }
}

/// The way to a file: each directory that is gone through, each link that is followed, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) links: Vec<PathBuf>,
    pub(super) end: PathBuf,
}

impl Walk {
    /// Walks; nothing where the way breaks off.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let mut left: VecDeque<OsString> = parts(&path);
        let mut walk = Self { dirs: Vec::new(), links: Vec::new(), end: PathBuf::from("/") };
        while let Some(part) = left.pop_front() {
            if part == ".." {
                walk.end.pop();
                continue;
            }
            if !walk.dirs.contains(&walk.end) {
                walk.dirs.push(walk.end.clone());
            }
            let next = walk.end.join(&part);
            if !fs::symlink_metadata(&next).ok()?.is_symlink() {
                walk.end = next;
                continue;
            }
            let target = fs::read_link(&next).ok()?;
            walk.links.push(next);
            if walk.links.len() > MAX_LINKS {
                return None;
            }
            if target.is_absolute() {
                walk.end = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                left.push_front(part);
            }
        }
        Some(walk)
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn every_directory_and_link_on_the_way_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (live, real) = (root.join("live"), root.join("real"));
        fs::create_dir(&live).unwrap();
        fs::create_dir(&real).unwrap();
        let (key, link) = (real.join("key"), live.join("key"));
        fs::write(&key, "x").unwrap();
        symlink("../real/key", &link).unwrap();
        let walk = Walk::of(&link).unwrap();
        assert_eq!((walk.end, walk.links), (key.clone(), vec![link.clone()]));
        assert!(walk.dirs.ends_with(&[live.clone(), real.clone()]), "{:?}", walk.dirs);
        // Somebody whom nothing here belongs to.
        let reader =
            Reader { name: "somebody".into(), uid: Uid::from_raw(12_345), groups: vec![Gid::from_raw(12_345)] };
        for path in [&root, &live, &real] {
            mode(path, 0o755);
        }
        for (path, wrong, right) in [(&key, 0o640, 0o644), (&live, 0o700, 0o711), (&real, 0o700, 0o711)] {
            mode(path, wrong);
            let why = reader.obstacle(&link).expect("it is shut");
            assert!(why.contains(&path.display().to_string()), "{why}");
            mode(path, right);
        }
        assert_eq!(reader.obstacle(&link), None);
        mode(&key, 0o600);
        let root = Reader { uid: Uid::from_raw(0), ..reader.clone() };
        assert_eq!(root.obstacle(&link), None, "root reads everything");
        assert_eq!(reader.obstacle(Path::new("/nowhere/at/all")), None, "what is not there is told elsewhere");
        symlink("loop", live.join("loop")).unwrap();
        assert_eq!(Walk::of(&live.join("loop")), None);
    }

    #[test]
    fn users_are_known_by_name_and_number() {
        assert_eq!(Reader::named("0").unwrap(), Reader::named("root").unwrap());
        assert_eq!(Reader::named("no-such-user").unwrap_err().code, "files:user");
    }
}
