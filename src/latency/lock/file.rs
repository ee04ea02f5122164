//! A lock file: opened, locked, and replaced if only stopped processes hold it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::stopped;
use crate::latency::error::LatencyError;

const POLL: Duration = Duration::from_millis(25);

/// The holders are checked every so many failed polls, which is about a second.
const LOOK: u32 = 40;

/// Name of the file that is locked while a lock file is replaced.
const ASIDE: &str = "practised-aside.lock";

/// Permissions: everyone may read it, and so lock it.
const MODE: u32 = 0o644;

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

impl Mode {
    fn attempt(self, file: &File) -> Result<(), TryLockError> {
        match self {
            Self::Shared => file.try_lock_shared(),
            Self::Exclusive => file.try_lock(),
        }
    }
}

/// A held lock. It ends when it is dropped or its holder dies.
#[derive(Debug)]
pub(super) struct Locked {
    path: PathBuf,
    file: File,
}

impl Locked {
    /// Waits for the lock, and calls `cancelled` about forty times a second.
    ///
    /// It does not wait for a stopped holder: that computes nothing, and may never continue.
    pub(super) fn wait(path: PathBuf, mode: Mode, cancelled: &dyn Fn() -> bool) -> Result<Self, LatencyError> {
        for polls in 1_u32.. {
            if let Some(locked) = Self::attempt(&path, mode)? {
                return Ok(locked);
            }
            if cancelled() {
                return Err(LatencyError::Cancelled);
            }
            sleep(POLL);
            if polls.is_multiple_of(LOOK) {
                // If that is not allowed, it is waited for like any other holder.
                let _ = put_aside_if_stopped(&path);
            }
        }
        Err(LatencyError::Cancelled)
    }

    /// The lock, if it is free.
    pub(super) fn attempt(path: &Path, mode: Mode) -> Result<Option<Self>, LatencyError> {
        let failed = |what: &str, error| LatencyError::io(format!("{what} {}", path.display()), error);
        let file = open(path).map_err(|error| failed("lock file", error))?;
        match mode.attempt(&file) {
            Ok(()) => {
                let locked = Self { path: path.to_owned(), file };
                // If it was replaced in between, this lock is void.
                Ok(locked.counts().then_some(locked))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed("locking", error)),
        }
    }

    /// False once others have replaced the file because this holder was stopped: the lock is void.
    pub(super) fn counts(&self) -> bool {
        in_place(&self.path, &self.file).unwrap_or(false)
    }
}

fn in_place(path: &Path, file: &File) -> io::Result<bool> {
    let (there, here) = (fs::symlink_metadata(path)?, file.metadata()?);
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

/// Replaces a file that only stopped processes hold. Waiting processes find the new file; holders of the old one find that
/// their lock is void.
fn put_aside_if_stopped(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    if !stopped::all_holders(&file)? {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let alone = open(&folder.join(ASIDE))?;
    // Another process is replacing it.
    if alone.try_lock().is_err() || !in_place(path, &file)? {
        return Ok(());
    }
    let new = tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(folder)?;
    new.persist(path)?;
    tracing::warn!(file = %path.display(), "only stopped processes hold the host's lock: they are not waited for");
    Ok(())
}

/// Opens for reading, which is enough to lock and works on a file of another user; never through a link that another user put
/// into the temporary folder.
fn open(path: &Path) -> io::Result<File> {
    let nofollow = OFlag::O_NOFOLLOW.bits();
    match OpenOptions::new().read(true).custom_flags(nofollow).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    let created = OpenOptions::new().write(true).create_new(true).mode(MODE).custom_flags(nofollow).open(path);
    match created {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).custom_flags(nofollow).open(path)
        }
        done => done,
    }
}
