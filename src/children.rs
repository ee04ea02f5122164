//! Child processes that never outlive this process.
//!
//! The parent-death signal is bound to the *thread* that spawned the child, so each child gets a thread that spawns it and
//! then does nothing but wait for its end.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::{oneshot, watch};

/// A running child process in a process group of its own.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Starts a child that gets `on_our_death` when this process ends, however it ends.
///
/// # Errors
/// As [`Command::spawn`].
pub async fn spawn(mut command: Command, on_our_death: Signal) -> io::Result<Child> {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: between fork and exec only prctl, getppid and the making of an error value without allocation are called.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(on_our_death)?;
            // The parent may have died before the line above: then the child would get no signal.
            if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let (started, start) = oneshot::channel();
    let (ended, exit) = watch::channel(None);
    thread::Builder::new().name("child".to_owned()).spawn(move || match command.spawn() {
        Ok(mut child) => {
            // The receiver may be gone: then the child must be killed and reaped here.
            if started.send(Ok(Pid::from_raw(child.id().cast_signed()))).is_err() {
                let _ = child.kill();
            }
            if let Ok(status) = child.wait() {
                let _ = ended.send(Some(status));
            }
        }
        Err(error) => drop(started.send(Err(error))),
    })?;
    let pid = start.await.map_err(|_| io::Error::other("the thread that starts a child ended"))??;
    Ok(Child { pid, exit })
}

impl Child {
    /// Its process id, also the id of its process group.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The exit status, once it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end; `None` if the status was lost.
    pub async fn wait(&mut self) -> Option<ExitStatus> {
        self.exit.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Sends a signal to the child alone. A child that has already ended is not an error.
    pub fn signal(&self, signal: Signal) {
        if self.exited().is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Kills the rest of the child's process group, including the child.
    pub fn kill_group(&self) {
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}

/// The program for processes that need no libtorch: `practised-helper` next to this one, or this one itself if that is missing or of
/// another version. It is held open from its first use on: an upgrade that replaces the files while this process runs changes nothing.
pub fn light_program() -> &'static Path {
    static PROGRAM: LazyLock<(PathBuf, Option<File>)> = LazyLock::new(|| match helper() {
        Ok(file) => (format!("/proc/self/fd/{}", file.as_raw_fd()).into(), Some(file)),
        Err(reason) => {
            tracing::warn!("{reason}: uploads and measurements take half a second longer each");
            ("/proc/self/exe".into(), None)
        }
    });
    &PROGRAM.0
}

fn helper() -> Result<File, String> {
    let path = env::current_exe().map_err(|error| error.to_string())?.with_file_name("practised-helper");
    let file = File::open(&path).map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    let said = Command::new(&path).arg("--version").output().map_err(|error| format!("{}: {error}", path.display()))?;
    let wanted = concat!("practised-helper ", env!("CARGO_PKG_VERSION"), "\n");
    if said.stdout == wanted.as_bytes() {
        Ok(file)
    } else {
        Err(format!("{} is of another version than this program", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_by_signal_and_tells() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut child = spawn(command, Signal::SIGKILL).await.expect("sleep starts");
        assert!(child.exited().is_none());
        child.signal(Signal::SIGTERM);
        assert!(!child.wait().await.expect("a status").success());
        assert!(child.exited().is_some());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let error = spawn(Command::new("/nonexistent/program"), Signal::SIGKILL).await.expect_err("nothing to start");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
