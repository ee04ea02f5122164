//! Values that represent outputs without a gradient: labels, masks, indices, rounded numbers.
//!
//! Such an output is a step function of its inputs. The floating-point values ahead of the steps represent it: the scores ahead
//! of an `ArgMax`, the probabilities ahead of a threshold. Features, losses and agreement are computed on those; the file keeps
//! its outputs. Dropping a block changes no node behind them, so every student has them.

use std::collections::{BTreeMap, HashSet};

use super::dominators::data_inputs;
use crate::graph::dim::dim_text;
use crate::graph::{DataType, Dim, Graph, Node, ValueInfo, ValueType};
use crate::network::NetworkError;

/// A graph in topological order, with the values that have a gradient.
pub struct Judge<'g> {
    graph: &'g Graph,
    producers: BTreeMap<&'g str, usize>,
    /// Values with a gradient with respect to the images.
    smooth: HashSet<&'g str>,
}

impl<'g> Judge<'g> {
    /// Analyses a folded graph, whose only input is the images.
    pub fn new(graph: &'g Graph) -> Self {
        let mut smooth: HashSet<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        let mut judge = Self { graph, producers: graph.producers(), smooth: HashSet::new() };
        for node in &graph.nodes {
            let inputs = data_inputs(graph, node);
            let smooth_inputs: Vec<&str> = inputs.into_iter().filter(|name| smooth.contains(name)).collect();
            let written = node.outputs.iter().filter(|name| !name.is_empty());
            smooth.extend(written.map(String::as_str).filter(|output| judge.follows(node, output, &smooth_inputs)));
        }
        judge.smooth = smooth;
        judge
    }

    /// True if an output of the node has a gradient with respect to one of these inputs.
    fn follows(&self, node: &Node, output: &str, inputs: &[&str]) -> bool {
        const STEPS: [&str; 6] = ["Round", "Floor", "Ceil", "Sign", "Shape", "Size"];
        let whole = |name: &str| self.dtype(name).is_some_and(|dtype| !dtype.is_float());
        !(node.is_onnx() && STEPS.contains(&node.op.as_str()))
            && inputs.iter().any(|input| !whole(output) || whole(input))
    }

    fn dtype(&self, value: &str) -> Option<DataType> {
        let infos = self.graph.inputs.iter().chain(&self.graph.outputs);
        let declared = || infos.clone().find(|info| info.name == value).map(|info| info.ty.dtype);
        self.graph.values.get(value).map(|ty| ty.dtype).or_else(declared)
    }

    /// The values that represent an output: itself, or the nearest values ahead of its steps. Empty if it depends on the images
    /// by steps only.
    pub fn of(&self, output: &str) -> Vec<&'g str> {
        let mut found = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let named = self.graph.outputs.iter().map(|info| info.name.as_str()).find(|name| *name == output);
        let mut open: Vec<&'g str> = named.into_iter().collect();
        while let Some(value) = open.pop() {
            let is_input = || self.graph.inputs.iter().any(|input| input.name == value);
            if !seen.insert(value) || is_input() {
                continue;
            }
            if self.smooth.contains(value) && self.dtype(value).is_none_or(DataType::is_float) {
                found.push(value);
            } else if let Some(at) = self.producers.get(value) {
                // The first input first.
                open.extend(data_inputs(self.graph, &self.graph.nodes[*at]).into_iter().rev());
            }
        }
        found
    }

    /// The values that represent these outputs, each once, in the outputs' order.
    pub fn all(&self, outputs: &[ValueInfo]) -> Vec<&'g str> {
        let mut all: Vec<&str> = Vec::new();
        for value in outputs.iter().flat_map(|output| self.of(&output.name)) {
            if !all.contains(&value) {
                all.push(value);
            }
        }
        all
    }
}

/// The values that quality is measured on: they represent these outputs, each (N, …).
///
/// # Errors
/// If no value can represent an output, or the value does not have one row per image.
pub fn answers(graph: &Graph, outputs: &[ValueInfo]) -> Result<Vec<ValueInfo>, NetworkError> {
    let judge = Judge::new(graph);
    if let Some(output) = outputs.iter().find(|output| judge.of(&output.name).is_empty()) {
        return Err(NetworkError::ModelInterface(format!(
            "output \"{}\" is {} and is computed from the images only by rounding and comparing, so it has no gradient: export \
             the network so that it returns the float32 scores that it rounds or compares",
            output.name,
            format!("{:?}", output.ty.dtype).to_lowercase(),
        )));
    }
    let info = |name: &str| {
        let unknown = ValueType { dtype: DataType::Float32, shape: None };
        let declared = || graph.outputs.iter().find(|info| info.name == name).map(|info| info.ty.clone());
        ValueInfo { name: name.to_owned(), ty: graph.values.get(name).cloned().or_else(declared).unwrap_or(unknown) }
    };
    let answers: Vec<ValueInfo> = judge.all(outputs).into_iter().map(info).collect();
    let without_rows = |answer: &&ValueInfo| graph.shape(&answer.name).is_some_and(|dims| !has_rows(&dims));
    match answers.iter().find(without_rows) {
        None => Ok(answers),
        Some(answer) => {
            let dims: Vec<String> = graph.shape(&answer.name).iter().flatten().map(dim_text).collect();
            let stands = if outputs.iter().any(|output| output.name == answer.name) { "output" } else { "value" };
            Err(NetworkError::ModelInterface(format!(
                "{stands} \"{}\" has shape ({}), but its first dimension must be the batch, N; export the network so that it \
                 returns (N, …)",
                answer.name,
                dims.join(", ")
            )))
        }
    }
}

/// True for (N, …), and if the shape is unknown: shape inference may not reach an output, and a file can name its batch freely.
/// A multiple of N is something else.
pub(crate) fn has_rows(dims: &[Dim]) -> bool {
    match dims.first() {
        Some(Dim::Symbol(name)) => !name.contains('*'),
        first => first == Some(&Dim::Unknown),
    }
}
