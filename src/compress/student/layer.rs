//! What can be refitted and what adapters merge into: a layer that mixes all channels of its input, as a kernel of one row per
//! output channel.

use tch::Tensor;

use super::Student;
use super::edit::{position, wide};
use crate::compress::CompressError;
use crate::graph::{DataType, Graph, Node, TensorData};

/// A convolution or a linear layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// Its first output: (N, M, H, W) of a convolution, (…, M) of a linear layer.
    pub output: String,
    /// How it computes that.
    pub kind: Kind,
}

/// How a layer holds its kernel, which is its second input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Conv` of one group: (M, C, kH, kW).
    Convolution,
    /// `MatMul` by a constant: (p, M), and no place for a bias.
    Product,
    /// `Gemm` as it is without factors: (M, p) where `transB` is set, else (p, M).
    Gemm {
        /// `transB`.
        by_rows: bool,
    },
}

impl Layer {
    /// The layer that a node is, where its kernel and bias are constants that can be set freely.
    pub fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let kind = match node.op.as_str() {
            _ if mixes_channels(graph, node) && has_constant_parameters(graph, node) => Kind::Convolution,
            "MatMul" if is_matrix(graph, node) => Kind::Product,
            "Gemm" if is_matrix(graph, node) && is_plain(graph, node) => Kind::Gemm { by_rows: by_rows(node) },
            _ => return None,
        };
        Some(Self { output: node.output().to_owned(), kind })
    }

    /// Index of its node in a graph that has it.
    pub(crate) fn position(&self, graph: &Graph) -> usize {
        position(graph, &self.output).expect("a layer of this graph")
    }

    /// Which dimension of an output of this rank is the channels'.
    pub fn channel_axis(&self, rank: usize) -> usize {
        if self.kind == Kind::Convolution { 1 } else { rank.saturating_sub(1) }
    }

    /// True if the layer adds a bias of its own, or could.
    pub fn takes_bias(&self) -> bool {
        self.kind != Kind::Product
    }

    /// Sizes of a kernel with these dimensions as rows: output channels M, and inputs p of each.
    pub fn rows_of(&self, dims: &[usize]) -> [usize; 2] {
        match self.kind {
            Kind::Product | Kind::Gemm { by_rows: false } => [dims[1], dims[0]],
            _ => [dims[0], dims[1..].iter().product()],
        }
    }

    /// Output and input channels of a layer whose kernel has these dimensions.
    pub(crate) fn channels_of(&self, dims: &[usize]) -> [usize; 2] {
        match self.kind {
            Kind::Product | Kind::Gemm { by_rows: false } => [dims[1], dims[0]],
            _ => [dims[0], dims[1]],
        }
    }

    /// The kernel as rows, (M, p), f64.
    pub(crate) fn kernel(&self, student: &Student) -> Result<Tensor, CompressError> {
        let kernel = wide(&student.params, &student.graph.nodes[self.position(&student.graph)].inputs[1])?;
        Ok(match self.kind {
            Kind::Product | Kind::Gemm { by_rows: false } => kernel.f_transpose(0, 1)?,
            _ => kernel.f_flatten(1, -1)?,
        })
    }

    /// Rows (M, p) in the form of a kernel of this size.
    pub(crate) fn as_kernel(&self, rows: &Tensor, size: &[i64]) -> Result<Tensor, CompressError> {
        Ok(match self.kind {
            Kind::Product | Kind::Gemm { by_rows: false } => rows.f_transpose(0, 1)?,
            _ => rows.f_reshape(size)?,
        })
    }
}

/// Only a convolution over all channels, (M, C, kH, kW), absorbs a map that mixes channels.
pub fn mixes_channels(graph: &Graph, node: &Node) -> bool {
    let weight = node.input(1).and_then(|weight| graph.initializers.get(weight));
    let kernel = weight.is_some_and(|weight| weight.dims.len() == 4 && weight.dtype == DataType::Float32);
    node.is("Conv") && node.attrs.int("group", 1) == 1 && kernel
}

/// True where everything but the first input of a node is absent or a float32 constant: only then is it known, and can be set.
pub fn has_constant_parameters(graph: &Graph, node: &Node) -> bool {
    let constant = |name: &String| graph.initializers.get(name).is_some_and(|tensor| tensor.dtype == DataType::Float32);
    node.inputs.iter().skip(1).all(|name| name.is_empty() || constant(name))
}

/// Operators of one value that leave every channel where it is, as they stand between convolutions.
pub fn passes(node: &Node) -> bool {
    ["Relu", "Clip", "BatchNormalization", "Identity", "Dropout", "LeakyRelu", "HardSwish", "Sigmoid"]
        .contains(&node.op.as_str())
}

fn is_matrix(graph: &Graph, node: &Node) -> bool {
    let weight = node.input(1).and_then(|name| graph.initializers.get(name));
    let fed = node.input(0).is_some_and(|name| !graph.initializers.contains_key(name));
    fed && weight.is_some_and(|weight| weight.dims.len() == 2 && weight.dtype == DataType::Float32)
}

fn by_rows(node: &Node) -> bool {
    node.attrs.int("transB", 0) != 0
}

/// `A·B + C` without factors, `C` one number a channel.
fn is_plain(graph: &Graph, node: &Node) -> bool {
    let factor = |name| node.attrs.float(name, 1.0) == 1.0;
    let channels = |weight: &TensorData| weight.dims[usize::from(!by_rows(node))];
    let weight = node.input(1).and_then(|name| graph.initializers.get(name));
    let bias_fits = node.input(2).is_none_or(|name| {
        let bias = graph.initializers.get(name);
        let dims = bias.map(|bias| bias.dims.as_slice());
        weight.is_some_and(|weight| dims == Some(&[channels(weight)]) || dims == Some(&[1, channels(weight)]))
    });
    factor("alpha") && factor("beta") && node.attrs.int("transA", 0) == 0 && bias_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(inputs: &[&str]) -> Node {
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        Node { op: "Conv".into(), inputs, outputs: vec!["y".into()], ..Node::default() }
    }

    #[test]
    fn a_convolution_whose_bias_is_computed_is_none_that_can_be_set() {
        let tensor = |dims: &[usize]| TensorData::from_f32(dims, &vec![0.0; dims.iter().product()]).into();
        let initializers = [("w".to_owned(), tensor(&[2, 2, 1, 1])), ("b".to_owned(), tensor(&[2]))];
        let graph = Graph { initializers: initializers.into_iter().collect(), ..Graph::default() };
        assert!(Layer::of(&graph, &conv(&["x", "w"])).is_some());
        assert!(Layer::of(&graph, &conv(&["x", "w", "b"])).is_some());
        assert_eq!(Layer::of(&graph, &conv(&["x", "w", "computed"])), None);
    }
}
