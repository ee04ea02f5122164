//! How a command ends: exit code 0 done, 2 the input or the usage is at fault, 1 our failure; the reason on stderr, and
//! with `--json` as a problem document on stdout.

use std::process::ExitCode;

use serde_json::json;

use crate::compress::CompressError;
use crate::images::ImageError;
use crate::network::{NetworkError, Origin};
use crate::problem::{Code, Fault};
use crate::spec::config::FieldProblem;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    detail: String,
    errors: Vec<Fault>,
    origin: Origin,
}

impl Failure {
    /// The input or the usage is at fault.
    pub fn input(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), origin: Origin::Input }
    }

    /// We are at fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self { code: Code::Internal.as_str(), detail: detail.into(), errors: Vec::new(), origin: Origin::Internal }
    }
}

impl From<CompressError> for Failure {
    fn from(error: CompressError) -> Self {
        Self { code: error.code().as_str(), detail: error.to_string(), errors: error.faults(), origin: error.origin() }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        CompressError::from(error).into()
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        CompressError::from(error).into()
    }
}

impl From<Vec<FieldProblem>> for Failure {
    fn from(problems: Vec<FieldProblem>) -> Self {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let errors = problems.into_iter().map(Fault::from).collect();
        Self { code: Code::InvalidJob.as_str(), detail: lines.join("\n"), errors, origin: Origin::Input }
    }
}

/// Says why, where it failed, and gives the exit code.
pub fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    eprintln!("practised: {}", failure.detail);
    if json {
        println!("{}", json!({"code": failure.code, "detail": failure.detail, "errors": failure.errors}));
    }
    match failure.origin {
        Origin::Input => ExitCode::from(2),
        Origin::Internal => ExitCode::from(1),
    }
}
