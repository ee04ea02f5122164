//! Convolution and frozen BatchNormalization as one convolution, for training.
//!
//! With frozen statistics a BatchNormalization is a gain and a shift per channel. Computed on the maps it costs as much time
//! as a small convolution, forward and backward; computed on the kernel it costs nothing, and the gradients of kernel, scale
//! and shift are the same.

use tch::{Kind, Tensor};

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
    /// 1 / √(variance + ε) of all pairs, one behind the other, (channels of all); undefined without pairs.
    inverse_deviations: Tensor,
    /// What the biases of the fused convolutions are in.
    biases_in: Kind,
}

/// A convolution with the BatchNormalization behind it, by the names of their parameters.
struct Pair {
    weight: String,
    bias: Option<String>,
    gamma: String,
    beta: String,
    mean: String,
    channels: i64,
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
        let (mut pairs, mut inverse_deviations) = (Vec::new(), Vec::new());
        let is_kept = |value: &String| kept.contains(value);
        for (conv, norm) in fusible(graph, first).into_iter().filter(|(conv, norm)| !is_kept(conv) && !is_kept(norm)) {
            let (pair, inverse_deviation) = Pair::fuse(student, &mut fused, &conv, &norm)?;
            pairs.push(pair);
            inverse_deviations.push(inverse_deviation);
        }
        let inverse_deviations = if pairs.is_empty() { Tensor::new() } else { Tensor::f_cat(&inverse_deviations, 0)? };
        Ok(Self { student: fused, pairs, inverse_deviations, biases_in: Kind::Float })
    }

    /// For steps in bfloat16: rounds the biases of the fused convolutions all at once, which is what would be done to each.
    pub fn round_biases(&mut self) {
        self.biases_in = Kind::BFloat16;
    }

    /// The fused student with what `params`, the parameters of the student it was made of, hold now. Gradients flow from it
    /// to them.
    pub fn with(&mut self, params: &Params) -> Result<&Student, CompressError> {
        if self.pairs.is_empty() {
            return Ok(&self.student);
        }
        let (gains, shifts) = self.of_channels(params)?;
        let channels: Vec<i64> = self.pairs.iter().map(|pair| pair.channels).collect();
        let gains = gains.f_split_with_sizes(channels.as_slice(), 0)?;
        let shifts = shifts.f_split_with_sizes(channels.as_slice(), 0)?;
        for ((pair, gain), shift) in self.pairs.iter().zip(gains).zip(shifts) {
            let kernel = read(params, &pair.weight);
            let mut shape = vec![1; kernel.dim()];
            shape[0] = -1;
            let [weight, bias] = &pair.fused;
            self.student.params.set(weight, kernel * gain.f_view(shape.as_slice())?);
            self.student.params.set(bias, shift);
        }
        Ok(&self.student)
    }

    /// What kernels are multiplied by and the biases of the fused convolutions, (channels of all) each.
    ///
    /// They are computed for all pairs at once: one by one, these few numbers take a GPU as long as the convolutions.
    fn of_channels(&self, params: &Params) -> Result<(Tensor, Tensor), CompressError> {
        let all = |of: &dyn Fn(&Pair) -> Tensor| Tensor::f_cat(&self.pairs.iter().map(of).collect::<Vec<_>>(), 0);
        let gains = all(&|pair| read(params, &pair.gamma))? * &self.inverse_deviations;
        let means = all(&|pair| read(params, &pair.mean))?;
        let no_bias = |pair: &Pair| means.new_zeros([pair.channels], (means.kind(), means.device()));
        let biases = all(&|pair| pair.bias.as_deref().map_or_else(|| no_bias(pair), |bias| read(params, bias)))?;
        let shifts = all(&|pair| read(params, &pair.beta))? + (biases - &means) * &gains;
        Ok((gains, shifts.f_to_kind(self.biases_in)?))
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

/// A parameter of the student, which shares its memory.
fn read(params: &Params, name: &str) -> Tensor {
    params.get(name).expect("a parameter of the student").shallow_clone()
}

impl Pair {
    /// The pair, and 1 / √(variance + ε) of its channels.
    fn fuse(from: &Student, fused: &mut Student, conv: &str, norm: &str) -> Result<(Self, Tensor), CompressError> {
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
            channels: variance.size()[0],
            fused: ["weight", "bias"].map(|which| format!("practised/fused/{conv}/{which}")),
        };
        for (name, like) in pair.fused.iter().zip([&pair.weight, &pair.beta]) {
            set_weight(fused, name, &read(like))?;
        }
        let at = position(&fused.graph, conv).expect("a node of this graph");
        fused.graph.nodes[at].inputs.truncate(1);
        fused.graph.nodes[at].inputs.extend(pair.fused.iter().cloned());
        fused.bypass(conv, norm);
        Ok((pair, (variance + epsilon).f_rsqrt()?))
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
