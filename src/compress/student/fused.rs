//! Convolution and frozen BatchNormalization as one convolution, for training.
//!
//! With frozen statistics a BatchNormalization is a gain and a shift per channel. Computed on the maps it costs as much time
//! as a small convolution, forward and backward; computed on the kernel it costs nothing, and the gradients of kernel, scale
//! and shift are the same.

use tch::Tensor;

use super::Student;
use super::edit::{position, set_weight};
use super::layer::has_constant_parameters;
use crate::compress::CompressError;
use crate::exec::Params;
use crate::graph::{Graph, Node};

/// A student's graph without the BatchNormalizations that stand right behind a convolution.
pub struct Fused {
    student: Student,
    pairs: Vec<Pair>,
}

/// A convolution with the BatchNormalization behind it, by the names of their parameters.
struct Pair {
    weight: String,
    bias: Option<String>,
    gamma: String,
    beta: String,
    mean: String,
    /// 1 / √(variance + ε), (M).
    inverse_deviation: Tensor,
    /// Names of the kernel and the bias that stand for both.
    fused: [String; 2],
}

impl Fused {
    /// Fuses the pairs from the node at `first` on. The tensors of `student` that are not part of one are shared with it.
    pub fn new(student: &Student, first: usize) -> Result<Self, CompressError> {
        Self::keeping(student, first, &[])
    }

    /// The same, short of pairs that have one of these values between or behind them.
    pub fn keeping(student: &Student, first: usize, kept: &[String]) -> Result<Self, CompressError> {
        let Student { graph, params, taps } = student;
        let mut fused = Student { graph: graph.clone(), params: params.shallow_copy(), taps: taps.clone() };
        let mut pairs = Vec::new();
        let is_kept = |value: &String| kept.contains(value);
        for (conv, norm) in fusible(graph, first).into_iter().filter(|(conv, norm)| !is_kept(conv) && !is_kept(norm)) {
            pairs.push(Pair::fuse(student, &mut fused, &conv, &norm)?);
        }
        Ok(Self { student: fused, pairs })
    }

    /// The fused student with what `params`, the parameters of the student it was made of, hold now. Gradients flow from it
    /// to them.
    pub fn with(&mut self, params: &Params) -> Result<&Student, CompressError> {
        for pair in &self.pairs {
            let read = |name: &str| params.get(name).expect("a parameter of the student");
            let gain = read(&pair.gamma) * &pair.inverse_deviation;
            let kernel = read(&pair.weight);
            let mut shape = vec![1; kernel.dim()];
            shape[0] = -1;
            let shift = match &pair.bias {
                Some(bias) => read(bias) - read(&pair.mean),
                None => -read(&pair.mean),
            };
            let [weight, bias] = &pair.fused;
            self.student.params.set(weight, kernel * gain.f_view(shape.as_slice())?);
            self.student.params.set(bias, read(&pair.beta) + shift * gain);
        }
        Ok(&self.student)
    }

    /// Names of the biases of the fused convolutions.
    pub fn biases(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter_map(|pair| pair.bias.as_deref())
    }

    /// The graph that is run.
    pub fn student(&self) -> &Student {
        &self.student
    }
}

impl Pair {
    fn fuse(from: &Student, fused: &mut Student, conv: &str, norm: &str) -> Result<Self, CompressError> {
        let node = |output: &str| &from.graph.nodes[position(&from.graph, output).expect("a node of this graph")];
        let (conv_node, norm_node) = (node(conv), node(norm));
        let parameter = |index: usize| norm_node.inputs[index].clone();
        let read = |name: &str| from.params.get(name).expect("a parameter of this student").detach();
        let variance = read(&norm_node.inputs[4]);
        let epsilon = f64::from(norm_node.attrs.float("epsilon", 1e-5));
        let pair = Self {
            weight: conv_node.inputs[1].clone(),
            bias: conv_node.input(2).map(str::to_owned),
            gamma: parameter(1),
            beta: parameter(2),
            mean: parameter(3),
            inverse_deviation: (variance + epsilon).f_rsqrt()?,
            fused: ["weight", "bias"].map(|which| format!("practised/fused/{conv}/{which}")),
        };
        for (name, like) in pair.fused.iter().zip([&pair.weight, &pair.beta]) {
            set_weight(fused, name, &read(like))?;
        }
        let at = position(&fused.graph, conv).expect("a node of this graph");
        fused.graph.nodes[at].inputs.truncate(1);
        fused.graph.nodes[at].inputs.extend(pair.fused.iter().cloned());
        fused.bypass(conv, norm);
        Ok(pair)
    }
}

/// First outputs of the convolutions from the node at `first` on that only a BatchNormalization reads, and of it.
fn fusible(graph: &Graph, first: usize) -> Vec<(String, String)> {
    let consumers = graph.consumers();
    let constant = |node: &Node, op: &str| node.is(op) && has_constant_parameters(graph, node);
    let behind = |conv: &str| match consumers.get(conv).map(Vec::as_slice) {
        Some([only]) => Some(&graph.nodes[*only]).filter(|node| constant(node, "BatchNormalization")),
        _ => None,
    };
    let behind = |conv: &str| behind(conv).map(|norm| norm.output().to_owned());
    let convs = graph.nodes[first..].iter().filter(|node| constant(node, "Conv") && !graph.is_output(node.output()));
    convs.filter_map(|node| Some((node.output().to_owned(), behind(node.output())?))).collect()
}
