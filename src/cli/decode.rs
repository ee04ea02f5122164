//! The hidden `practised decode-child`: opens one image set for the service, in a process of its own.

use std::process::ExitCode;

use crate::service::decoding;

/// Arguments of `practised decode-child`; the request comes on stdin.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {}

/// Runs `practised decode-child`.
pub fn run_child(_args: ChildArgs) -> ExitCode {
    decoding::run_child()
}
