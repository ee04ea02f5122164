//! Errors of the private PostgreSQL.

use std::path::{Path, PathBuf};

/// Why the private PostgreSQL is not available. Every message has the fix.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    /// No binaries.
    #[error(
        "no PostgreSQL that {user} can run found (looked in {}); install it (Debian: apt install postgresql), set PG_BIN_DIR, run \
         scripts/setup, or give --database-url",
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoBinaries {
        /// Folders without them.
        looked: Vec<PathBuf>,
        /// Who is to run it.
        user: String,
    },
    /// The data is of another major version.
    #[error(
        "the data in {} was written by PostgreSQL {data}, but only {found} is installed; install PostgreSQL {data}, set PG_BIN_DIR \
         to its bin folder, or give another --data-dir",
        dir.display()
    )]
    OtherVersion {
        /// The cluster.
        dir: PathBuf,
        /// Version of the data.
        data: String,
        /// Versions of the binaries.
        found: String,
    },
    /// PostgreSQL refuses to run as root, and there is no other user to run it as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as; create one, or give \
         --database-url"
    )]
    NobodyElse,
    /// The process has a uid that the host does not know.
    #[error("uid {0} has no entry in /etc/passwd, and PostgreSQL needs one; add it, or give --database-url")]
    UnknownUser(u32),
    /// The user PostgreSQL runs as cannot pass a folder.
    #[error(
        "PostgreSQL runs as {user} here and cannot pass {}; choose a --data-dir that it can reach (such as \
         /var/lib/practised), or chmod o+x that folder",
        folder.display()
    )]
    Unreachable {
        /// The folder that is in the way.
        folder: PathBuf,
        /// Who cannot pass.
        user: String,
    },
    /// Another process uses the data.
    #[error("{} is in use by another `practised serve` (process {pid}); stop that one, or give another --data-dir", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Process id, if known.
        pid: String,
    },
    /// A program failed.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// Which one.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// The server did not answer in time.
    #[error("PostgreSQL did not answer within {} s; see {}", super::START.as_secs(), log.display())]
    Silent {
        /// Its log.
        log: PathBuf,
    },
    /// The server responds, but a statement failed.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// A file or folder.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Error of the operating system.
        error: std::io::Error,
    },
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> PrivatePostgresError {
    move |error| PrivatePostgresError::File { path: path.to_owned(), error }
}
