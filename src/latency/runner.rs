//! One network in one engine, ready to run repeatedly on the same input.

use std::fs;

use super::protocol::{ModelFile, Place, Values};
use super::torch::{self, TorchRun};
use crate::onnxruntime;
use crate::onnxruntime::{Feed, Session};
use crate::spec::latency::Engine;

/// Why a network was not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine does not accept this network.
    Model { label: String, detail: String },
    /// The engine itself cannot be used.
    Engine(String),
}

/// A network with its input.
pub(super) struct Runner {
    label: String,
    run: Run,
}

enum Run {
    OnnxRuntime { session: Session, inputs: Vec<Values> },
    Torch(TorchRun),
}

/// Initialises the engine and returns its version. ONNX Runtime does not initialise libtorch, so that libtorch starts no
/// threads.
pub(super) fn version(place: Place) -> Result<String, Failure> {
    match place.engine {
        Engine::OnnxRuntime => {
            onnxruntime::init().map_err(|e| Failure::Engine(e.to_string()))?;
            Ok(onnxruntime::version().unwrap_or_else(|| ort::info().to_owned()))
        }
        Engine::Torch => torch::version(place).map_err(Failure::Engine),
    }
}

impl Runner {
    /// Opens a network with an input seeded by `seed`: every network of a round gets the same values.
    pub fn open(place: Place, model: &ModelFile, seed: u64) -> Result<Self, Failure> {
        let failed = |detail: String| Failure::Model { label: model.label.clone(), detail };
        let bytes = fs::read(&model.path).map_err(|e| failed(e.to_string()))?;
        let inputs: Vec<Values> = model.inputs.iter().map(|input| input.values(seed)).collect();
        let run = match place.engine {
            Engine::OnnxRuntime => {
                let session = Session::open(&bytes, place.threads).map_err(|e| failed(e.to_string()))?;
                Run::OnnxRuntime { session, inputs }
            }
            Engine::Torch => Run::Torch(TorchRun::open(&bytes, inputs, place.device).map_err(failed)?),
        };
        Ok(Self { label: model.label.clone(), run })
    }

    /// Runs the network once and discards its outputs. On a GPU, it waits for the result, because kernels are launched
    /// asynchronously.
    pub fn run(&mut self) -> Result<(), Failure> {
        let done = match &mut self.run {
            Run::OnnxRuntime { session, inputs } => {
                let feeds: Vec<Feed> = inputs.iter().map(Values::feed).collect();
                session.execute(&feeds).map_err(|e| e.to_string())
            }
            Run::Torch(run) => run.run(),
        };
        done.map_err(|detail| Failure::Model { label: self.label.clone(), detail })
    }
}
