//! `practised filters`: a network with fewer channels inside its blocks, recovered as a job's student is. For benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;

use super::job_files::JobFiles;
use crate::cli::failure::{Failure, finish};
use crate::cli::files;
use crate::cli::progress::Progress;
use crate::compress::baseline::narrow;
use crate::exec::Device;

/// Arguments of `practised filters`. The target of the job is ignored.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: JobFiles,
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
    let progress = Progress::new();
    let bench = args.files.open(Device::Cpu, &progress)?;
    let (file, report) = narrow(&bench, args.keep, &progress)?;
    files::write(&args.out, &file)?;
    files::print_json(&report)
}
