//! One network in one engine, ready to run repeatedly on the same input.

use std::fs;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::protocol::{Input, ModelFile, Place};
use crate::exec::{self, Device, Executor, Params, RunOptions};
use crate::graph::InputShapes;
use crate::graph::fold::fold;
use crate::graph::{Dim, Graph, inline_branches};
use crate::onnx;
use crate::onnxruntime;
use crate::onnxruntime::{Elements, Feed, Session};
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
    Torch { executor: Executor, params: Params, inputs: Vec<(String, Tensor)>, device: Device },
}

/// An input and its elements.
struct Values {
    name: String,
    dims: Vec<usize>,
    data: Elements,
}

impl Values {
    fn feed(&self) -> Feed<'_> {
        Feed { name: &self.name, shape: &self.dims, data: &self.data }
    }
}

/// Initialises the engine and returns its version. ONNX Runtime does not initialise libtorch, so that libtorch starts no
/// threads.
pub(super) fn version(place: Place) -> Result<String, Failure> {
    match place.engine {
        Engine::OnnxRuntime => {
            onnxruntime::init().map_err(|e| Failure::Engine(e.to_string()))?;
            Ok(onnxruntime::version().unwrap_or_else(|| ort::info().to_owned()))
        }
        Engine::Torch => {
            exec::set_threads(place.threads);
            place.device.open().map_err(|e| Failure::Engine(e.to_string()))?;
            let driver = place.device.driver().map(|version| format!(", driver {version}"));
            Ok(format!("{LIBTORCH}{}", driver.unwrap_or_default()))
        }
    }
}

/// The libtorch version that tch is generated for; other versions do not load.
const LIBTORCH: &str = "2.11.0";

impl Runner {
    /// Opens a network with an input seeded by `seed`: every network of a round gets the same values.
    pub fn open(place: Place, model: &ModelFile, seed: u64) -> Result<Self, Failure> {
        let failed = |detail: String| Failure::Model { label: model.label.clone(), detail };
        let bytes = fs::read(&model.path).map_err(|e| failed(e.to_string()))?;
        let inputs: Vec<Values> = model.inputs.iter().map(|input| seeded(input, seed)).collect();
        let run = match place.engine {
            Engine::OnnxRuntime => {
                let session = Session::open(&bytes, place.threads).map_err(|e| failed(e.to_string()))?;
                Run::OnnxRuntime { session, inputs }
            }
            Engine::Torch => torch(&bytes, inputs, place.device).map_err(failed)?,
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
            Run::Torch { executor, params, inputs, device } => {
                let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, t)| (name.as_str(), t)).collect();
                let run = || executor.run(params, &inputs, &RunOptions::default());
                let done = tch::no_grad(run).map(drop).map_err(|e| e.to_string());
                device.synchronize();
                done
            }
        };
        done.map_err(|detail| Failure::Model { label: self.label.clone(), detail })
    }
}

fn torch(bytes: &[u8], inputs: Vec<Values>, device: Device) -> Result<Run, String> {
    let mut model = onnx::decode(bytes).map_err(|e| e.to_string())?;
    inline_branches(&mut model.graph);
    let graph = fold(&model.graph, &shapes(&inputs)).map_err(|e| e.to_string())?;
    let (from, to) = (names(&inputs), outputs(&graph));
    let executor = Executor::new(&graph, &from, &to).map_err(|e| e.to_string())?;
    let params = Params::from_graph(&graph, device).map_err(|e| e.to_string())?;
    let inputs = inputs.into_iter().map(|v| (v.name.clone(), tensor(&v).to_device(params.device()))).collect();
    Ok(Run::Torch { executor, params, inputs, device })
}

fn shapes(inputs: &[Values]) -> InputShapes {
    let shape = |dims: &[usize]| dims.iter().copied().map(Dim::Known).collect();
    inputs.iter().map(|v| (v.name.clone(), shape(&v.dims))).collect()
}

fn names(inputs: &[Values]) -> Vec<&str> {
    inputs.iter().map(|v| v.name.as_str()).collect()
}

fn outputs(graph: &Graph) -> Vec<&str> {
    graph.outputs.iter().map(|output| output.name.as_str()).collect()
}

fn tensor(values: &Values) -> Tensor {
    let dims: Vec<i64> = values.dims.iter().map(|size| *size as i64).collect();
    match &values.data {
        Elements::Float(data) => Tensor::from_slice(data).reshape(dims),
        Elements::Int(data) => Tensor::from_slice(data).reshape(dims),
        Elements::Int32(data) => Tensor::from_slice(data).reshape(dims),
        Elements::Byte(data) => Tensor::from_slice(data).reshape(dims),
        Elements::Bool(data) => Tensor::from_slice(data).reshape(dims),
        Elements::Double(data) => Tensor::from_slice(data).reshape(dims),
    }
}

/// The given elements of an input, or values between −1 and 1, similar to normalised images: zeros could let an engine skip
/// work.
fn seeded(input: &Input, seed: u64) -> Values {
    let data = input.elements.clone().unwrap_or_else(|| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = input.dims.iter().product();
        Elements::Float((0..count).map(|_| random.random_range(-1.0..1.0)).collect())
    });
    Values { name: input.name.clone(), dims: input.dims.clone(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_values_and_another_one_others() {
        let input = Input::seeded("x", vec![2, 3, 4, 4]);
        let (one, same, other) = (seeded(&input, 7), seeded(&input, 7), seeded(&input, 8));
        assert_eq!(one.data, same.data);
        assert_ne!(one.data, other.data);
        let Elements::Float(values) = one.data else { panic!("floats") };
        assert_eq!(values.len(), 96);
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
    }
}
