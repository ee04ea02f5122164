//! `practised filters`: a network with fewer channels inside its blocks, recovered as a job's student is. For benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::cli::failure::{Failure, finish};
use crate::cli::files;
use crate::cli::progress::Progress;
use crate::compress::baseline::narrow;
use crate::compress::pipeline::Bench;
use crate::exec::{self, Device};
use crate::latency::Probe;
use crate::spec::config;

/// Arguments of `practised filters`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// A few unlabelled images, as a zip or a folder.
    #[arg(long, value_name = "ZIP|DIR")]
    images: PathBuf,
    /// The body of a job; its target is ignored.
    #[arg(long, value_name = "FILE.json")]
    job: PathBuf,
    /// Share of the channels to keep.
    #[arg(long, value_name = "0..1")]
    keep: f64,
    /// The file to write.
    #[arg(long, value_name = "STUDENT.onnx")]
    out: PathBuf,
}

/// Runs `practised filters`.
pub fn run(args: Args) -> ExitCode {
    finish(prune(&args), true)
}

fn prune(args: &Args) -> Result<(), Failure> {
    let model = files::read_model(&args.model)?;
    let body: Map<String, Value> = files::read_json(&args.job)?;
    let config = config::parse(&body, &[])?;
    let images = files::read_images(&args.images, None)?;
    let probe = Probe::current(Device::Cpu).map_err(crate::compress::CompressError::from)?;
    exec::set_threads(exec::usual_threads());
    let progress = Progress::new();
    let bench = Bench::open(&model, Some(&images), &config, Device::Cpu, probe, &progress)?;
    let (file, report) = narrow(&bench, args.keep, &progress)?;
    files::write(&args.out, &file)?;
    files::print_json(&report)
}
