//! `practised steps`: how long a step of the recovery takes, by phase. For `scripts/gpu-check`.

use std::process::ExitCode;

use super::job_files::JobFiles;
use crate::cli::failure::{Failure, finish};
use crate::cli::files;
use crate::cli::progress::Progress;
use crate::compress::steps;
use crate::exec::Device;

/// Arguments of `practised steps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: JobFiles,
    /// How many blocks are dropped, evenly spread over the network.
    #[arg(long, value_name = "K", default_value_t = 2)]
    blocks: usize,
    /// How many steps are timed.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Where to compute: cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// Runs `practised steps`.
pub fn run(args: Args) -> ExitCode {
    finish(time(&args), true)
}

fn time(args: &Args) -> Result<(), Failure> {
    let progress = Progress::new();
    let bench = args.files.open(args.device, &progress)?;
    let times = steps::time(&bench, args.blocks, args.steps, &progress)?;
    progress.finish();
    files::print_json(&times)
}
