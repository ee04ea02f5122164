//! `practised latency`.

use std::process::ExitCode;

/// Arguments of `practised latency`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `practised latency`.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}

/// Arguments of the hidden `practised latency-child`.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {}

/// Runs `practised latency-child`.
pub fn run_child(_args: ChildArgs) -> ExitCode {
    ExitCode::FAILURE
}
