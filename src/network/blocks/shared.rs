//! Weights that several nodes read, and blocks that are used in several places: the towers of a Siamese network, a block that
//! is applied repeatedly.
//!
//! Exporters write sharing in three ways: several nodes read one initializer, one initializer reaches them through
//! `Identity` nodes, or the file stores the same values twice. [`tie`] turns all three into the first, on the folded graph.
//! Equal *constants* (all zeros, all ones) are no evidence: exporters merge those of unrelated layers, so they are shared only
//! between nodes that share another weight.
//!
//! A block whose weights are all shared is one block in several places ([`join`]): it is dropped in all of them or in none. A
//! layer whose kernel is shared is refitted for all of its places at once or not at all ([`readers`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Block, NotDroppable};
use crate::graph::{DataType, Graph, Node, TensorData};

/// Makes all nodes with equal weights read them by one name, the first in graph order.
pub fn tie(graph: &mut Graph) {
    let first = same_values(graph);
    let mut renamed: Vec<(usize, usize, String)> = Vec::new();
    let mut classes: HashMap<String, usize> = HashMap::new();
    // For each class, the constants that its first node reads.
    let mut known: HashMap<(usize, usize), String> = HashMap::new();
    let mut of_value: HashMap<String, usize> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let kernel = weights_of(node).any(|name| first.get(name).is_some_and(|same| same.tells));
        let key = class_key(graph, node, kernel, &first, &of_value);
        let next = classes.len();
        let class = *classes.entry(key).or_insert(next);
        of_value.extend(node.outputs.iter().map(|name| (name.clone(), class)));
        for (index, name) in node.inputs.iter().enumerate() {
            let Some(same) = first.get(name.as_str()) else { continue };
            let wanted = match same.tells {
                true => same.name.to_owned(),
                false => known.entry((class, index)).or_insert_with(|| name.clone()).clone(),
            };
            let is_tied = same.tells || is_weight(node, index);
            if wanted != *name && is_tied && !graph.is_output(name) && !graph.is_output(&wanted) {
                renamed.push((at, index, wanted));
            }
        }
    }
    for (at, index, name) in renamed {
        graph.nodes[at].inputs[index] = name;
    }
    let read: BTreeSet<&String> = graph.nodes.iter().flat_map(|node| &node.inputs).collect();
    let outputs: BTreeSet<&String> = graph.outputs.iter().map(|output| &output.name).collect();
    graph.initializers.retain(|name, _| read.contains(name) || outputs.contains(name));
}

/// A float32 constant: the first name of its values, and whether they are distinctive.
struct Same<'g> {
    name: &'g str,
    tells: bool,
}

/// Every float32 initializer by the first one of the same shape and values.
fn same_values(graph: &Graph) -> HashMap<&str, Same<'_>> {
    let mut alike: HashMap<(&[usize], &[u8]), Vec<&str>> = HashMap::new();
    let mut first = HashMap::new();
    for (name, tensor) in graph.initializers.iter().filter(|(_, tensor)| tensor.dtype == DataType::Float32) {
        let few = &tensor.bytes[..tensor.bytes.len().min(64)];
        let candidates = alike.entry((&tensor.dims, few)).or_default();
        let same = candidates.iter().copied().find(|other| graph.initializers[*other].bytes == tensor.bytes);
        if same.is_none() {
            candidates.push(name);
        }
        first.insert(name.as_str(), Same { name: same.unwrap_or(name), tells: tells(tensor) });
    }
    first
}

/// Whether the values of a constant are distinctive: not a single number, and not all equal.
pub(crate) fn tells(tensor: &TensorData) -> bool {
    let mut values = tensor.bytes.chunks(4);
    values.next().is_some_and(|first| values.any(|value| value != first))
}

/// Whether a node's input is one that refits or training may change.
fn is_weight(node: &Node, index: usize) -> bool {
    let statistics = node.is("BatchNormalization") && (3..=4).contains(&index);
    let scale_or_shift = node.is("Mul") || node.is("Add");
    statistics || scale_or_shift || index > 0 && weights_of(node).any(|name| node.inputs[index] == name)
}

/// Nodes with equal keys compute the same: for a node with distinctive weights the key has those, for any other node also the
/// classes of its inputs.
fn class_key(
    graph: &Graph,
    node: &Node,
    kernel: bool,
    first: &HashMap<&str, Same>,
    of_value: &HashMap<String, usize>,
) -> String {
    let input = |name: &String| match (first.get(name.as_str()), of_value.get(name)) {
        (Some(same), _) => format!("={}", same.name),
        _ if graph.initializers.contains_key(name) => format!("={name}"),
        _ if kernel => "_".to_owned(),
        (_, Some(class)) => format!("#{class}"),
        // Two inputs are equal if they are used in the same way.
        _ => "input".to_owned(),
    };
    let inputs: Vec<String> = node.inputs.iter().map(input).collect();
    format!("{}:{}:{:?}({})", node.domain, node.op, node.attrs, inputs.join(","))
}

/// Elements of the float weights that a file stores for its folded graph: a weight that reaches several nodes through
/// `Identity` counts once, one that is stored twice counts twice.
pub fn stored(file: &Graph, folded: &Graph) -> usize {
    let producers = file.producers();
    let root = |mut name: String| {
        while let Some(node) =
            producers.get(name.as_str()).map(|at| &file.nodes[*at]).filter(|node| node.is("Identity"))
        {
            name.clone_from(&node.inputs[0]);
        }
        name
    };
    let mut weights: BTreeMap<String, usize> = BTreeMap::new();
    let outputs = folded.outputs.iter().map(|output| (None, &output.name));
    let inputs = folded.nodes.iter().flat_map(|node| {
        let original = producers.get(node.output()).map(|at| &file.nodes[*at]);
        node.inputs.iter().enumerate().map(move |(index, name)| (original.and_then(|node| node.input(index)), name))
    });
    for (original, name) in outputs.chain(inputs) {
        if let Some(tensor) = folded.initializers.get(name).filter(|tensor| tensor.dtype.is_float()) {
            weights.insert(root(original.unwrap_or(name).to_owned()), tensor.len());
        }
    }
    weights.values().sum()
}

/// Indices of the nodes that compute with the same kernel as the node at `at`, itself among them, ascending.
pub fn readers(graph: &Graph, at: usize) -> Vec<usize> {
    graph.nodes[at].input(1).map_or_else(|| vec![at], |kernel| reading(graph, kernel).collect())
}

/// Indices of the nodes that read a value, ascending.
pub(crate) fn reading<'g>(graph: &'g Graph, value: &'g str) -> impl Iterator<Item = usize> + 'g {
    let reads = move |index: &usize| graph.nodes[*index].inputs.iter().any(|input| input == value);
    (0..graph.nodes.len()).filter(reads)
}

/// Whether more than one node computes with the kernel of the node at `at`.
pub fn is_shared(graph: &Graph, at: usize) -> bool {
    readers(graph, at).len() > 1
}

/// Joins all blocks with the same weights into one, at the place of the first. `graph` is tied.
pub fn join(graph: &Graph, blocks: Vec<Block>) -> Vec<Block> {
    let producers = graph.producers();
    let mut joined: Vec<Block> = Vec::with_capacity(blocks.len());
    let mut known: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for block in blocks {
        let nodes = block.region.iter().filter_map(|output| Some(&graph.nodes[*producers.get(output.as_str())?]));
        match weights(graph, nodes).map(|weights| (known.get(&weights).copied(), weights)) {
            Some((Some(at), _)) => {
                let first = &mut joined[at];
                first.macs += block.macs;
                first.also.push(block);
            }
            Some((None, weights)) => {
                known.insert(weights, joined.len());
                joined.push(block);
            }
            None => joined.push(block),
        }
    }
    joined.iter_mut().filter(|block| !block.also.is_empty()).for_each(|block| stay_together(graph, block));
    joined
}

/// The float constants that these nodes compute with, in order; `None` if none of them is distinctive.
fn weights<'g>(graph: &'g Graph, nodes: impl Iterator<Item = &'g Node>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut tell = false;
    for node in nodes {
        for name in &node.inputs {
            let Some(tensor) = graph.initializers.get(name).filter(|tensor| tensor.dtype == DataType::Float32) else {
                continue;
            };
            let of_its_own = tells(tensor);
            tell |= of_its_own && tensor.dims.len() >= 2 && weights_of(node).any(|weight| weight == name);
            let value = || format!("{:?}×{:?}", tensor.dims, tensor.bytes.get(..4));
            names.push(if of_its_own { name.clone() } else { value() });
        }
    }
    tell.then_some(names)
}

/// If one of the places must stay, all must.
fn stay_together(graph: &Graph, block: &mut Block) {
    let kept = block.places().find_map(|place| place.reason.as_ref().map(|why| (place.name.clone(), why.to_string())));
    let elsewhere = || read_elsewhere(graph, block);
    let reason = kept
        .map(|(place, why)| NotDroppable::Shared { place, why })
        .or_else(|| elsewhere().map(|reader| NotDroppable::UsedElsewhere { reader }));
    if block.reason.is_none() {
        block.reason = reason;
    }
}

/// A node outside all places of a block that reads its kernels, if all of them are read there.
fn read_elsewhere(graph: &Graph, block: &Block) -> Option<String> {
    let inside: BTreeSet<&str> = block.places().flat_map(|place| &place.region).map(String::as_str).collect();
    let is_inside = |node: &Node| inside.contains(node.output());
    let kernels: BTreeSet<&str> = graph.nodes.iter().filter(|node| is_inside(node)).filter_map(kernel).collect();
    let reader = |name: &str| graph.nodes.iter().find(|node| !is_inside(node) && kernel(node) == Some(name));
    let readers: Option<Vec<&Node>> = kernels.iter().map(|name| reader(name)).collect();
    readers?.first().map(|node| node.label().to_owned())
}

fn kernel(node: &Node) -> Option<&str> {
    let layer = ["Conv", "ConvTranspose", "Gemm", "MatMul"].contains(&node.op.as_str());
    node.input(1).filter(|_| layer)
}

/// The inputs of a node that training changes: kernels, biases, and scales and shifts of normalisations.
pub(crate) fn weights_of(node: &Node) -> impl Iterator<Item = &str> {
    let which: &[usize] = match node.op.as_str() {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => &[1, 2],
        "BatchNormalization" | "InstanceNormalization" | "LayerNormalization" | "GroupNormalization" => &[1, 2],
        "PRelu" => &[1],
        _ => &[],
    };
    which.iter().filter_map(|index| node.input(*index))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> Node {
        Node {
            op: op.into(),
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            outputs: vec![output.into()],
            ..Node::default()
        }
    }

    fn graph(nodes: Vec<Node>, weights: &[(&str, &[f32])]) -> Graph {
        let tensor = |values: &[f32]| Arc::new(TensorData::from_f32(&[values.len(), 1, 1, 1], values));
        let initializers = weights.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect();
        Graph { nodes, initializers, ..Graph::default() }
    }

    fn inputs(graph: &Graph, at: usize) -> Vec<&str> {
        graph.nodes[at].inputs.iter().map(String::as_str).collect()
    }

    #[test]
    fn equal_kernels_are_one_and_their_constant_biases_with_them() {
        let nodes = vec![
            node("Conv", &["left", "k1", "b1"], "a"),
            node("PRelu", &["a", "s1"], "b"),
            node("Conv", &["right", "k2", "b2"], "c"),
            node("PRelu", &["c", "s2"], "d"),
            node("Conv", &["d", "other", "b3"], "e"),
        ];
        let zeros: &[f32] = &[0.0, 0.0];
        let weights = [("k1", &[1.0, 2.0][..]), ("k2", &[1.0, 2.0]), ("b1", zeros), ("b2", zeros), ("b3", zeros)];
        let weights = [&weights[..], &[("s1", &[0.2, 0.2]), ("s2", &[0.2, 0.2]), ("other", &[3.0, 2.0])]].concat();
        let mut tied = graph(nodes, &weights);
        tie(&mut tied);
        assert_eq!((inputs(&tied, 2), inputs(&tied, 3)), (vec!["right", "k1", "b1"], vec!["c", "s1"]));
        assert_eq!(inputs(&tied, 4), ["d", "other", "b3"], "zeros alone say nothing");
        assert_eq!(readers(&tied, 0), [0, 2]);
        assert!(!tied.initializers.contains_key("k2") && !tied.initializers.contains_key("b2"));
    }

    #[test]
    fn constants_of_layers_that_share_nothing_else_stay_apart() {
        let nodes = vec![node("PRelu", &["x", "s1"], "a"), node("Sqrt", &["a"], "b"), node("PRelu", &["b", "s2"], "c")];
        let mut tied = graph(nodes, &[("s1", &[0.25, 0.25]), ("s2", &[0.25, 0.25])]);
        tie(&mut tied);
        assert_eq!((inputs(&tied, 0), inputs(&tied, 2)), (vec!["x", "s1"], vec!["b", "s2"]));
    }
}
