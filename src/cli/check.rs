//! `practised check`.

use std::process::ExitCode;

/// Arguments of `practised check`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised check`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
