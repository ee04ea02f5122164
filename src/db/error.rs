//! Database errors, by what the caller can do.

use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

/// The boundary error of [`crate::db`].
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The server does not answer, ends our connection, or has no connection left: try again later.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The server takes no connection of ours, however often it is tried, or the URL names none: cause and fix.
    #[error("cannot connect: {0}")]
    Refused(String),
    /// The server's volume is full (SQLSTATE class 53100).
    #[error("the database's disk is full: {0}")]
    DiskFull(String),
    /// A constraint with this name refused the change.
    #[error("constraint {name} refused the change: {detail}")]
    Constraint {
        /// Name in the schema.
        name: String,
        /// The server's words.
        detail: String,
    },
    /// A text holds a character that the server does not store: NUL.
    #[error("a text cannot be stored: {0}")]
    Text(String),
    /// The schema could not be brought up to date.
    #[error("the schema cannot be brought up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// Anything else: our mistake.
    #[error("a statement failed: {0}")]
    Statement(sqlx::Error),
}

impl DbError {
    /// The same for another caller that waited for the same statement.
    pub(super) fn repeated(&self) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(reason.clone()),
            other => Self::Statement(sqlx::Error::Protocol(other.to_string())),
        }
    }

    /// True if a constraint of this name refused the change.
    pub fn is_constraint(&self, wanted: &str) -> bool {
        matches!(self, Self::Constraint { name, .. } if name == wanted)
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
                // 08 connection, 57P0x shutdown and start-up, 53300 too many connections, 40001/40P01 lost a race, 25006 a
                // standby that was promoted away from under us.
                Some(code) if code.starts_with("08") || code.starts_with("57P") => Self::Unavailable(error.to_string()),
                Some("53300" | "40001" | "40P01" | "25006") => Self::Unavailable(error.to_string()),
                Some("53100") => Self::DiskFull(error.to_string()),
                // 22021 in text, 22P05 in jsonb.
                Some("22021" | "22P05") => Self::Text(error.to_string()),
                _ => match (refusal.kind(), refusal.constraint()) {
                    (ErrorKind::Other, None) | (_, None) => Self::Statement(error),
                    (_, Some(name)) => Self::Constraint { name: name.to_owned(), detail: refusal.message().to_owned() },
                },
            },
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Statement(error),
        }
    }
}
