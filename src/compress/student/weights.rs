//! Which weights fine-tuning moves: all of the student's but the head's (paper §3.3).

use std::collections::BTreeSet;

use crate::graph::{DataType, Graph};
use crate::network::blocks::shared::weights_of;

/// Indices of the nodes that the taps depend on, ascending.
pub fn ahead_of(graph: &Graph, taps: &[String]) -> BTreeSet<usize> {
    let producers = graph.producers();
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = taps.iter().map(String::as_str).collect();
    while let Some(value) = open.pop() {
        let Some(&index) = producers.get(value) else { continue };
        if found.insert(index) {
            open.extend(graph.nodes[index].inputs.iter().map(String::as_str));
        }
    }
    found
}

/// Names of the weights that the taps depend on, in graph order: kernels, biases, and scales and shifts of
/// normalisations. Running statistics and other constants are not weights.
pub fn weights(graph: &Graph, taps: &[String]) -> Vec<String> {
    weights_from(graph, taps, 0)
}

/// As [`weights`], of the nodes from the one at `first` on, without those that an earlier node reads too.
pub fn weights_from(graph: &Graph, taps: &[String], first: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let (frozen, moving): (Vec<usize>, Vec<usize>) =
        ahead_of(graph, taps).into_iter().partition(|index| *index < first);
    let frozen: BTreeSet<&str> = frozen.iter().flat_map(|index| weights_of(&graph.nodes[*index])).collect();
    for index in moving {
        for name in weights_of(&graph.nodes[index]) {
            // What the network puts out must not change.
            let weight = graph.initializers.get(name).is_some_and(|tensor| tensor.dtype == DataType::Float32);
            let known = weight && !graph.is_output(name);
            if known && !frozen.contains(name) && !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}
