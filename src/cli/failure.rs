//! How a command ends: exit code 0 done, 2 the input or the usage is at fault, 1 our failure; the reason on stderr, and
//! with `--json` as a problem document on stdout.

use std::process::ExitCode;

use serde_json::json;

use crate::compress::CompressError;
use crate::images::ImageError;
use crate::network::{Fault, NetworkError};
use crate::spec::config::FieldProblem;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    detail: String,
    errors: Vec<serde_json::Value>,
    fault: Fault,
}

impl Failure {
    /// The input or the usage is at fault.
    pub fn input(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), fault: Fault::Input }
    }

    /// We are at fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self { code: "internal", detail: detail.into(), errors: Vec::new(), fault: Fault::Internal }
    }
}

impl From<CompressError> for Failure {
    fn from(error: CompressError) -> Self {
        Self { code: error.code(), detail: error.to_string(), errors: error.parts(), fault: error.fault() }
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
        let errors = problems.iter().map(|problem| json!(problem)).collect();
        Self { code: "invalid_job", detail: lines.join("\n"), errors, fault: Fault::Input }
    }
}

/// Says why, where it failed, and gives the exit code.
pub fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    eprintln!("practised: {}", failure.detail);
    if json {
        println!("{}", json!({"code": failure.code, "detail": failure.detail, "errors": failure.errors}));
    }
    match failure.fault {
        Fault::Input => ExitCode::from(2),
        Fault::Internal => ExitCode::from(1),
    }
}
