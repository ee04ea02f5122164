//! The `practised` binary: parses the command line and hands over to [`practised::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // No effect except in test builds, in which the environment sets the points at which the process dies.
    let _failpoints = fail::FailScenario::setup();
    practised::cli::Cli::parse().run()
}
