//! Which layer wrote a value of the residual stream, and what its output went through on the way.

use std::collections::BTreeSet;

use super::moves::{Move, rolled};
use super::path::{Path, changes_nothing, constant_of, excitation_of, is_product};
use crate::compress::student::edit::position;
use crate::compress::student::layer::Layer;
use crate::graph::{Graph, Node};

/// A layer with what stands between it and the stream.
pub(crate) struct Written<'g> {
    pub(crate) layer: Layer,
    /// Up to the addition, or to the activation where nothing is added.
    pub(crate) path: Path,
    pub(crate) shortcut: Option<&'g str>,
    /// The nodes between it and the stream, except activations.
    pub(crate) moves: Vec<Move>,
    inputs: usize,
}

impl<'g> Written<'g> {
    /// The layer that wrote the stream last: behind it at most a [`Path`], an addition, activations and moves.
    pub(crate) fn behind(graph: &'g Graph, stream: &'g str) -> Option<Self> {
        let mut value = stream;
        let mut moves = Vec::new();
        loop {
            let node = &graph.nodes[position(graph, value)?];
            match node.op.as_str() {
                "Relu" | "Clip" | "Identity" | "Dropout" => {}
                "Transpose" | "Reshape" => moves.insert(0, Move::of(graph, node)?),
                "Add" if constant_of(graph, node).is_none() => {
                    return Some(Self { moves, ..Self::of_addition(graph, node)? });
                }
                _ => return Some(Self { moves, ..Self::ending_in(graph, value, None)? }),
            }
            value = node.inputs.first()?;
        }
    }

    /// Of two layers that meet, the one over more inputs: the branch's, not the projection's.
    fn of_addition(graph: &'g Graph, add: &'g Node) -> Option<Self> {
        let [a, b] = add.inputs.as_slice() else { return None };
        // What is spread over the maps, (N, M, 1, 1), cannot make up for what is missing in each place.
        let whole = |end: &str| graph.shape(end).is_some_and(|shape| graph.shape(add.output()) == Some(shape));
        let ends = [(a, b), (b, a)].into_iter().filter(|(end, _)| whole(end));
        let ends = ends.filter_map(|(end, other)| Self::ending_in(graph, end, Some(other)));
        ends.max_by_key(|written| written.inputs)
    }

    fn ending_in(graph: &'g Graph, end: &'g str, shortcut: Option<&'g str>) -> Option<Self> {
        let (layer, nodes) = trail(graph, end)?;
        let written = std::iter::once(layer).chain(nodes.iter().copied());
        let mut inside = written.filter(|node| shortcut.is_some() || node.output() != end);
        // With other readers in between, a change here would change more than the stream.
        inside.all(|node| goes_on(graph, node, &nodes)).then_some(())?;
        let weight = graph.initializers.get(layer.input(1)?)?;
        let layer = Layer::of(graph, layer)?;
        let [channels, inputs] = layer.rows_of(&weight.dims);
        let path = Path::of(graph, &layer, channels, &nodes)?;
        Some(Self { layer, path, shortcut, moves: Vec::new(), inputs })
    }
}

/// The layer whose output comes to be `end`, and what stands behind it, in the order of computation.
fn trail<'g>(graph: &'g Graph, end: &str) -> Option<(&'g Node, Vec<&'g Node>)> {
    let mut behind = Vec::new();
    let mut node = &graph.nodes[position(graph, end)?];
    while Layer::of(graph, node).is_none() {
        let input = |index: usize| node.input(index);
        let from = match node.op.as_str() {
            _ if changes_nothing(graph, node) => input(0),
            "BatchNormalization" | "Transpose" | "Reshape" => input(0),
            "Concat" => rolled(graph, node).map(|(value, _)| value),
            "Mul" if is_product(graph, node) => input(excitation_of(graph, node)?.0),
            "Mul" | "Add" => input(1 - constant_of(graph, node)?),
            _ => None,
        };
        behind.insert(0, node);
        node = &graph.nodes[position(graph, from?)?];
    }
    Some((node, behind))
}

/// True if what a node puts out goes on along the path and nowhere else. What is rolled or excited there is read more than
/// once on the way to the next node of the path.
fn goes_on(graph: &Graph, node: &Node, path: &[&Node]) -> bool {
    let follows = |next: &&&Node| match next.op.as_str() {
        "Concat" => rolled(graph, next).is_some_and(|(value, _)| value == node.output()),
        _ => is_product(graph, next) && next.inputs.contains(&node.outputs[0]),
    };
    match path.iter().find(follows) {
        Some(next) => read_through(graph, node.output(), next),
        None => read_once(graph, node),
    }
}

/// True if whatever comes of a value goes through the node `last`, and nowhere else.
fn read_through(graph: &Graph, value: &str, last: &Node) -> bool {
    let consumers = graph.consumers();
    let mut seen = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if graph.is_output(value) {
            return false;
        }
        for at in consumers.get(value).into_iter().flatten() {
            let reader = &graph.nodes[*at];
            if reader.outputs != last.outputs && seen.insert(*at) {
                open.extend(reader.outputs.iter().map(String::as_str));
            }
        }
    }
    true
}

fn read_once(graph: &Graph, node: &Node) -> bool {
    let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == node.output());
    readers.count() == 1 && !graph.is_output(node.output())
}
