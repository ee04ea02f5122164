//! The engine torch: the executor with libtorch, on the processor or a GPU.

use tch::Tensor;

use super::protocol::{Place, Values};
use crate::exec::{self, Device, Executor, LIBTORCH, Params, RunOptions};
use crate::graph::fold::fold;
use crate::graph::{Dim, Graph, InputShapes, inline_branches};
use crate::onnx;
use crate::onnxruntime::Elements;

/// A network ready to run, with its inputs.
pub(super) struct TorchRun {
    executor: Executor,
    params: Params,
    inputs: Vec<(String, Tensor)>,
    device: Device,
}

/// Readies the engine and tells its version.
pub(super) fn version(place: Place) -> Result<String, String> {
    exec::set_threads(place.threads);
    place.device.open().map_err(|error| error.to_string())?;
    let driver = place.device.driver().map(|version| format!(", driver {version}"));
    Ok(format!("{LIBTORCH}{}", driver.unwrap_or_default()))
}

impl TorchRun {
    pub(super) fn open(bytes: &[u8], inputs: Vec<Values>, device: Device) -> Result<Self, String> {
        let mut model = onnx::decode(bytes).map_err(|e| e.to_string())?;
        inline_branches(&mut model.graph);
        let graph = fold(&model.graph, &shapes(&inputs)).map_err(|e| e.to_string())?;
        let (from, to) = (names(&inputs), outputs(&graph));
        let executor = Executor::new(&graph, &from, &to).map_err(|e| e.to_string())?;
        let params = Params::from_graph(&graph, device).map_err(|e| e.to_string())?;
        let inputs = inputs.into_iter().map(|v| (v.name.clone(), tensor(&v).to_device(params.device()))).collect();
        Ok(Self { executor, params, inputs, device })
    }

    /// Runs it once. A GPU is waited for: it is given work ahead of time.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let inputs: Vec<(&str, &Tensor)> = self.inputs.iter().map(|(name, t)| (name.as_str(), t)).collect();
        let run = || self.executor.run(&self.params, &inputs, &RunOptions::default());
        let done = tch::no_grad(run).map(drop).map_err(|error| error.to_string());
        self.device.synchronize();
        done
    }
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
