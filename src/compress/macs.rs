//! Multiply-accumulates, from shapes alone.

use crate::graph::{Graph, Node};

/// Multiply-accumulates of one node for one image; 0 for operators without any (additions are not counted, as usual).
pub fn of_node(graph: &Graph, node: &Node) -> u64 {
    let spatial = |value: &str| -> u64 {
        let dims = graph.shape(value).unwrap_or_default();
        dims.iter().skip(1).map(|dim| dim.known().unwrap_or(1) as u64).product()
    };
    // A weight may be computed in the network (standardised, say), so its shape counts and not its values.
    let dims = |index: usize| -> Option<Vec<usize>> {
        graph.shape(node.input(index)?)?.iter().map(|dim| dim.known()).collect()
    };
    match node.op.as_str() {
        // Output elements × (input channels per group × kernel area); weight (M, C/group, kH, kW).
        "Conv" => dims(1).map_or(0, |w| spatial(node.output()) * w[1..].iter().product::<usize>() as u64),
        // Input elements × (output channels per group × kernel area); weight (C, M/group, kH, kW).
        "ConvTranspose" => dims(1).map_or(0, |w| spatial(&node.inputs[0]) * w[1..].iter().product::<usize>() as u64),
        "Gemm" => dims(1).map_or(0, |w| w.iter().product::<usize>() as u64),
        "MatMul" => matmul(graph, node, spatial(node.output())),
        _ => 0,
    }
}

/// Output elements × the length that is summed over.
fn matmul(graph: &Graph, node: &Node, output: u64) -> u64 {
    let inner =
        node.input(0).and_then(|name| graph.shape(name)).and_then(|shape| shape.last().and_then(|dim| dim.known()));
    output * inner.unwrap_or(0) as u64
}

/// Multiply-accumulates of a graph for one image.
pub fn of_graph(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|node| of_node(graph, node)).sum()
}
