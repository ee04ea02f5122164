//! One lock for the whole host, so that nothing else computes while latency is measured.
//!
//! Two files: work holds the *floor* shared, a measurement holds it exclusively. Whoever comes passes the *gate* first,
//! and a measurement stays in the gate while it waits for the floor, so that a stream of short work cannot keep it
//! waiting for ever. Both are `flock`s: the kernel lets go of them when their holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::error::LatencyError;

/// The lock, by the folder that its files are in; nothing is held yet.
#[derive(Debug, Clone)]
pub struct HostLock {
    folder: PathBuf,
}

/// Held while latency is measured: nothing else computes. Let go on drop.
#[derive(Debug)]
pub struct Exclusive {
    _floor: File,
}

/// Held while anything else computes. Let go on drop.
#[derive(Debug)]
pub struct Shared {
    lock: HostLock,
    floor: Option<File>,
}

const POLL: Duration = Duration::from_millis(25);

impl HostLock {
    /// The lock of this host, in the folder for temporary files.
    pub fn of_host() -> Self {
        Self::in_folder(std::env::temp_dir())
    }

    /// A lock of its own, for tests and for hosts whose processes do not share a temporary folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Waits until nothing else computes, and keeps it so. Asks `cancelled` some forty times a second.
    ///
    /// # Errors
    /// [`LatencyError::Cancelled`]; [`LatencyError::Io`] where the lock files cannot be opened.
    pub fn exclusive(&self, cancelled: &dyn Fn() -> bool) -> Result<Exclusive, LatencyError> {
        let _gate = self.wait(GATE, Mode::Exclusive, cancelled)?;
        Ok(Exclusive { _floor: self.wait(FLOOR, Mode::Exclusive, cancelled)? })
    }

    /// Waits until nothing is being measured or waits to be. Errors as [`Self::exclusive`].
    pub fn shared(&self, cancelled: &dyn Fn() -> bool) -> Result<Shared, LatencyError> {
        let floor = self.enter_shared(cancelled)?;
        Ok(Shared { lock: self.clone(), floor: Some(floor) })
    }

    fn enter_shared(&self, cancelled: &dyn Fn() -> bool) -> Result<File, LatencyError> {
        let _gate = self.wait(GATE, Mode::Exclusive, cancelled)?;
        self.wait(FLOOR, Mode::Shared, cancelled)
    }

    fn wait(&self, name: &str, mode: Mode, cancelled: &dyn Fn() -> bool) -> Result<File, LatencyError> {
        let path = self.folder.join(name);
        let file = open(&path).map_err(|e| LatencyError::io(format!("lock file {}", path.display()), e))?;
        loop {
            match mode.attempt(&file) {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if cancelled() => return Err(LatencyError::Cancelled),
                Err(TryLockError::WouldBlock) => sleep(POLL),
                Err(TryLockError::Error(e)) => {
                    return Err(LatencyError::io(format!("locking {}", path.display()), e));
                }
            }
        }
    }
}

impl Shared {
    /// Lets a waiting measurement go first: to be called between the steps of long work. Costs a few microseconds
    /// where nobody waits; says whether the lock was given up and taken again. Errors as [`HostLock::exclusive`], and
    /// then the lock is no longer held.
    pub fn give_way(&mut self, cancelled: &dyn Fn() -> bool) -> Result<bool, LatencyError> {
        let path = self.lock.folder.join(GATE);
        let gate = open(&path).map_err(|e| LatencyError::io(format!("lock file {}", path.display()), e))?;
        if Mode::Exclusive.attempt(&gate).is_ok() {
            return Ok(false);
        }
        self.floor = None;
        self.floor = Some(self.lock.enter_shared(cancelled)?);
        Ok(true)
    }
}

const GATE: &str = "practised-gate.lock";
const FLOOR: &str = "practised-floor.lock";

#[derive(Debug, Clone, Copy)]
enum Mode {
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

/// Opens for reading, which is enough to lock and works on a file of another user; never through a link that somebody
/// else put into the temporary folder.
fn open(path: &Path) -> io::Result<File> {
    let nofollow = OFlag::O_NOFOLLOW.bits();
    match OpenOptions::new().read(true).custom_flags(nofollow).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    let created = OpenOptions::new().write(true).create_new(true).mode(0o644).custom_flags(nofollow).open(path);
    match created {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).custom_flags(nofollow).open(path)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::thread;

    const NEVER: &dyn Fn() -> bool = &|| false;
    const AT_ONCE: &dyn Fn() -> bool = &|| true;

    fn cancelled<T: std::fmt::Debug>(result: Result<T, LatencyError>) -> bool {
        matches!(result, Err(LatencyError::Cancelled))
    }

    #[test]
    fn work_goes_on_side_by_side_and_a_measurement_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = HostLock::in_folder(dir.path());
        let (one, two) = (lock.shared(NEVER).expect("free"), lock.shared(NEVER).expect("shared"));
        assert!(cancelled(lock.exclusive(AT_ONCE)), "work is going on");
        drop((one, two));
        let measuring = lock.exclusive(NEVER).expect("free again");
        assert!(cancelled(lock.shared(AT_ONCE)) && cancelled(lock.exclusive(AT_ONCE)));
        drop(measuring);
        lock.shared(NEVER).expect("free again");
    }

    #[test]
    fn new_work_waits_behind_a_waiting_measurement_and_long_work_gives_way() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = HostLock::in_folder(dir.path());
        let mut long = lock.shared(NEVER).expect("free");
        assert!(!long.give_way(NEVER).expect("nobody waits"));
        let measured = AtomicBool::new(false);
        let (arrived, waiting) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                // The first question is asked once the gate is passed and the floor is found taken.
                let ask = || arrived.send(()).is_err();
                let _measuring = lock.exclusive(&ask).expect("long work gives way");
                measured.store(true, SeqCst);
            });
            waiting.recv().expect("the measurement waits");
            assert!(cancelled(lock.shared(AT_ONCE)), "new work waits behind it");
            assert!(!measured.load(SeqCst));
            assert!(long.give_way(NEVER).expect("comes back"));
            assert!(measured.load(SeqCst), "it was measured in between");
        });
        assert!(cancelled(lock.exclusive(AT_ONCE)), "the long work has the floor again");
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_file_is_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "x").expect("a file");
        std::os::unix::fs::symlink(&victim, dir.path().join(GATE)).expect("a link");
        let error = HostLock::in_folder(dir.path()).shared(NEVER).expect_err("a link");
        assert!(error.to_string().contains(GATE) && !error.is_input(), "{error}");
    }
}
