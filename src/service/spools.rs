//! The folder for uploads to this process.
//!
//! Several services can share a data directory, for example during a rolling restart. Each has its own folder, and holds a lock
//! on a file in it while it is alive. If the lock of a folder is free, its owner has ended.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

/// Names of the lock in a folder, and of the lock that protects creating and removing folders.
const LOCK: &str = "lock";

/// Earlier versions spooled into the common folder: a file there that is older than this is abandoned.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// This process's folder, removed when dropped.
#[derive(Debug)]
pub struct OwnSpool {
    path: PathBuf,
    _lock: File,
}

impl OwnSpool {
    /// Creates a folder below `root` and removes those whose owners have ended.
    ///
    /// # Errors
    /// If the folder or its lock cannot be created.
    pub fn take(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Between creating a folder and locking it, another process would treat it as abandoned.
        let turn = File::create(root.join(LOCK))?;
        turn.lock()?;
        remove_abandoned(root);
        let path = root.join(Uuid::new_v4().to_string());
        fs::create_dir(&path)?;
        let lock = File::create_new(path.join(LOCK))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// Path that uploads are written to.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnSpool {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!("{} stays until the next start: {error}", self.path.display());
        }
    }
}

fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let removed = match (entry.file_type(), entry.file_name().to_str()) {
            (Ok(kind), Some(name)) if kind.is_dir() && Uuid::try_parse(name).is_ok() => remove_if_free(&path),
            (Ok(kind), Some(name)) if kind.is_file() && name.starts_with("upload-") && is_old(&entry) => {
                fs::remove_file(&path)
            }
            _ => continue,
        };
        if let Err(error) = removed {
            tracing::warn!("{} cannot be removed: {error}", path.display());
        }
    }
}

/// Removes a folder whose lock is free. If it has no lock, its owner ended before creating it.
fn remove_if_free(folder: &Path) -> io::Result<()> {
    let lock = match File::open(folder.join(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match lock.as_ref().map(File::try_lock) {
        Some(Err(TryLockError::WouldBlock)) => Ok(()),
        Some(Err(TryLockError::Error(error))) => Err(error),
        Some(Ok(())) | None => fs::remove_dir_all(folder),
    }
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let written = entry.metadata().and_then(|meta| meta.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > ABANDONED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lives_as_long_as_its_owner() {
        let root = tempfile::tempdir().expect("a folder");
        let first = OwnSpool::take(root.path()).expect("taken");
        fs::write(first.path().join("upload-a"), "on its way").expect("written");
        let second = OwnSpool::take(root.path()).expect("taken");
        assert_ne!(first.path(), second.path());
        assert!(first.path().join("upload-a").exists(), "its owner lives");

        // The state after a killed process: the folder exists, the lock is free.
        let left = root.path().join(Uuid::new_v4().to_string());
        fs::create_dir(&left).expect("made");
        fs::write(left.join(LOCK), "").expect("written");
        fs::write(left.join("upload-b"), "half").expect("written");
        let foreign = root.path().join("lost+found");
        fs::create_dir(&foreign).expect("made");
        let third = OwnSpool::take(root.path()).expect("taken");
        assert!(!left.exists() && foreign.exists() && first.path().exists() && second.path().exists());

        let path = third.path().to_owned();
        drop(third);
        assert!(!path.exists(), "a service that ends leaves nothing");
    }

    #[test]
    fn uploads_of_earlier_versions_go_once_nobody_writes_to_them() {
        let root = tempfile::tempdir().expect("a folder");
        let [old, new] = ["upload-old", "upload-new"].map(|name| root.path().join(name));
        fs::write(&new, "half").expect("written");
        let file = File::create(&old).expect("written");
        file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).expect("set");
        let _own = OwnSpool::take(root.path()).expect("taken");
        assert!(!old.exists() && new.exists());
    }
}
