//! The limit on open files, including sockets.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The kernel's default maximum if the hard limit is "unlimited"; more cannot be set.
const MOST: u64 = 1 << 20;

/// Raises the soft limit on open files to the hard one, because the usual 1,024 are fewer than the connections of a service.
/// Returns the new limit. Workers and PostgreSQL inherit it.
pub fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let wanted = hard.min(MOST).max(soft);
    if wanted == soft {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!("the limit on open files stays {soft}: {error}");
            soft
        }
    }
}

/// Connections for which this many open files suffice: a quarter of the files is for the database, uploads and everything else.
pub fn connections_within(files: u64) -> usize {
    usize::try_from(files / 4 * 3).unwrap_or(usize::MAX).max(1)
}
