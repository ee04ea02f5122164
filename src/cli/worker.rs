//! `practised worker`.

use std::process::ExitCode;

/// Arguments of `practised worker`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised worker`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
