//! `practised conformance`: the executor on ONNX's backend tests. For `make conformance` and `make zoo`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{failure, files};
use crate::conformance::{Verdict, Wish, outcome};
use crate::exec::{self, Device};

/// Arguments of `practised conformance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders of cases.
    #[arg(value_name = "CASE", required_unless_present = "operators")]
    cases: Vec<PathBuf>,
    /// List the supported operators instead.
    #[arg(long)]
    operators: bool,
    /// Allowed error of an output, relative to the expected value.
    #[arg(long, default_value_t = 1e-3)]
    rtol: f64,
    /// Allowed absolute error in addition.
    #[arg(long, default_value_t = 1e-7)]
    atol: f64,
    /// Allowed error in addition, relative to the output's largest element.
    #[arg(long, default_value_t = 0.0)]
    of_scale: f64,
    /// Run the network as a job does: with a dynamic batch, constants folded, shapes inferred.
    #[arg(long)]
    folded: bool,
    /// Device to compute on: cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// Runs `practised conformance`, one line of JSON per case: exit code 1 if one fails.
pub fn run(args: Args) -> ExitCode {
    if args.operators {
        exec::operators().iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let wish =
        Wish { rtol: args.rtol, atol: args.atol, of_scale: args.of_scale, folded: args.folded, device: args.device };
    let mut failed = false;
    for case in &args.cases {
        let outcome = outcome(case, &wish);
        failed |= matches!(outcome.verdict, Verdict::Failed { .. });
        if let Err(failure) = files::print_json_line(&outcome) {
            return failure::finish(Err(failure), false);
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
