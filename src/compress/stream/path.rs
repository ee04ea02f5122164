//! The nodes between a layer and the residual addition that reads its output, and the way back through them.
//!
//! Two kinds of things may: operators that work on every channel by itself (`z = gain · y + shift`), which a solution is
//! written back through, and operators that only move elements, which the target is carried back through. Both are exact,
//! and since the axis of the channels is followed, their order does not matter.
//!
//! A convolution's path can end in squeeze-and-excitation, which depends on the convolution's output. It is treated as fixed at
//! its current value, which is not exact; on a trained SE-ResNet this brings more than refitting elsewhere.

use tch::Tensor;

use super::moves::{Move, carried};
use crate::compress::CompressError;
use crate::compress::student::Student;
use crate::compress::student::edit::{position, set_weight, wide};
use crate::compress::student::layer::{Kind, Layer, has_constant_parameters};
use crate::graph::{Dim, Graph, Node};

/// From a layer's output to the value that is added to the stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    /// Nodes that scale or shift channels, in the order of computation.
    pub channels: Vec<PerChannel>,
    /// Nodes that move elements, in the order of computation.
    pub moves: Vec<Move>,
    /// The factor of every channel of an image at the end, (N, M, 1, 1): squeeze-and-excitation.
    pub excitation: Option<String>,
}

/// An operator that works on every channel by itself, by its first output.
#[derive(Debug, Clone, PartialEq)]
pub enum PerChannel {
    /// A BatchNormalization.
    Norm(String),
    /// A `Mul` by a constant: layer scale.
    Scale(Operand),
    /// An `Add` of a constant: the bias of a `MatMul`.
    Shift(Operand),
}

/// The constant that an operator of two inputs reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// First output of the operator.
    pub node: String,
    /// Which of its inputs is the constant.
    pub index: usize,
    /// Whether each channel has a number of its own.
    pub own: bool,
}

impl Path {
    /// The path of these nodes behind a layer, in the order of computation; `None` if one of them is of neither kind.
    pub fn of(graph: &Graph, layer: &Layer, channels: usize, nodes: &[&Node]) -> Option<Self> {
        let mut path = Self::default();
        let mut axis = Some(layer.channel_axis(graph.shape(&layer.output)?.len()));
        for node in nodes {
            match node.op.as_str() {
                _ if changes_nothing(graph, node) => {}
                _ if path.excitation.is_some() => return None,
                "Mul" if is_product(graph, node) => {
                    let on_maps = layer.kind == Kind::Convolution && path.moves.is_empty();
                    path.excitation = Some(excitation_of(graph, node).filter(|_| on_maps)?.1.to_owned());
                }
                "BatchNormalization" if axis == Some(1) && has_constant_parameters(graph, node) => {
                    path.channels.push(PerChannel::Norm(node.output().to_owned()));
                }
                "Mul" => path.channels.push(PerChannel::Scale(Operand::of(graph, node, axis, channels)?)),
                "Add" => path.channels.push(PerChannel::Shift(Operand::of(graph, node, axis, channels)?)),
                _ => {
                    path.moves.push(Move::of(graph, node)?);
                    axis = axis.and_then(|axis| carried(graph, node, axis));
                }
            }
        }
        Some(path)
    }

    /// Gain and shift of every channel, (M), f64; 1 and 0 without nodes behind the layer. `like` is (M).
    pub(crate) fn affine(&self, student: &Student, like: &Tensor) -> Result<(Tensor, Tensor), CompressError> {
        let (mut gain, mut shift) = (like.ones_like(), like.zeros_like());
        for step in &self.channels {
            let (factor, term) = step.affine(student, like)?;
            (gain, shift) = (gain * &factor, shift * factor + term);
        }
        Ok((gain, shift))
    }

    /// True if a shift can be written somewhere on the path.
    pub(crate) fn takes_shift(&self) -> bool {
        self.last_shift().is_some()
    }

    /// Adds `more`, (M), as it is to arrive at the end of the path, to the last place that takes a shift; gives false where
    /// there is none.
    pub(crate) fn add_shift(&self, student: &mut Student, more: &Tensor) -> Result<bool, CompressError> {
        let Some((last, node, index)) = self.last_shift() else { return Ok(false) };
        let behind = Self { channels: self.channels[last + 1..].to_vec(), ..Self::default() };
        let more = more / alive_only(&behind.affine(student, more)?.0)?;
        let name = node_at(&student.graph, node).inputs[index].clone();
        let old = wide(&student.params, &name)?;
        set_weight(student, &name, &(&old + more.f_reshape(old.size())?))?;
        Ok(true)
    }

    /// Index of the node, and of its input, that reads the constant that [`add_shift`](Self::add_shift) changes.
    pub(crate) fn shifting(&self, graph: &Graph) -> Option<(usize, usize)> {
        self.last_shift().map(|(_, node, index)| (position(graph, node).expect("a node of this graph"), index))
    }

    /// Names of the constants that it works on channels with, in the order of computation.
    pub(crate) fn constants<'g>(&self, graph: &'g Graph) -> Vec<&'g [String]> {
        let of_step = |step: &PerChannel| match step {
            PerChannel::Norm(norm) => &node_at(graph, norm).inputs[1..],
            PerChannel::Scale(operand) | PerChannel::Shift(operand) => {
                std::slice::from_ref(&node_at(graph, &operand.node).inputs[operand.index])
            }
        };
        self.channels.iter().map(of_step).collect()
    }

    /// The last place that takes a shift: which of the operators, its first output, and which of its inputs.
    fn last_shift(&self) -> Option<(usize, &str, usize)> {
        let places = self.channels.iter().enumerate().rev();
        places.filter_map(|(at, step)| step.shift().map(|(node, index)| (at, node, index))).next()
    }
}

/// Gains to divide by: infinite for channels that are close to silent, so that quotients are 0.
pub(crate) fn alive_only(gain: &Tensor) -> Result<Tensor, CompressError> {
    let size = gain.f_abs()?;
    let alive = size.f_gt_tensor(&(size.f_max()? * 1e-6))?;
    Ok(gain.f_where_self(&alive, &Tensor::from(f64::INFINITY).f_to_device(gain.device())?)?)
}

impl PerChannel {
    /// First output of the operator and which of its inputs shifts, where every channel has a number of its own there.
    fn shift(&self) -> Option<(&str, usize)> {
        match self {
            Self::Norm(norm) => Some((norm, 2)),
            Self::Shift(operand) if operand.own => Some((&operand.node, operand.index)),
            _ => None,
        }
    }

    fn affine(&self, student: &Student, like: &Tensor) -> Result<(Tensor, Tensor), CompressError> {
        match self {
            Self::Norm(norm) => norm_affine(student, norm),
            Self::Scale(operand) => Ok((operand.read(student, like)?, like.zeros_like())),
            Self::Shift(operand) => Ok((like.ones_like(), operand.read(student, like)?)),
        }
    }
}

fn node_at<'g>(graph: &'g Graph, output: &str) -> &'g Node {
    &graph.nodes[position(graph, output).expect("a node of this graph")]
}

fn norm_affine(student: &Student, norm: &str) -> Result<(Tensor, Tensor), CompressError> {
    let node = node_at(&student.graph, norm);
    let read = |index: usize| wide(&student.params, &node.inputs[index]);
    let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
    let gain = read(1)? / (read(4)? + epsilon).sqrt();
    let shift = read(2)? - read(3)? * &gain;
    Ok((gain, shift))
}

impl Operand {
    /// The constant, if it is one number, or one for each of the channels that lie along `axis`.
    fn of(graph: &Graph, node: &Node, axis: Option<usize>, channels: usize) -> Option<Self> {
        let index = constant_of(graph, node)?;
        let dims = &graph.initializers[&node.inputs[index]].dims;
        let ahead = graph.shape(&node.inputs[1 - index])?.len().checked_sub(dims.len())?;
        let along = |at: usize| axis == Some(ahead + at);
        let fits = dims.iter().enumerate().all(|(at, size)| *size == 1 || along(at) && *size == channels);
        let own = channels == dims.iter().product::<usize>();
        fits.then(|| Self { node: node.output().to_owned(), index, own })
    }

    /// (M), f64.
    fn read(&self, student: &Student, like: &Tensor) -> Result<Tensor, CompressError> {
        let node = node_at(&student.graph, &self.node);
        let constant = wide(&student.params, &node.inputs[self.index])?.f_flatten(0, -1)?;
        Ok(constant.f_expand_as(like)?)
    }
}

/// `Identity`, `Dropout` at inference, and the `Slice` that takes all: Swin's way of cutting off padding, if there is none.
pub(in crate::compress) fn changes_nothing(graph: &Graph, node: &Node) -> bool {
    match node.op.as_str() {
        "Identity" | "Dropout" => true,
        "Slice" => {
            let steps = node.input(4).map(|name| graph.initializers.get(name).and_then(|steps| steps.to_i64()));
            let forward = steps.is_none_or(|steps| steps.is_some_and(|steps| steps.iter().all(|step| *step == 1)));
            let [before, after] = [&node.inputs[0], node.output()].map(|value| graph.shape(value));
            forward && before == after && before.is_some_and(|shape| !shape.contains(&Dim::Unknown))
        }
        _ => false,
    }
}

/// Which of two inputs is a constant, where one is.
pub(crate) fn constant_of(graph: &Graph, node: &Node) -> Option<usize> {
    let [a, b] = node.inputs.as_slice() else { return None };
    match [a, b].map(|name| graph.initializers.get(name).is_some_and(|data| data.dtype.is_float())) {
        [true, false] => Some(0),
        [false, true] => Some(1),
        _ => None,
    }
}

/// True of a `Mul` of two values neither of which is a constant.
pub(crate) fn is_product(graph: &Graph, node: &Node) -> bool {
    node.is("Mul") && constant_of(graph, node).is_none()
}

/// Of a product of two values, which input is maps, (N, M, H, W), and the other: one number per image and channel.
pub(crate) fn excitation_of<'g>(graph: &'g Graph, node: &'g Node) -> Option<(usize, &'g str)> {
    let [a, b] = node.inputs.as_slice() else { return None };
    let shapes = (graph.shape(a)?, graph.shape(b)?);
    let excites = |maps: &[Dim], by: &[Dim]| {
        let one = Dim::Known(1);
        maps.len() == 4 && by.len() == 4 && maps[..2] == by[..2] && by[2..] == [one.clone(), one] && maps != by
    };
    match (excites(&shapes.0, &shapes.1), excites(&shapes.1, &shapes.0)) {
        (true, _) => Some((0, b)),
        (_, true) => Some((1, a)),
        _ => None,
    }
}
