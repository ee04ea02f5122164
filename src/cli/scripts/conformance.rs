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
    /// Lists the operators that are computed instead.
    #[arg(long)]
    operators: bool,
    /// How far an output may be off, as a share of the expected value.
    #[arg(long, default_value_t = 1e-3)]
    rtol: f64,
    /// How far an output may be off besides.
    #[arg(long, default_value_t = 1e-7)]
    atol: f64,
    /// How far an output may be off besides, as a share of its largest element.
    #[arg(long, default_value_t = 0.0)]
    of_scale: f64,
    /// Runs the network as a job does: with a free batch, constants computed, shapes inferred.
    #[arg(long)]
    folded: bool,
    /// Where to compute: cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// Runs `practised conformance`, one line of JSON a case: exit code 1 where one fails.
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
