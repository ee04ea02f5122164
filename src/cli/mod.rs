//! The command line: one file per subcommand, each an argument struct and `run`; [`scripts`] has those for our own scripts.

pub mod check;
pub mod compress;
mod connections;
mod database;
pub mod decode;
pub mod doctor;
pub mod evaluate;
pub mod failure;
pub mod files;
pub mod keys;
pub mod latency;
pub mod migrate;
pub mod progress;
mod scripts;
pub mod serve;
mod table;
pub mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigHandler, Signal, signal};

use self::scripts::{conformance, drop, filters, steps};
use crate::exec;

/// Makes a trained residual CNN faster: drops whole blocks, then recovers on a few unlabelled images.
#[derive(Debug, Parser)]
#[command(name = "practised", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the HTTP service with its workers.
    Serve(serve::Args),
    /// Run one worker process.
    Worker(worker::Args),
    /// Update the database schema to this version.
    Migrate(migrate::Args),
    /// Create, list and revoke the API keys of the service.
    Keys(keys::Args),
    /// Check the service's database: whether jobs, tasks and stored bytes are consistent.
    Doctor(doctor::Args),
    /// List a network's blocks, the reason if a block cannot be dropped, and every unsupported operator.
    Check(check::Args),
    /// Compress a network without a service.
    Compress(compress::Args),
    /// Compare a student with its teacher on images.
    Evaluate(evaluate::Args),
    /// Measure the latency of one network, or compare two.
    Latency(latency::Args),
    /// For benchmarks: prune channels instead of blocks, and recover the same way.
    #[command(hide = true)]
    Filters(filters::Args),
    /// For `make conformance`: run the executor on cases in the layout of ONNX's backend tests.
    #[command(hide = true)]
    Conformance(conformance::Args),
    /// For `make zoo`: write a network without the given blocks.
    #[command(hide = true)]
    Drop(drop::Args),
    /// For `scripts/gpu-check`: time the steps of a recovery by phase.
    #[command(hide = true)]
    Steps(steps::Args),
    /// Run by the service itself: measures latency and nothing else.
    #[command(hide = true)]
    LatencyChild(latency::ChildArgs),
    /// Run by the service itself: decodes one uploaded image set.
    #[command(hide = true)]
    DecodeChild(decode::ChildArgs),
}

impl Cli {
    /// Runs the subcommand: exit code 0 on success, 2 if the input or the usage is wrong, 1 on an internal error.
    pub fn run(self) -> ExitCode {
        if self.command.computes() {
            exec::compute_here();
        }
        match self.command {
            Command::Serve(args) => serve::run(args),
            Command::Worker(args) => worker::run(args),
            Command::Migrate(args) => migrate::run(args),
            Command::Keys(args) => keys::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Check(args) => check::run(args),
            Command::Compress(args) => compress::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Latency(args) => latency::run(args),
            Command::Filters(args) => filters::run(args),
            Command::Conformance(args) => conformance::run(args),
            Command::Drop(args) => drop::run(args),
            Command::Steps(args) => steps::run(args),
            Command::LatencyChild(args) => latency::run_child(args),
            Command::DecodeChild(args) => decode::run_child(args),
        }
    }
}

impl Command {
    /// Whether this process runs networks in torch. Measuring latency is left as it is on a customer's device.
    fn computes(&self) -> bool {
        matches!(
            self,
            Self::Worker(_)
                | Self::Compress(_)
                | Self::Evaluate(_)
                | Self::Filters(_)
                | Self::Conformance(_)
                | Self::Steps(_)
        )
    }
}

/// Exit code if the input or the usage is wrong.
const USAGE: u8 = 2;

/// Lets the process end instead of panicking if the reader of its output has ended, as with `head`. Only for a command that
/// writes to nothing else: it would end with a child or a peer, too.
fn end_with_the_reader() {
    // SAFETY: the default action is no handler, so nothing of ours runs in it.
    if let Err(error) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        tracing::debug!(%error, "a closed pipe stays an error");
    }
}

/// Prints an error of usage.
fn usage(message: &str) -> ExitCode {
    eprintln!("practised: {message}");
    ExitCode::from(USAGE)
}

/// Runs a command that waits for others; an error of ours is exit code 1.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("practised: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(command).unwrap_or_else(|error| {
        eprintln!("practised: {error:#}");
        ExitCode::FAILURE
    });
    // A computation that does not check for cancellation must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}
