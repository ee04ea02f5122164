//! Signals of a long-running process. The first SIGTERM or SIGINT asks everything to finish, the second ends the process at once.
//! SIGHUP reloads. A signal that the process was started to ignore stays ignored: SIGHUP under `nohup`, SIGINT in a shell's
//! background job.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// Time limit from the first signal to the end. Container managers must wait longer (docker/compose.yaml).
pub const GRACE: Duration = Duration::from_secs(30);

/// Default part of it for requests in flight; the rest is for closing the database.
pub const DRAIN: Duration = Duration::from_secs(25);

const _: () = assert!(DRAIN.as_secs() < GRACE.as_secs());

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process with status 130; children die with it
/// by their parent-death signal. SIGHUP calls `reload`.
///
/// # Errors
/// If the signal handlers cannot be installed.
pub fn on_signal(reload: impl Fn() + Send + 'static) -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = Listened::to(Signal::SIGTERM)?;
    let mut interrupt = Listened::to(Signal::SIGINT)?;
    let mut hang_up = Listened::to(Signal::SIGHUP)?;
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                () = terminate.next() => "SIGTERM",
                () = interrupt.next() => "SIGINT",
                () = hang_up.next() => {
                    reload();
                    continue;
                }
            };
            if stop.is_cancelled() {
                tracing::warn!("second signal ({name}): ending at once");
                std::process::exit(130);
            }
            tracing::info!("{name}: finishing");
            stop.cancel();
        }
    });
    Ok(token)
}

/// A signal that is handled here, unless it is to be ignored.
struct Listened(Option<unix::Signal>);

impl Listened {
    fn to(signal: Signal) -> io::Result<Self> {
        if is_ignored(signal)? {
            tracing::debug!("{signal} is ignored, as this process was started");
            return Ok(Self(None));
        }
        Ok(Self(Some(unix::signal(SignalKind::from_raw(signal as i32))?)))
    }

    /// The next time it comes: never, if it is ignored.
    async fn next(&mut self) {
        let came = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if came.is_none() {
            std::future::pending().await
        }
    }
}

/// Whether the signal was ignored when this process was started.
fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed, and the old one is written to memory of its type.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has succeeded, so it has been written.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}
