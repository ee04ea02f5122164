//! Sites at which adapters merge exactly (docs/method.md §3, paper figure 4).
//!
//! On the graph with the block dropped, the stream is the value that stood ahead of the block. Post-adapters follow the
//! layers that write it, pre-adapters go ahead of the layers that read it, each right at its layer: behind a product and ahead
//! of the bias that is added to it, behind a `Pad` and ahead of the convolution. So merging is exact whatever nodes are between
//! a layer and the stream. These nodes only determine whether the layer belongs to the stream: element-wise operators,
//! normalisations and moves of elements continue the stream, as long as its channels stay one axis.
//!
//! Several layers can read the stream. Each has its own adapter, so one that can take none, for example a grouped convolution,
//! has none and changes nothing for the others.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::compress::stream::moves::{carried, rolled};
use crate::compress::stream::path::changes_nothing;
use crate::compress::student::Student;
use crate::compress::student::edit::position;
use crate::compress::student::layer::Layer;
use crate::compress::student::weights::ahead_of;
use crate::graph::{Graph, Node};
use crate::network::blocks::shared::is_shared;

/// A place for an adapter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The convolution or linear layer.
    pub layer: Layer,
    /// On which side of it.
    pub side: Side,
    /// Channels of the adapter: it maps (N, channels, H, W) of a convolution, (…, channels) of a linear layer.
    pub channels: usize,
}

/// The side of a layer that an adapter is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Ahead of a reader.
    Pre,
    /// Behind a writer.
    Post,
}

/// A value and the axis of it that is followed.
type Place<'g> = (&'g str, usize);

/// Sites around `stream` in a student whose block is already dropped, in graph order. The head behind the taps has none: it is
/// never trained.
pub fn find(student: &Student, stream: &str) -> Vec<Site> {
    let graph = &student.graph;
    let trained = ahead_of(graph, &student.taps);
    let writers = writers(graph, stream).into_iter().map(|at| (at, Side::Post));
    let readers = readers(graph, stream).into_iter().map(|at| (at, Side::Pre));
    let mut places: Vec<(usize, Side)> = writers.chain(readers).filter(|(at, _)| trained.contains(at)).collect();
    places.sort_unstable();
    places.into_iter().filter_map(|(at, side)| site(graph, &graph.nodes[at], side)).collect()
}

/// The site on this side of a node, if it is a layer that can absorb an adapter there.
fn site(graph: &Graph, node: &Node, side: Side) -> Option<Site> {
    let layer = Layer::of(graph, node)?;
    // Initializers that old exporters also list as inputs are constants, as everywhere (`onnx::decode`).
    let own = |name: &str| graph.initializers.contains_key(name) && !graph.is_output(name);
    // If the layer is an output of the network, an adapter behind it would have no effect; a bias is mapped like the value it
    // is added to.
    let absorbs = match side {
        Side::Pre => true,
        Side::Post => !graph.is_output(node.output()) && node.input(2).is_none_or(own),
    };
    // A shared kernel must not change for one place alone.
    let alone = || position(graph, node.output()).is_some_and(|at| !is_shared(graph, at));
    let weight = node.input(1).filter(|name| absorbs && own(name) && alone())?;
    let [out, into] = layer.channels_of(&graph.initializers[weight].dims);
    let channels = if side == Side::Post { out } else { into };
    Some(Site { layer, side, channels })
}

/// Layers that write the stream. Which of its axes the channels are shows in them: for images it is the second, for tokens
/// the last, and networks that mix tokens as well (MLP-Mixer) have both.
fn writers(graph: &Graph, stream: &str) -> BTreeSet<usize> {
    let rank = graph.shape(stream).map_or(0, |shape| shape.len());
    let producers = graph.producers();
    (1..rank).flat_map(|axis| Way::back(graph, &producers, (stream, axis), None).layers).collect()
}

/// Layers that read the stream.
fn readers(graph: &Graph, stream: &str) -> BTreeSet<usize> {
    let producers = graph.producers();
    let reads = |node: &Node| {
        let input = Layer::of(graph, node).and_then(|layer| input_of(graph, node, &layer));
        input.is_some_and(|input| Way::back(graph, &producers, input, Some(stream)).met)
    };
    (0..graph.nodes.len()).filter(|at| reads(&graph.nodes[*at])).collect()
}

/// The input of a layer, with the axis that it mixes.
fn input_of<'g>(graph: &'g Graph, node: &'g Node, layer: &Layer) -> Option<Place<'g>> {
    let input = node.input(0)?;
    Some((input, layer.channel_axis(graph.shape(input)?.len())))
}

/// The result of a walk back from a value.
struct Way {
    /// Layers that mix the followed axis.
    layers: BTreeSet<usize>,
    /// Whether it came to the value that it was to stop at.
    met: bool,
}

impl Way {
    /// Back from a place, up to layers and to `end`.
    fn back<'g>(graph: &'g Graph, producers: &BTreeMap<&str, usize>, from: Place<'g>, end: Option<&str>) -> Self {
        let mut way = Self { layers: BTreeSet::new(), met: false };
        let mut seen = HashSet::new();
        let mut open = vec![from];
        while let Some((value, axis)) = open.pop() {
            way.met |= end == Some(value);
            let Some(&at) = producers.get(value).filter(|_| end != Some(value) && seen.insert((value, axis))) else {
                continue;
            };
            let node = &graph.nodes[at];
            let rank = graph.shape(value).map_or(0, |shape| shape.len());
            match Layer::of(graph, node) {
                Some(layer) if layer.channel_axis(rank) == axis => drop(way.layers.insert(at)),
                Some(_) => {}
                None => open.extend(ahead(graph, node, axis)),
            }
        }
        way
    }
}

/// Operators that compute every element from those at the same place, and normalisations, which beside that only count with
/// means: behind them the stream is still the stream. Spelled out, a LayerNormalization is a row of them, and SiLU is a product.
const ELEMENTWISE: &[&str] = &[
    "Add",
    "Sum",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Cast",
    "Relu",
    "Clip",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Erf",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
];

/// The inputs of a node that come out of it with as many channels, each a channel of the output: where the followed axis lies in
/// them. None if the node makes something else of the stream, as pooling, joining, and reading a part of it do.
fn ahead<'g>(graph: &'g Graph, node: &'g Node, axis: usize) -> Vec<Place<'g>> {
    let first = node.input(0).filter(|name| !graph.initializers.contains_key(*name));
    let along = |value: &'g str| Some((value, axis));
    let one = match node.op.as_str() {
        _ if changes_nothing(graph, node) => first.and_then(along),
        "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            first.and_then(|value| Some((value, uncarried(graph, node, value, axis)?)))
        }
        "Concat" => rolled(graph, node).filter(|_| carried(graph, node, axis).is_some()).and_then(|roll| along(roll.0)),
        "Pad" => first.filter(|_| pads_linearly(graph, node, axis)).and_then(along),
        op if ELEMENTWISE.contains(&op) => return of_own_size(graph, node).map(|value| (value, axis)).collect(),
        _ => None,
    };
    one.into_iter().collect()
}

/// The axis of the input that a move carries to `axis` of the output.
fn uncarried(graph: &Graph, node: &Node, input: &str, axis: usize) -> Option<usize> {
    (1..graph.shape(input)?.len()).find(|from| carried(graph, node, *from) == Some(axis))
}

/// The inputs that have the size of the output: not constants of a channel each, not the means of a normalisation, not the
/// gates of squeeze-and-excitation.
fn of_own_size<'g>(graph: &'g Graph, node: &'g Node) -> impl Iterator<Item = &'g str> {
    let size = graph.shape(node.output());
    node.inputs.iter().map(String::as_str).filter(move |name| size.is_some() && graph.shape(name) == size)
}

/// True if a `Pad` commutes with every linear map of the followed axis: it leaves that axis alone, and what it adds is zeros
/// or copies (reflected, from the edge, from the other end). Other constants it does not map, so what it puts out is no linear
/// function of the stream.
fn pads_linearly(graph: &Graph, node: &Node, axis: usize) -> bool {
    let constant = |index: usize| graph.initializers.get(node.input(index)?);
    let zeros = match node.input(2) {
        Some(_) => constant(2).and_then(|value| value.to_f32()).is_some_and(|value| value == [0.0]),
        None => node.attrs.float("value", 0.0) == 0.0,
    };
    let copies = node.attrs.string("mode", "constant") != "constant";
    let rank = graph.shape(&node.inputs[0]).map_or(0, |shape| shape.len());
    let axes = match node.input(3) {
        Some(_) => constant(3).and_then(|axes| axes.to_i64()),
        None => Some((0..rank as i64).collect()),
    };
    let given = constant(1).and_then(|pads| pads.to_i64()).or_else(|| node.attrs.ints("pads").map(<[i64]>::to_vec));
    let (Some(axes), Some(pads)) = (axes, given) else { return false };
    let of_axis = |at: &i64| at.rem_euclid(rank.max(1) as i64) == axis as i64;
    let alone = (axes.iter().cycle().zip(&pads)).all(|(at, count)| *count == 0 || !of_axis(at));
    alone && (copies || zeros)
}
