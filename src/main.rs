//! The `practised` binary: parses the command line and hands over to [`practised::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Nothing, unless this is a build for tests: there the environment says where to die.
    let _failpoints = fail::FailScenario::setup();
    practised::cli::Cli::parse().run()
}
