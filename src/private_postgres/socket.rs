//! Folder of the socket: the data directory, or a folder with a short path under the temporary one if that path is too long.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{PrivatePostgresError, at};
use super::owner::Owner;
use crate::hash::sha256_hex;

/// A socket's path, with its closing zero, has to fit into `sockaddr_un`.
const LONGEST: usize = 107;

/// What PostgreSQL calls the socket and, longer, its lock.
const NAME: &str = ".s.PGSQL.5432.lock";

/// A folder that only the owner may read.
#[derive(Debug)]
pub(super) struct SocketDir {
    path: PathBuf,
}

impl SocketDir {
    pub(super) fn make(data_dir: &Path, owner: &Owner) -> Result<Self, PrivatePostgresError> {
        let path = choose(data_dir, &std::env::temp_dir());
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => owner.give(&path)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => require_ours(&path, owner)?,
            Err(error) => return Err(at(&path)(error)),
        }
        owner.require_reach(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder; its content went with the server.
    pub(super) fn remove(&self) {
        // Files of a killed server are removed too; a missing folder is not an error.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(b".s.PGSQL.") {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}

fn choose(data_dir: &Path, temp: &Path) -> PathBuf {
    let near = data_dir.join("run");
    if near.join(NAME).as_os_str().len() <= LONGEST {
        return near;
    }
    let name = format!("practised-{}", &sha256_hex(data_dir.as_os_str().as_bytes())[..16]);
    let far = temp.join(&name);
    if far.join(NAME).as_os_str().len() <= LONGEST { far } else { Path::new("/tmp").join(name) }
}

/// A folder in a world-writable place must not be one that another user prepared.
fn require_ours(path: &Path, owner: &Owner) -> Result<(), PrivatePostgresError> {
    let meta = fs::symlink_metadata(path).map_err(at(path))?;
    if !meta.is_dir() || meta.uid() != owner.uid().as_raw() {
        let detail = format!("is not a folder of {}; remove it", owner.name());
        return Err(at(path)(std::io::Error::other(detail)));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_moves_the_socket_to_a_short_one() {
        let temp = Path::new("/tmp");
        assert_eq!(choose(Path::new("/var/lib/practised"), temp), Path::new("/var/lib/practised/run"));
        let long = PathBuf::from(format!("/home/{}/data", "x".repeat(100)));
        let chosen = choose(&long, temp);
        assert!(chosen.starts_with("/tmp") && chosen.join(NAME).as_os_str().len() <= LONGEST, "{chosen:?}");
        assert_ne!(chosen, choose(&long.join("other"), temp));
        let long_temp = PathBuf::from(format!("/{}", "t".repeat(120)));
        assert!(choose(&long, &long_temp).starts_with("/tmp"));
    }
}
