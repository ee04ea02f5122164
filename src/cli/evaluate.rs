//! `practised evaluate`.

use std::process::ExitCode;

/// Arguments of `practised evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised evaluate`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
