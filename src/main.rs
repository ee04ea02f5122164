//! The `practised` binary: parses the command line and hands over to [`practised::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    practised::cli::Cli::parse().run()
}
