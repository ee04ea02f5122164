//! The first connection, and why there is none: host, port, cause and fix, never the password.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Error};

use super::DbError;

/// How long a server that did not answer the pool is asked for the cause.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens a pool on `url`.
///
/// # Errors
/// If the URL cannot be read, the server does not answer, or it refuses.
pub(super) async fn open(pool: PgPoolOptions, url: &str) -> Result<PgPool, DbError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        DbError::Refused(format!("the URL cannot be read ({error}); write postgres://USER:PASSWORD@HOST:PORT/DATABASE"))
    })?;
    let error = match pool.connect_with(options.clone()).await {
        Ok(pool) => return Ok(pool),
        Err(error) => error,
    };
    // A pool retries until its timeout, and then reports only that.
    let cause = match error {
        Error::PoolTimedOut => cause(&options).await.unwrap_or(Error::PoolTimedOut),
        error => error,
    };
    Err(explained(cause, &options))
}

async fn cause(options: &PgConnectOptions) -> Option<Error> {
    match tokio::time::timeout(PATIENCE, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => {
            // It answers by now, but not as fast as was asked.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) => Some(error),
        Err(_) => Some(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))),
    }
}

fn explained(error: Error, options: &PgConnectOptions) -> DbError {
    let place = place(options);
    match error {
        Error::Io(cause) => DbError::Unavailable(format!(
            "{place}: {cause}; start PostgreSQL there, or give the host and port where it is in DATABASE_URL"
        )),
        Error::Tls(cause) => {
            DbError::Unavailable(format!("{place}: no TLS connection: {cause}; see sslmode in DATABASE_URL"))
        }
        Error::PoolTimedOut => {
            DbError::Unavailable(format!("{place}: no connection within five seconds; the server may be overloaded"))
        }
        Error::Database(refusal) => match fix(refusal.code().as_deref()) {
            Some(fix) => DbError::Refused(format!("{place}: {}; {fix}", refusal.message())),
            None => match Error::Database(refusal).into() {
                DbError::Unavailable(cause) => DbError::Unavailable(format!("{place}: {cause}")),
                error => error,
            },
        },
        error => error.into(),
    }
}

/// The fix for an error that retrying cannot solve.
fn fix(sqlstate: Option<&str>) -> Option<&'static str> {
    match sqlstate? {
        "28000" | "28P01" => Some("check user and password in DATABASE_URL, and pg_hba.conf of the server"),
        "3D000" => Some("create the database (createdb NAME), or give another one in DATABASE_URL"),
        "42501" => Some("let the user connect to the database (grant connect)"),
        _ => None,
    }
}

/// `"practised" at localhost:5432`.
fn place(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("\"{name}\" at {}, port {}", socket.display(), options.get_port()),
        None => format!("\"{name}\" at {}:{}", options.get_host(), options.get_port()),
    }
}
