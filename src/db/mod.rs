//! Everything that is SQL. One file per table, static statements, rows as structs.
//!
//! A change of state is one statement guarded by the state it expects; the caller checks how many rows it touched. Nothing
//! here decides what should happen: that is `queue` and `service`. Functions take a connection, so that callers choose what
//! is one transaction.
//!
//! Lock order: a job's row first, then its tasks. Only a claim touches tasks without their job, and it never waits.

pub mod admin;
pub mod api_keys;
pub mod artifacts;
pub mod blobs;
pub mod claims;
mod commit;
mod connect;
mod error;
pub mod events;
pub mod image_sets;
pub mod invariants;
pub mod jobs;
pub mod keys;
pub mod metrics;
pub mod models;
pub mod page;
pub mod polls;
pub mod scores;
mod shared_reads;
pub mod tasks;
pub mod tenants;
mod types;
pub mod workers;

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection as _, Postgres};

use api_keys::KeyHash;
pub use commit::{CommitPoint, commit};
pub use error::DbError;
pub use page::{Order, Page};
use polls::PollKey;
use shared_reads::SharedReads;
pub use types::{JobOutcome, JobPriority, JobStatus, Scope, TaskKind, TaskState};

/// What the functions of this layer take.
pub type Connection = sqlx::PgConnection;

/// A transaction, rolled back unless [`commit()`] ends it.
pub type Transaction = sqlx::Transaction<'static, Postgres>;

/// How long a connection may have been idle to be used without a ping.
const IDLE: Duration = Duration::from_secs(1);

/// A pool of connections to one database.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    polls: SharedReads<PollKey>,
    keys: SharedReads<KeyHash>,
}

impl Db {
    /// Connects to `url`, for example `postgres://user:password@host/practised`.
    ///
    /// # Errors
    /// If the URL cannot be read, the server does not answer within five seconds, or it refuses; with host, port, cause and fix.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, DbError> {
        let options = PgPoolOptions::new()
            .max_connections(connections)
            // A customer rather gets a 503 soon than an answer late.
            .acquire_timeout(Duration::from_secs(5))
            .max_lifetime(Duration::from_secs(30 * 60))
            // A ping costs as much as a statement. Only a connection that nobody has used for a while is likely to be broken.
            .test_before_acquire(false)
            .before_acquire(|conn, meta| {
                Box::pin(async move { if meta.idle_for < IDLE { Ok(true) } else { conn.ping().await.map(|()| true) } })
            })
            // All statements are short ones: where statistics are still missing, PostgreSQL may take one for long, and compile
            // for seconds what runs for a millisecond.
            .after_connect(|conn, _| {
                Box::pin(async move { sqlx::query("set jit = off").execute(conn).await.map(|_| ()) })
            });
        let pool = connect::open(options, url).await?;
        Ok(Self { pool, polls: SharedReads::default(), keys: SharedReads::default() })
    }

    /// Brings the schema up to date. Safe to call from many processes at once: an advisory lock lets one work.
    ///
    /// # Errors
    /// Where a migration fails, or the database was migrated by a newer version.
    pub async fn migrate(&self) -> Result<(), DbError> {
        sqlx::migrate!().run(&self.pool).await.map_err(DbError::from)
    }

    /// A connection of its own, for reading and for single statements.
    ///
    /// # Errors
    /// Where none is free or the server does not answer.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, DbError> {
        Ok(self.pool.acquire().await?)
    }

    /// A new connection that is closed when it is dropped.
    async fn outside_the_pool(&self) -> Result<Connection, DbError> {
        Ok(Connection::connect_with(&self.pool.connect_options()).await?)
    }

    /// A transaction; dropped without `commit`, it never happened.
    ///
    /// # Errors
    /// As [`Db::connection`].
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        Ok(self.pool.begin().await?)
    }

    /// A transaction that sees one state of the database throughout, and changes nothing.
    ///
    /// # Errors
    /// As [`Db::connection`].
    pub async fn snapshot(&self) -> Result<Transaction, DbError> {
        Ok(self.pool.begin_with("begin isolation level repeatable read, read only").await?)
    }

    /// The pool itself, for listening.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
