//! The service's database for other commands, whether the service runs or not.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::serve::default_data_dir;
use super::usage;
use crate::db::Db;
use crate::private_postgres;

/// Options for the location of the database and the output format.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Database of the service.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Data directory of a `serve` with a private database instead; it may be running.
    #[arg(long, env = "PRACTISED_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs a command on it. A private PostgreSQL that does not run is started for the duration of the command; `make` decides
/// whether a missing one is created.
pub(super) async fn with(
    place: &Place,
    make: bool,
    command: impl AsyncFnOnce(Db) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    if let Some(url) = &place.database_url {
        return on(url, command).await;
    }
    let data_dir = place.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    if !make && !data_dir.join("postgres").exists() {
        let dir = data_dir.display();
        return Ok(usage(&format!(
            "{dir} contains no database; give the same --data-dir as to `serve`, or --database-url"
        )));
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
