//! Converts errors of the core to problems: code, text, and single errors with their places.

use crate::compress::CompressError;
use crate::exec::ExecError;
use crate::exec::memory::Trouble;
use crate::images::ImageError;
use crate::latency::LatencyError;
use crate::network::{NetworkError, Origin};
use crate::onnxruntime::OnnxRuntimeError;
use crate::problem::{Fault, Problem};

/// The problem for an error of the core. Messages of libraries and the operating system about internal failures go to the log
/// only, because they can name files and devices of this host.
pub fn problem(error: &CompressError) -> Problem {
    if is_ours(error) {
        tracing::error!(code = error.code().as_str(), "{error}");
    }
    let faults = match error {
        CompressError::Network(NetworkError::Images(error)) => return error.problem(),
        CompressError::Network(NetworkError::Several(errors)) => errors.iter().flat_map(parts).collect(),
        error => error.faults(),
    };
    Problem::new(error.code(), told(error)).with_errors(faults)
}

/// Whether the service caused the error: an unreadable internal file is not an error of the images.
fn is_ours(error: &CompressError) -> bool {
    error.origin() == Origin::Internal
        || matches!(error, CompressError::Network(NetworkError::Images(ImageError::Io { .. })))
}

fn parts(error: &NetworkError) -> Vec<Fault> {
    let faults = error.faults();
    if faults.is_empty() { vec![Fault { detail: told_of_network(error), ..Fault::default() }] } else { faults }
}

/// The text of the error for customers.
fn told(error: &CompressError) -> String {
    match error {
        CompressError::Network(error) => told_of_network(error),
        error if error.trouble() == Some(Trouble::OutOfMemory) => "the device is out of memory".to_owned(),
        error if error.trouble() == Some(Trouble::Lost) => "the device failed".to_owned(),
        CompressError::Exec(error) => of_run(error),
        CompressError::Latency(error) => of_measurement(error),
        CompressError::Runtime(OnnxRuntimeError::Network(_)) => "ONNX Runtime cannot load the network".to_owned(),
        CompressError::Runtime(OnnxRuntimeError::Run(_)) => "ONNX Runtime failed on the network".to_owned(),
        CompressError::Runtime(_) => "ONNX Runtime cannot be used".to_owned(),
        CompressError::Tensor(_) => "a computation failed".to_owned(),
        CompressError::Report(_) => "the report could not be written".to_owned(),
        error => error.to_string(),
    }
}

fn told_of_network(error: &NetworkError) -> String {
    match error {
        NetworkError::Several(errors) => errors.iter().map(told_of_network).collect::<Vec<_>>().join("; "),
        NetworkError::Images(error) => error.problem().detail,
        error => error.to_string(),
    }
}

fn of_run(error: &ExecError) -> String {
    match error {
        ExecError::Node { node, op, inputs, .. } => format!("node \"{node}\" ({op}) failed on inputs {inputs}"),
        ExecError::Tensor { name, .. } => format!("tensor \"{name}\" could not be created"),
        ExecError::Device { device, .. } => format!("{device} cannot be used"),
        error => error.to_string(),
    }
}

fn of_measurement(error: &LatencyError) -> String {
    match error {
        LatencyError::Model { label, engine, .. } => format!("{label} cannot be run in {engine}"),
        LatencyError::Engine { engine, .. } => format!("{engine} cannot be used"),
        LatencyError::Request(_) | LatencyError::Timeout { .. } | LatencyError::Cancelled => error.to_string(),
        LatencyError::Start { .. } | LatencyError::Died { .. } | LatencyError::Io { .. } => {
            "the measuring process failed".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::PreprocessFault;
    use crate::problem::Code;

    #[test]
    fn every_part_of_an_error_keeps_its_place() {
        let fault = |field| PreprocessFault { field, detail: "nonsense".to_owned(), hint: "give a number" };
        let told = problem(&ImageError::Preprocess(vec![fault("mean"), fault("std")]).into());
        assert_eq!((told.code, told.status), (Code::InvalidPreprocess, 422));
        let places: Vec<_> = told.errors.iter().map(|fault| fault.pointer.as_deref()).collect();
        assert_eq!(places, [Some("/preprocess/mean"), Some("/preprocess/std")]);
    }

    #[test]
    fn images_that_do_not_fit_come_with_the_preprocessing_that_mends_it() {
        let error = ImageError::InputMismatch { detail: "too small".to_owned(), hint: "set resize".to_owned() };
        let told = problem(&error.into());
        assert_eq!(told.code, Code::ImagesDoNotFit);
        assert_eq!(told.errors[0].pointer.as_deref(), Some("/preprocess"));
        assert_eq!(told.errors[0].hint.as_deref(), Some("set resize"));
    }

    #[test]
    fn what_the_host_says_of_a_failure_is_for_the_log() {
        let io = || std::io::Error::other("/var/lib/secret: os error 13");
        let words = || "/var/lib/secret: panicked at src/secret.rs".to_owned();
        let errors = [
            LatencyError::Io { what: words(), source: io() }.into(),
            LatencyError::Start { program: "/usr/secret".into(), source: io() }.into(),
            LatencyError::Died { status: "1".to_owned(), said: words() }.into(),
            LatencyError::Model { label: "the teacher".to_owned(), engine: "torch", detail: words() }.into(),
            CompressError::Runtime(OnnxRuntimeError::Run(words())),
            CompressError::Runtime(OnnxRuntimeError::NoLibrary { tried: vec![words()] }),
            ImageError::Io { path: words(), source: io() }.into(),
            ImageError::Io { path: words(), source: std::io::ErrorKind::NotFound.into() }.into(),
            ImageError::Decode { name: "a.png".to_owned(), detail: words() }.into(),
            CompressError::OutOfMemory(words()),
            CompressError::Exec(ExecError::Tensor { name: "w".to_owned(), detail: format!("CUDA error: {}", words()) }),
            CompressError::Exec(ExecError::Node {
                node: "conv".to_owned(),
                op: "Conv".to_owned(),
                inputs: "(1, 3, 8, 8)".to_owned(),
                cause: words(),
            }),
        ];
        for error in errors
            .into_iter()
            .chain([NetworkError::Several(vec![ImageError::Io { path: words(), source: io() }.into()]).into()])
        {
            let told = serde_json::to_string(&problem(&error)).expect("serialises");
            assert!(!told.contains("secret") && !told.contains("os error"), "{told}");
        }
    }
}
