//! `practised serve`.

use std::process::ExitCode;

/// Arguments of `practised serve`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised serve`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
