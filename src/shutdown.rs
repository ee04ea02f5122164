//! The way out of a long-running process: the first SIGTERM or Ctrl-C asks everybody to finish, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Within this time of the first signal everything has ended.
pub const GRACE: Duration = Duration::from_secs(30);

/// A token that is cancelled by the first SIGTERM, SIGINT or SIGHUP. The second one ends the process with status 130;
/// children die with it by their parent-death signal.
///
/// # Errors
/// Where the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let stop = token.clone();
    tokio::spawn(async move {
        for asked_before in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hang_up.recv() => "SIGHUP",
            };
            if asked_before {
                tracing::warn!("second signal ({name}): ending at once");
                std::process::exit(130);
            }
            tracing::info!("{name}: finishing");
            stop.cancel();
        }
    });
    Ok(token)
}
