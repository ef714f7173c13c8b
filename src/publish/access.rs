//! Owners, groups and modes, from the names people write to the numbers the kernel keeps.

use crate::config::spec::Access;
use crate::disk::Attributes;
use crate::types::{Class, Failure};
use nix::unistd::{Gid, Group, Uid, User};

/// The attributes of what is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modes {
    /// Files with a key in them.
    pub(super) key: Attributes,
    /// Files without.
    pub(super) cert: Attributes,
    /// Directories.
    pub(super) dir: Attributes,
}

impl Modes {
    /// Looks the names up.
    pub(super) fn resolve(access: &Access) -> Result<Self, Failure> {
        let with = |mode| attributes(access.owner.as_deref(), access.group.as_deref(), mode);
        Ok(Self { key: with(access.key_mode)?, cert: with(access.cert_mode)?, dir: with(access.dir_mode)? })
    }
}

/// `mode` with an owner and group by name or number.
///
/// # Errors
/// Class `Operator`, code `publish:owner`, when one is not known on this machine.
pub(super) fn attributes(owner: Option<&str>, group: Option<&str>, mode: u32) -> Result<Attributes, Failure> {
    let owner = owner.map(|name| {
        let named = || User::from_name(name).ok().flatten().map(|user| user.uid);
        name.parse().ok().map(Uid::from_raw).or_else(named).ok_or_else(|| unknown("user", name))
    });
    let group = group.map(|name| {
        let named = || Group::from_name(name).ok().flatten().map(|group| group.gid);
        name.parse().ok().map(Gid::from_raw).or_else(named).ok_or_else(|| unknown("group", name))
    });
    Ok(Attributes { mode, owner: owner.transpose()?, group: group.transpose()? })
}

fn unknown(what: &str, name: &str) -> Failure {
    Failure::new(Class::Operator, "publish:owner", name, format!("there is no such {what} on this machine"))
        .advise(format!("getent {} {name}", if what == "user" { "passwd" } else { "group" }))
}
