//! The user that PostgreSQL runs as: the current one, or, because it refuses root, `postgres` or `nobody`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, chown};

use super::error::{PrivatePostgresError, at};

/// The user that owns the cluster.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    user: User,
    /// Set if this process is root and PostgreSQL runs as another user.
    dropped: bool,
}

impl Owner {
    /// The owner for clusters made by this process.
    pub(super) fn of_this_process() -> Result<Self, PrivatePostgresError> {
        let uid = Uid::effective();
        if !uid.is_root() {
            let user = User::from_uid(uid).ok().flatten().ok_or(PrivatePostgresError::UnknownUser(uid.as_raw()))?;
            return Ok(Self { user, dropped: false });
        }
        let candidates = ["postgres", "nobody"].into_iter().filter_map(|name| User::from_name(name).ok().flatten());
        let user = candidates.into_iter().next().ok_or(PrivatePostgresError::NobodyElse)?;
        Ok(Self { user, dropped: true })
    }

    /// Its name, as the kernel's peer credentials are matched against.
    pub(super) fn name(&self) -> &str {
        &self.user.name
    }

    pub(super) fn uid(&self) -> Uid {
        self.user.uid
    }

    /// Uid and gid to drop to, if this process is root.
    pub(super) fn ids_to_take(&self) -> Option<(u32, u32)> {
        self.dropped.then(|| (self.user.uid.as_raw(), self.user.gid.as_raw()))
    }

    /// Changes the owner of a path, if this process is root.
    pub(super) fn give(&self, path: &Path) -> Result<(), PrivatePostgresError> {
        if self.dropped {
            chown(path, Some(self.user.uid), Some(self.user.gid)).map_err(|errno| at(path)(errno.into()))?;
        }
        Ok(())
    }

    /// Every folder from the root to `path`, itself included, must let the owner pass.
    pub(super) fn require_reach(&self, path: &Path) -> Result<(), PrivatePostgresError> {
        match self.first_obstacle(path) {
            None => Ok(()),
            Some(folder) => {
                Err(PrivatePostgresError::Unreachable { folder: folder.to_owned(), user: self.user.name.clone() })
            }
        }
    }

    /// True if the owner can reach a file or folder; links are followed.
    pub(super) fn reaches(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|real| self.first_obstacle(&real).is_none())
    }

    /// The outermost folder on the way to `path` that the owner cannot pass.
    fn first_obstacle<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders.into_iter().find(|folder| !self.may_pass(folder))
    }

    fn may_pass(&self, folder: &Path) -> bool {
        let Ok(meta) = fs::metadata(folder) else { return false };
        let bit = if meta.uid() == self.user.uid.as_raw() {
            0o100
        } else if Gid::from_raw(meta.gid()) == self.user.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    }
}
