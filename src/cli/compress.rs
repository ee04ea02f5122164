//! `practised compress`.

use std::process::ExitCode;

/// Arguments of `practised compress`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised compress`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
