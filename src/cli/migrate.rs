//! `practised migrate`.

use std::process::ExitCode;

/// Arguments of `practised migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised migrate`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
