//! `practised migrate`.

use std::process::ExitCode;

use crate::db::Db;
use crate::telemetry;

/// Arguments of `practised migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Database to update; `serve` does the same for its own.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

/// Runs `practised migrate`.
pub fn run(args: Args) -> ExitCode {
    telemetry::init();
    super::block_on(async {
        let db = Db::connect(&args.database_url, 1).await?;
        db.migrate().await?;
        println!("the schema is up to date");
        Ok(ExitCode::SUCCESS)
    })
}
