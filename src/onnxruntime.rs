//! ONNX Runtime, loaded at run time. Customers deploy it, so latency is measured and exports are verified in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::SessionInputValue;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, TensorElementType, TensorRef};
use serde::{Deserialize, Serialize};

use crate::graph::DataType;

/// Errors of ONNX Runtime: its library, the network, or a run.
#[derive(Debug, thiserror::Error)]
pub enum OnnxRuntimeError {
    /// The library was not found.
    #[error(
        "ONNX Runtime's library was not found at {}; run scripts/setup, or set ORT_DYLIB_PATH to a \
         libonnxruntime.so of version 1.24 or newer",
        .tried.join(", ")
    )]
    NoLibrary {
        /// The places that were searched, each with its origin.
        tried: Vec<String>,
    },
    /// The library exists but cannot be used.
    #[error("ONNX Runtime's library {} cannot be used: {detail}", .path.display())]
    Library {
        /// Path of the library.
        path: PathBuf,
        /// The cause.
        detail: String,
    },
    /// ONNX Runtime cannot load the network.
    #[error("ONNX Runtime cannot load the network: {0}")]
    Network(String),
    /// A run failed.
    #[error("ONNX Runtime failed on the network: {0}")]
    Run(String),
}

/// A network ready to run in ONNX Runtime on the CPU.
pub struct Session {
    session: ort::session::Session,
}

/// A named tensor to run a network on.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// Name of the network's input.
    pub name: &'a str,
    /// Its sizes, outermost first: (N, C, H, W) for images.
    pub shape: &'a [usize],
    /// Its elements, row-major.
    pub data: &'a Elements,
}

/// Elements of a tensor that a network is fed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elements {
    /// `float32`
    Float(Vec<f32>),
    /// `int64`
    Int(Vec<i64>),
    /// `int32`
    Int32(Vec<i32>),
    /// `uint8`
    Byte(Vec<u8>),
    /// `bool`
    Bool(Vec<bool>),
    /// `float64`
    Double(Vec<f64>),
}

impl Elements {
    /// True if an input of this type can be fed.
    pub fn takes(dtype: DataType) -> bool {
        use DataType::{Bool, Float32, Float64, Int32, Int64, Uint8};
        matches!(dtype, Float32 | Float64 | Int32 | Int64 | Uint8 | Bool)
    }
}

/// A named output of a network; other element types are widened or rounded to f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name of the network's output.
    pub name: String,
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub data: Vec<f32>,
}

impl Session {
    /// Loads a network from the bytes of an ONNX file, to run on `threads` threads, one operator after the other, with all of
    /// ONNX Runtime's optimisations. Idle threads sleep, because spinning would disturb other measurements.
    pub fn open(bytes: &[u8], threads: usize) -> Result<Self, OnnxRuntimeError> {
        let environment = environment()?;
        let network = |error: ort::Error| OnnxRuntimeError::Network(error.to_string());
        let mut builder = builder(&environment, threads.max(1)).map_err(network)?;
        Ok(Self { session: builder.commit_from_memory(bytes).map_err(network)? })
    }

    /// Names of the network's inputs.
    pub fn input_names(&self) -> Vec<&str> {
        self.session.inputs().iter().map(|input| input.name()).collect()
    }

    /// Names of the network's outputs.
    pub fn output_names(&self) -> Vec<&str> {
        self.session.outputs().iter().map(|output| output.name()).collect()
    }

    /// Runs the network and copies its outputs, in the network's order.
    pub fn run(&mut self, feeds: &[Feed]) -> Result<Vec<Output>, OnnxRuntimeError> {
        let outputs = self.session.run(values(feeds)?).map_err(failed)?;
        outputs.iter().map(|(name, value)| output(name, &value)).collect()
    }

    /// Runs the network and discards its outputs, for timing.
    pub fn execute(&mut self, feeds: &[Feed]) -> Result<(), OnnxRuntimeError> {
        self.session.run(values(feeds)?).map(drop).map_err(failed)
    }
}

/// Loads the library and initialises ONNX Runtime, once per process; tries again if it failed before.
///
/// Its messages go to the log at debug level: failures are returned as errors anyway. Telemetry is off.
pub fn init() -> Result<(), OnnxRuntimeError> {
    environment().map(drop)
}

/// An ONNX file with one node, y = Relu(x), for two float32.
const RELU: &[u8] = b"\x08\x08:3\x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\x12\x01gZ\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02b\
\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x02B\x04\x0a\x00\x10\x0d";

/// Loads the library and runs a network of one node with it.
///
/// # Errors
/// [`OnnxRuntimeError::NoLibrary`] and [`OnnxRuntimeError::Library`], with the fix, if it is missing or does not work.
pub fn prove() -> Result<(), OnnxRuntimeError> {
    let (path, data) = (library()?, Elements::Float(vec![-1.0, 2.0]));
    let run = || Session::open(RELU, 1)?.run(&[Feed { name: "x", shape: &[2], data: &data }]);
    let unusable = |detail: String| OnnxRuntimeError::Library { path: path.clone(), detail };
    match run() {
        Ok(outputs) if outputs.iter().map(|output| output.data.as_slice()).eq([[0.0, 2.0].as_slice()]) => Ok(()),
        Ok(outputs) => Err(unusable(format!("it computes a Relu incorrectly: {outputs:?}; run scripts/setup again"))),
        Err(error @ (OnnxRuntimeError::NoLibrary { .. } | OnnxRuntimeError::Library { .. })) => Err(error),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn environment() -> Result<Environment, OnnxRuntimeError> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut current = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = current.as_ref() {
        return Ok(environment.clone());
    }
    let path = library()?;
    let unusable = |detail: String| OnnxRuntimeError::Library { path: path.clone(), detail };
    let builder = ort::init_from(&path).map_err(|error| unusable(error.to_string()))?;
    let log = |level: LogLevel, _: &str, _: &str, place: &str, message: &str| {
        tracing::debug!(target: "onnxruntime", ?level, place, "{message}");
    };
    let environment = builder.with_name("practised").with_telemetry(false).with_logger(Arc::new(log)).build();
    let environment = environment.map_err(|error| unusable(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(current.insert(environment).clone())
}

/// Path of ONNX Runtime's library: `$ORT_DYLIB_PATH` if that is set, else `../lib` next to the executable (an installed
/// layout), else the place where `scripts/setup` put it when this binary was built. The error lists all of them.
pub fn library() -> Result<PathBuf, OnnxRuntimeError> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        // If a library is named explicitly, no other one is used.
        return first_file(&[(PathBuf::from(path), "ORT_DYLIB_PATH")]);
    }
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).map(|folder| folder.join("../lib/libonnxruntime.so"));
    let built = PathBuf::from(env!("PRACTISED_ONNXRUNTIME"));
    let places: Vec<(PathBuf, &str)> =
        beside.map(|path| (path, "installed")).into_iter().chain([(built, "set up")]).collect();
    first_file(&places)
}

/// The library's version, such as `1.32.0`, from the name of the file that [`library`] leads to; `None` if it has none.
pub fn version() -> Option<String> {
    let file = library().ok()?.canonicalize().ok()?;
    Some(file.file_name()?.to_str()?.strip_prefix("libonnxruntime.so.")?.to_owned())
}

fn first_file(places: &[(PathBuf, &str)]) -> Result<PathBuf, OnnxRuntimeError> {
    let found = places.iter().find(|(path, _)| path.is_file()).map(|(path, _)| path.clone());
    found.ok_or_else(|| OnnxRuntimeError::NoLibrary {
        tried: places.iter().map(|(path, why)| format!("{} ({why})", path.display())).collect(),
    })
}

fn builder(environment: &Environment, threads: usize) -> Result<SessionBuilder, ort::Error> {
    Ok(ort::session::Session::builder(environment)?
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?)
}

/// The feeds as ONNX Runtime's values, which borrow the elements.
fn values<'a>(feeds: &[Feed<'a>]) -> Result<Vec<(&'a str, SessionInputValue<'a>)>, OnnxRuntimeError> {
    let value = |feed: &Feed<'a>| {
        let shape = feed.shape;
        let made = match feed.data {
            Elements::Float(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
            Elements::Int(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
            Elements::Int32(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
            Elements::Byte(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
            Elements::Bool(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
            Elements::Double(data) => TensorRef::from_array_view((shape, data.as_slice())).map(SessionInputValue::from),
        };
        let failed = |error| OnnxRuntimeError::Run(format!("input \"{}\": {error}", feed.name));
        Ok((feed.name, made.map_err(failed)?))
    };
    feeds.iter().map(value).collect()
}

fn output(name: &str, value: &DynValue) -> Result<Output, OnnxRuntimeError> {
    let shape = value.dtype().tensor_shape().map(|shape| shape.iter().map(|size| *size as usize).collect());
    let data = match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => elements(value, |element: f32| element),
        Some(TensorElementType::Float64) => elements(value, |element: f64| element as f32),
        Some(TensorElementType::Int64) => elements(value, |element: i64| element as f32),
        Some(TensorElementType::Int32) => elements(value, |element: i32| element as f32),
        Some(TensorElementType::Int16) => elements(value, |element: i16| f32::from(element)),
        Some(TensorElementType::Int8) => elements(value, |element: i8| f32::from(element)),
        Some(TensorElementType::Uint16) => elements(value, |element: u16| f32::from(element)),
        Some(TensorElementType::Uint32) => elements(value, |element: u32| element as f32),
        Some(TensorElementType::Uint64) => elements(value, |element: u64| element as f32),
        Some(TensorElementType::Uint8) => elements(value, |element: u8| f32::from(element)),
        Some(TensorElementType::Bool) => elements(value, |element: bool| f32::from(u8::from(element))),
        other => Err(OnnxRuntimeError::Run(format!("output \"{name}\" has the unsupported type {other:?}"))),
    };
    Ok(Output { name: name.to_owned(), shape: shape.unwrap_or_default(), data: data? })
}

fn elements<T: ort::value::PrimitiveTensorElementType + Copy>(
    value: &DynValue,
    widen: impl Fn(T) -> f32,
) -> Result<Vec<f32>, OnnxRuntimeError> {
    let (_, elements) = value.try_extract_tensor::<T>().map_err(failed)?;
    Ok(elements.iter().copied().map(widen).collect())
}

fn failed(error: ort::Error) -> OnnxRuntimeError {
    OnnxRuntimeError::Run(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_looked_at_is_in_the_error() {
        let places = [(PathBuf::from("/nowhere/a.so"), "installed"), (PathBuf::from("/nowhere/b.so"), "set up")];
        let text = first_file(&places).unwrap_err().to_string();
        assert!(text.contains("/nowhere/a.so (installed), /nowhere/b.so (set up)"), "{text}");
        assert!(text.contains("scripts/setup"), "{text}");
    }

    #[test]
    fn the_library_that_is_set_up_runs_a_network() {
        prove().expect("scripts/setup has fetched it");
    }

    #[test]
    fn the_version_is_three_numbers() {
        let version = version().expect("scripts/setup keeps the file's full name");
        assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{version}");
    }

    #[test]
    fn a_feed_that_does_not_fill_its_shape_is_refused() {
        init().unwrap();
        let error = values(&[Feed { name: "x", shape: &[2, 3], data: &Elements::Float(vec![0.0; 5]) }]).err().unwrap();
        assert!(error.to_string().contains("\"x\""), "{error}");
    }

    #[test]
    fn bytes_that_are_no_network_are_refused() {
        let error = Session::open(b"not a network", 1).err().unwrap();
        assert!(matches!(error, OnnxRuntimeError::Network(_)), "{error}");
    }
}
