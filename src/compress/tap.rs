//! Where the features are captured (method §2).
//!
//! The loss lives on the tensor entering global pooling; without one, on the tensor entering the last `Gemm` or `MatMul`
//! of each output; else on the outputs. What comes after is the head, which is never trained.

use crate::graph::{Graph, Node};

use super::dominators::{Dominators, data_inputs};

/// The values that the student has to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Names of the values, one per output unless outputs share one.
    pub values: Vec<String>,
    /// Why these, in words.
    pub reason: String,
}

/// Finds the tap of a folded, sorted graph.
pub fn find(graph: &Graph) -> Tap {
    let tree = Dominators::new(graph);
    let mut values = Vec::new();
    let mut reasons = Vec::new();
    for output in &graph.outputs {
        let (value, reason) = of_output(graph, &tree, &output.name);
        if !values.contains(&value) {
            values.push(value);
            reasons.push(reason);
        }
    }
    reasons.dedup();
    Tap { values, reason: reasons.join("; ") }
}

fn of_output(graph: &Graph, tree: &Dominators, output: &str) -> (String, String) {
    let on_the_way: Vec<&Node> = tree.chain(output).map(|index| &graph.nodes[index]).collect();
    let entering = |node: &Node| data_inputs(graph, node).first().map(|value| (*value).to_owned());
    let pooling = on_the_way.iter().find(|node| is_global_pooling(graph, node));
    if let Some((node, value)) = pooling.and_then(|node| Some((node, entering(node)?))) {
        return (value, format!("the input of global pooling ({})", node.label()));
    }
    let linear = on_the_way.iter().find(|node| node.is("Gemm") || node.is("MatMul"));
    if let Some((node, value)) = linear.and_then(|node| Some((node, entering(node)?))) {
        return (value, format!("the input of the last linear layer ({})", node.label()));
    }
    (output.to_owned(), "the output itself: no global pooling and no linear layer leads to it".into())
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
