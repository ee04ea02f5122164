//! Multiply-accumulates, from shapes alone. Sums saturate at the largest number, because a file can claim any size.

use crate::graph::{Graph, Node};

/// Multiply-accumulates of one node for one image; 0 for operators without any (additions are not counted, as usual).
pub fn of_node(graph: &Graph, node: &Node) -> u64 {
    let spatial = |value: &str| -> u64 {
        let dims = graph.shape(value).unwrap_or_default();
        product(dims.iter().skip(1).map(|dim| dim.known().unwrap_or(1)))
    };
    // The first size and the product of the rest. A weight may be computed in the network (for example standardised), so only
    // its shape is used.
    let weight = |index: usize| {
        let dims: Vec<usize> = graph.shape(node.input(index)?)?.iter().map(|dim| dim.known()).collect::<Option<_>>()?;
        Some((dims.first().copied()?, product(dims.iter().skip(1).copied())))
    };
    match node.op.as_str() {
        // Output elements × (input channels per group × kernel area); weight (M, C/group, kH, kW).
        "Conv" => weight(1).map_or(0, |(_, rest)| spatial(node.output()).saturating_mul(rest)),
        // Input elements × (output channels per group × kernel area); weight (C, M/group, kH, kW).
        "ConvTranspose" => weight(1).map_or(0, |(_, rest)| spatial(&node.inputs[0]).saturating_mul(rest)),
        "Gemm" => weight(1).map_or(0, |(first, rest)| rest.saturating_mul(first as u64)),
        "MatMul" => matmul(graph, node, spatial(node.output())),
        _ => 0,
    }
}

/// Output elements × the length that is summed over.
fn matmul(graph: &Graph, node: &Node, output: u64) -> u64 {
    let inner =
        node.input(0).and_then(|name| graph.shape(name)).and_then(|shape| shape.last().and_then(|dim| dim.known()));
    output.saturating_mul(inner.unwrap_or(0) as u64)
}

/// Multiply-accumulates of a graph for one image.
pub fn of_graph(graph: &Graph) -> u64 {
    of_nodes(graph, &graph.nodes)
}

/// Multiply-accumulates of some nodes of a graph for one image.
pub fn of_nodes<'n>(graph: &Graph, nodes: impl IntoIterator<Item = &'n Node>) -> u64 {
    nodes.into_iter().map(|node| of_node(graph, node)).fold(0, u64::saturating_add)
}

fn product(sizes: impl Iterator<Item = usize>) -> u64 {
    sizes.fold(1, |product, size| product.saturating_mul(size as u64))
}
