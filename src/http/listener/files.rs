//! How many files, sockets among them, this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the kernel allows a process by default where the hard limit is "unlimited": more than this cannot be set.
const MOST: u64 = 1 << 20;

/// Raises the soft limit on open files to the hard one, as 1,024, the usual soft limit, is fewer than the connections that a
/// service is to hold; returns what it then is. Workers and PostgreSQL inherit it.
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
