//! One lock for the whole host, so that nothing else computes while latency is measured.
//!
//! There are two files. Work holds the *floor* shared, a measurement holds it exclusively. Every process passes the *gate*
//! first, and a measurement stays in the gate while it waits for the floor, so that a stream of short work cannot delay it
//! forever. Both are `flock`s: the kernel releases them when their holder dies. A stopped holder is ignored: its lock file is
//! replaced, and if it continues, it finds that its lock is void.

mod file;
mod stopped;

use std::path::PathBuf;

use super::error::LatencyError;
use file::{Locked, Mode};

/// The lock, identified by the folder of its files. It is not held yet.
#[derive(Debug, Clone)]
pub struct HostLock {
    folder: PathBuf,
}

/// Held while anything except a measurement computes. Released on drop.
#[derive(Debug)]
pub struct Shared {
    lock: HostLock,
    floor: Option<Locked>,
}

const GATE: &str = "practised-gate.lock";
const FLOOR: &str = "practised-floor.lock";

impl HostLock {
    /// The lock of this host, in the folder for temporary files.
    pub fn of_host() -> Self {
        Self::in_folder(std::env::temp_dir())
    }

    /// A separate lock, for tests and for hosts whose processes do not share a temporary folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Waits until nothing else computes, and measures while it prevents others from computing. Repeats the measurement if this
    /// process was stopped meanwhile and others continued without it. Calls `cancelled` about forty times a second while it
    /// waits.
    ///
    /// # Errors
    /// [`LatencyError::Cancelled`]; [`LatencyError::Io`] if the lock files cannot be opened; the errors of `measure`.
    pub fn alone<T>(
        &self,
        cancelled: &dyn Fn() -> bool,
        measure: impl Fn() -> Result<T, LatencyError>,
    ) -> Result<T, LatencyError> {
        loop {
            let floor = self.exclusive(cancelled)?;
            let measured = measure()?;
            if floor.counts() {
                return Ok(measured);
            }
        }
    }

    fn exclusive(&self, cancelled: &dyn Fn() -> bool) -> Result<Locked, LatencyError> {
        let _gate = self.wait(GATE, Mode::Exclusive, cancelled)?;
        self.wait(FLOOR, Mode::Exclusive, cancelled)
    }

    /// Waits until no measurement is running or waiting. Errors as [`Self::alone`].
    pub fn shared(&self, cancelled: &dyn Fn() -> bool) -> Result<Shared, LatencyError> {
        let floor = self.enter_shared(cancelled)?;
        Ok(Shared { lock: self.clone(), floor: Some(floor) })
    }

    fn enter_shared(&self, cancelled: &dyn Fn() -> bool) -> Result<Locked, LatencyError> {
        let _gate = self.wait(GATE, Mode::Exclusive, cancelled)?;
        self.wait(FLOOR, Mode::Shared, cancelled)
    }

    fn wait(&self, name: &str, mode: Mode, cancelled: &dyn Fn() -> bool) -> Result<Locked, LatencyError> {
        Locked::wait(self.folder.join(name), mode, cancelled)
    }
}

impl Shared {
    /// Lets a waiting measurement go first; call it between the steps of long work. Costs a few microseconds if nothing waits.
    /// Returns whether the lock was released and acquired again. Errors as [`HostLock::alone`]; the lock is not held after an
    /// error.
    pub fn give_way(&mut self, cancelled: &dyn Fn() -> bool) -> Result<bool, LatencyError> {
        let nobody_waits = Locked::attempt(&self.lock.folder.join(GATE), Mode::Exclusive)?.is_some();
        if nobody_waits && self.floor.as_ref().is_some_and(Locked::counts) {
            return Ok(false);
        }
        self.floor = None;
        self.floor = Some(self.lock.enter_shared(cancelled)?);
        Ok(true)
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
                // `cancelled` is first called after the gate is passed and the floor is taken.
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

    /// Another process that holds a lock file: `flock` of util-linux.
    struct Holder(std::process::Child);

    impl Holder {
        fn of(lock: &HostLock, name: &str, how: &str) -> Self {
            let path = lock.folder.join(name);
            let file = path.to_str().expect("a name");
            let child = std::process::Command::new("flock").args(["--no-fork", how, file, "sleep", "60"]).spawn();
            let holder = Self(child.expect("util-linux is there"));
            while Locked::attempt(&path, Mode::Exclusive).expect("opens").is_some() {
                thread::sleep(std::time::Duration::from_millis(10));
            }
            holder
        }

        fn stop(&self) {
            use nix::sys::signal::{Signal, kill};
            kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), Signal::SIGSTOP).expect("it runs");
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// True so many seconds after it was asked first.
    fn after(seconds: f64) -> impl Fn() -> bool {
        let began = std::cell::OnceCell::new();
        move || began.get_or_init(std::time::Instant::now).elapsed().as_secs_f64() > seconds
    }

    #[test]
    fn a_process_that_is_stopped_is_not_waited_for_and_one_that_runs_is() {
        let holds = [(FLOOR, "--shared"), (FLOOR, "--exclusive"), (GATE, "--exclusive")];
        for (name, how) in holds {
            let dir = tempfile::tempdir().expect("a folder");
            let lock = HostLock::in_folder(dir.path());
            let (one, two) = (Holder::of(&lock, name, how), (how == "--shared").then(|| Holder::of(&lock, name, how)));
            assert!(cancelled(lock.exclusive(&after(2.5))), "{name} is held {how}");
            one.stop();
            if let Some(two) = two {
                assert!(cancelled(lock.exclusive(&after(2.5))), "one of the two runs");
                two.stop();
            }
            lock.alone(NEVER, || Ok(())).expect("passes it by");
            lock.shared(NEVER).expect("passes it by");
        }
    }

    #[test]
    fn who_was_stopped_finds_that_others_went_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = HostLock::in_folder(dir.path());
        // This is what others do to the lock file of a stopped process.
        let put_aside = || std::fs::rename(dir.path().join(FLOOR), dir.path().join("aside")).expect("renamed");
        let mut long = lock.shared(NEVER).expect("free");
        put_aside();
        assert!(long.give_way(NEVER).expect("comes back"), "what it held keeps nobody away");
        assert!(!long.give_way(NEVER).expect("nobody waits"));
        drop(long);
        let measured = std::cell::Cell::new(0);
        let measure = || {
            measured.set(measured.get() + 1);
            if measured.get() == 1 {
                put_aside();
            }
            Ok(measured.get())
        };
        assert_eq!(lock.alone(NEVER, measure).expect("free"), 2, "measured once more");
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
