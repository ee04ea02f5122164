//! Where the features are captured (docs/method.md §2).
//!
//! The features are the tensor entering global pooling; without one, the tensor entering the last `Gemm` or `MatMul` of each
//! output; else the output. What follows is the head, which is never trained. If droppable blocks follow such a place, or its
//! first dimension is not the batch, the output itself is used.

use std::collections::{BTreeMap, HashSet};

use super::blocks::Block;
use super::dominators::{Dominators, data_inputs};
use super::outputs::has_rows;
use crate::graph::{Graph, Node, ValueInfo};
use crate::network::NetworkError;

/// The values that the student has to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Names of the values: one or two for each output, fewer if outputs share them.
    pub values: Vec<String>,
    /// Explanation for customers.
    pub reason: String,
}

/// Maximum number of nodes visited behind taps, over all outputs: heads are short.
const MOST_BEHIND: usize = 1 << 20;

/// Finds the tap of a folded, sorted graph for the outputs that depend on the images.
pub fn find(graph: &Graph, tree: &Dominators, answers: &[ValueInfo], blocks: &[Block]) -> Tap {
    let droppable = blocks.iter().filter(|block| block.droppable()).flat_map(Block::places);
    let droppable = droppable.map(|place| place.sum.as_str());
    let mut search =
        Search { graph, tree, producers: graph.producers(), droppable: droppable.collect(), left: MOST_BEHIND };
    let mut values = Vec::new();
    let mut reasons = Vec::new();
    for output in answers {
        let (found, reason) = search.of_output(&output.name);
        if found.iter().any(|value| !values.contains(value)) {
            reasons.push(reason);
        }
        found.into_iter().for_each(|value| {
            if !values.contains(&value) {
                values.push(value)
            }
        });
    }
    reasons.dedup();
    Tap { values, reason: reasons.join("; ") }
}

/// Refuses a network with a droppable block behind the values that represent an output: behind labels or rounded numbers there
/// is no loss to recover by.
pub fn check(
    graph: &Graph,
    outputs: &[ValueInfo],
    answers: &[ValueInfo],
    blocks: &[Block],
) -> Result<(), NetworkError> {
    let producers = graph.producers();
    let ahead: HashSet<&str> = answers.iter().map(|answer| answer.name.as_str()).collect();
    let mut open: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    let mut behind: HashSet<&str> = HashSet::new();
    while let Some(value) = open.pop() {
        let inside = !ahead.contains(value) && behind.insert(value);
        let producer = producers.get(value).filter(|_| inside);
        open.extend(producer.into_iter().flat_map(|at| &graph.nodes[*at].inputs).map(String::as_str));
    }
    let is_behind = |block: &&Block| block.places().any(|place| behind.contains(place.sum.as_str()));
    let lost = blocks.iter().find(|block| block.droppable() && is_behind(block));
    lost.map_or(Ok(()), |block| {
        let stood_for: Vec<String> = answers.iter().map(|answer| format!("\"{}\"", answer.name)).collect();
        Err(NetworkError::ModelInterface(format!(
            "block \"{}\" comes after rounding or comparing, so its output has no gradient (the last value that has one is \
             {}): export the network without rounding inside",
            block.name,
            stood_for.join(", ")
        )))
    })
}

/// A graph with its lookup tables, shared by all outputs.
struct Search<'g> {
    graph: &'g Graph,
    tree: &'g Dominators<'g>,
    producers: BTreeMap<&'g str, usize>,
    /// Sums of the droppable blocks.
    droppable: HashSet<&'g str>,
    /// Remaining budget of [`MOST_BEHIND`].
    left: usize,
}

impl Search<'_> {
    fn of_output(&mut self, output: &str) -> (Vec<String>, String) {
        let graph = self.graph;
        let on_the_way: Vec<&Node> = self.tree.chain(output).map(|index| &graph.nodes[index]).collect();
        let pooling = on_the_way.iter().find(|node| is_global_pooling(graph, node));
        let linear = on_the_way.iter().find(|node| node.is("Gemm") || node.is("MatMul"));
        let places = [(pooling, "the input of global pooling"), (linear, "the input of the last linear layer")];
        for (node, what) in places.into_iter().filter_map(|(node, what)| Some((*node?, what))) {
            let mut entering = data_inputs(graph, node);
            entering.retain(|value| self.tree.is_changed_by_images(value));
            if self.has_rows(&entering) && self.sees_all(output, &entering) {
                let entering = entering.into_iter().map(str::to_owned).collect();
                return (entering, format!("{what} ({})", node.label()));
            }
        }
        let why = if pooling.or(linear).is_none() {
            "no global pooling and no linear layer leads to it"
        } else {
            "blocks follow the last global pooling or linear layer, or that layer does not take one row for each image"
        };
        (vec![output.to_owned()], format!("the output itself: {why}"))
    }

    /// True if there are values, and none is known to have a shape other than (N, …).
    fn has_rows(&self, values: &[&str]) -> bool {
        let shape = |value: &&str| self.graph.shape(value);
        !values.is_empty() && values.iter().filter_map(shape).all(|dims| has_rows(&dims))
    }

    /// True if no droppable block is between these values and the output.
    fn sees_all(&mut self, output: &str, values: &[&str]) -> bool {
        let mut seen: HashSet<usize> = HashSet::new();
        let mut open = vec![output];
        while let Some(value) = open.pop().filter(|_| self.left > 0) {
            let at = self.producers.get(value).filter(|_| !values.contains(&value));
            let Some(&at) = at.filter(|at| seen.insert(**at)) else { continue };
            self.left -= 1;
            if self.droppable.contains(value) {
                return false;
            }
            open.extend(self.graph.nodes[at].inputs.iter().map(String::as_str));
        }
        self.left > 0
    }
}

/// `GlobalAveragePool`, `GlobalMaxPool`, a mean over H and W, or an average pooling window that covers the map.
fn is_global_pooling(graph: &Graph, node: &Node) -> bool {
    match node.op.as_str() {
        "GlobalAveragePool" | "GlobalMaxPool" => true,
        "ReduceMean" => reduces_both_spatial_axes(graph, node),
        "AveragePool" => {
            let kernel = node.attrs.ints("kernel_shape").unwrap_or_default();
            let map = spatial_size(graph, &node.inputs[0]);
            !kernel.is_empty() && map.as_deref() == Some(kernel)
        }
        _ => false,
    }
}

fn reduces_both_spatial_axes(graph: &Graph, node: &Node) -> bool {
    let from_input = node.input(1).and_then(|name| graph.initializers.get(name)).and_then(|axes| axes.to_i64());
    let axes = from_input.or_else(|| node.attrs.ints("axes").map(<[i64]>::to_vec)).unwrap_or_default();
    let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + 4 } else { axis }).collect();
    axes.sort_unstable();
    graph.shape(&node.inputs[0]).is_some_and(|shape| shape.len() == 4) && axes == [2, 3]
}

fn spatial_size(graph: &Graph, value: &str) -> Option<Vec<i64>> {
    graph.shape(value)?.iter().skip(2).map(|dim| dim.known().map(|size| size as i64)).collect()
}
