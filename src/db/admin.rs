//! Statements about the server, not about tables.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{Connection, Db, DbError};

/// True once the server behind this socket answers.
pub async fn answers(socket_dir: &Path, user: &str) -> bool {
    let options = PgConnectOptions::new_without_pgpass().socket(socket_dir).username(user).database("postgres");
    match PgConnection::connect_with(&options).await {
        Ok(connection) => connection.close().await.is_ok(),
        Err(_) => false,
    }
}

/// Creates a database on the server behind this socket if it does not exist.
///
/// # Errors
/// If the server does not answer or refuses.
pub async fn ensure_database(socket_dir: &Path, user: &str, name: &'static str) -> Result<(), DbError> {
    let options = PgConnectOptions::new_without_pgpass().socket(socket_dir).username(user).database("postgres");
    let mut server = PgConnection::connect_with(&options).await?;
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut server)
        .await?;
    if !there {
        // A database's name cannot be a parameter; this one is a literal of ours.
        sqlx::query(AssertSqlSafe(format!("create database \"{name}\""))).execute(&mut server).await?;
    }
    Ok(server.close().await?)
}

/// Succeeds if the database answers and has its schema.
///
/// # Errors
/// If it does not answer, or was never migrated.
pub async fn ping(conn: &mut Connection) -> Result<(), DbError> {
    sqlx::query("select 1 from job limit 1").execute(conn).await?;
    Ok(())
}

/// Takes a lock until the end of the transaction, without waiting; false if another transaction holds it.
///
/// # Errors
/// As [`DbError`].
pub async fn try_lock(conn: &mut Connection, name: &str) -> Result<bool, DbError> {
    let taken = sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtextextended($1, 0))");
    Ok(taken.bind(name).fetch_one(conn).await?)
}

/// Notifies listeners when the transaction commits.
///
/// # Errors
/// As [`DbError`].
pub async fn notify(conn: &mut Connection, channel: &str, payload: &str) -> Result<(), DbError> {
    sqlx::query("select pg_notify($1, $2)").bind(channel).bind(payload).execute(conn).await?;
    Ok(())
}

impl Db {
    /// A listener with a connection of its own, which it renews when the connection breaks.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn listen(&self, channels: &[&str]) -> Result<sqlx::postgres::PgListener, DbError> {
        let mut listener = sqlx::postgres::PgListener::connect_with(self.pool()).await?;
        listener.listen_all(channels.iter().copied()).await?;
        Ok(listener)
    }
}
