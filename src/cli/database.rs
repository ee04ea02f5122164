//! The service's database for commands beside it, whether the service runs or not.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::serve::default_data_dir;
use super::usage;
use crate::db::Db;
use crate::jobs::private_postgres;

/// Where it is.
pub(super) struct Place {
    /// A database of its own standing.
    pub(super) database_url: Option<String>,
    /// Or the data directory of a `serve` with a private one; its usual one where neither is given.
    pub(super) data_dir: Option<PathBuf>,
    /// Whether to make a private one where there is none.
    pub(super) make: bool,
}

/// Runs a command on it. A private PostgreSQL that does not run is started for as long as that takes.
pub(super) async fn with(
    place: Place,
    command: impl AsyncFnOnce(Db) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    if let Some(url) = &place.database_url {
        return on(url, command).await;
    }
    let data_dir = place.data_dir.map_or_else(default_data_dir, Ok)?;
    if !place.make && !data_dir.join("postgres").exists() {
        let dir = data_dir.display();
        return Ok(usage(&format!("{dir} holds no database; give --data-dir as to `serve`, or --database-url")));
    }
    if let Some(url) = private_postgres::running(&data_dir).await {
        return on(&url, command).await;
    }
    let postgres = match private_postgres::start(&data_dir).await {
        Ok(postgres) => postgres,
        Err(error) => return Ok(usage(&error.to_string())),
    };
    let result = on(&postgres.url(), command).await;
    postgres.stop().await;
    result
}

async fn on(url: &str, command: impl AsyncFnOnce(Db) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let db = Db::connect(url, 2).await.context("the database cannot be used")?;
    let result = command(db.clone()).await;
    db.close().await;
    result
}
