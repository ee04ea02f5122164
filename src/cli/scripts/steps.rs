//! `practised steps`: how long a step of the recovery takes, by phase. For `scripts/gpu-check`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::cli::failure::{Failure, finish};
use crate::cli::files;
use crate::cli::progress::Progress;
use crate::compress::pipeline::Bench;
use crate::compress::steps;
use crate::exec::{self, Device};
use crate::latency::Probe;
use crate::spec::config;

/// Arguments of `practised steps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// A few unlabelled images, as a zip or a folder.
    #[arg(long, value_name = "ZIP|DIR")]
    images: PathBuf,
    /// The body of a job.
    #[arg(long, value_name = "FILE.json")]
    job: PathBuf,
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
    let model = files::read_model(&args.model)?;
    let body: Map<String, Value> = files::read_json(&args.job)?;
    let config = config::parse(&body, &[])?;
    let images = files::read_images(&args.images, None)?;
    let probe = Probe::current(args.device).map_err(crate::compress::CompressError::from)?;
    exec::set_threads(exec::usual_threads());
    let progress = Progress::new();
    let bench = Bench::open(&model, Some(&images), &config, args.device, probe, &progress)?;
    let times = steps::time(&bench, args.blocks, args.steps, &progress)?;
    progress.finish();
    files::print_json(&times)
}
