//! Dominators of the dataflow: which values everything behind them depends on.
//!
//! A value d dominates a value v when every path from the network's inputs to v runs through d. Blocks and the feature
//! tap are both found with it, so neither needs to know any architecture.

use std::collections::HashMap;

use crate::graph::{Graph, Node};

/// The dominator tree over the nodes of a sorted graph; data inputs only (not weights, not shapes).
pub struct Dominators<'g> {
    graph: &'g Graph,
    /// Immediate dominator of each node; `None` stands for the root (the graph inputs).
    parent: Vec<Option<usize>>,
    producer: HashMap<&'g str, usize>,
}

/// The inputs of a node that carry data to its output: not constants, and not the shape arithmetic that some exports
/// feed to `Reshape`, `Expand`, `Pad`, `Slice`, `Resize` and the like.
pub fn data_inputs<'n>(graph: &'n Graph, node: &'n Node) -> Vec<&'n str> {
    let first_only =
        ["Reshape", "Expand", "Pad", "Slice", "Resize", "Tile", "Unsqueeze", "Squeeze", "Gather", "Clip", "TopK"];
    let count = if first_only.contains(&node.op.as_str()) { 1 } else { node.inputs.len() };
    let named = node.inputs.iter().take(count).map(String::as_str);
    named.filter(|name| !name.is_empty() && !graph.initializers.contains_key(*name)).collect()
}

impl<'g> Dominators<'g> {
    /// Of a graph whose nodes are in topological order.
    pub fn new(graph: &'g Graph) -> Self {
        let mut tree = Self { graph, parent: Vec::with_capacity(graph.nodes.len()), producer: HashMap::new() };
        for (index, node) in graph.nodes.iter().enumerate() {
            let mut inputs = data_inputs(graph, node).into_iter().map(|name| tree.producer.get(name).copied());
            let first = inputs.next().flatten();
            let parent = inputs.fold(first, |common, next| tree.common(common, next));
            tree.parent.push(parent);
            tree.producer.extend(node.outputs.iter().map(|name| (name.as_str(), index)));
        }
        tree
    }

    /// The node that writes a value; `None` for graph inputs and constants.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producer.get(value).copied()
    }

    /// The nearest value that dominates both `a` and `b` (possibly one of them): a node's first output or, at the root,
    /// the graph input where there is only one.
    pub fn common_value(&self, a: &str, b: &str) -> Option<&'g str> {
        match self.common(self.producer(a), self.producer(b)) {
            Some(node) => Some(self.graph.nodes[node].output()),
            None => match self.graph.inputs.as_slice() {
                [only] => Some(&only.name),
                _ => None,
            },
        }
    }

    /// The nodes that dominate a value, nearest first, beginning with its producer.
    pub fn chain(&self, value: &str) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.producer(value), |node| self.parent[*node])
    }

    /// Nodes are numbered in topological order, so a dominator always has the smaller number.
    fn common(&self, mut a: Option<usize>, mut b: Option<usize>) -> Option<usize> {
        while a != b {
            let (x, y) = (a?, b?);
            if x > y { a = self.parent[x] } else { b = self.parent[y] }
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DataType, ValueInfo, ValueType};

    fn graph(nodes: &[(&str, &[&str], &str)]) -> Graph {
        let value =
            |name: &str| ValueInfo { name: name.into(), ty: ValueType { dtype: DataType::Float32, shape: None } };
        let node = |(op, inputs, output): &(&str, &[&str], &str)| Node {
            op: (*op).into(),
            inputs: inputs.iter().map(|i| (*i).to_owned()).collect(),
            outputs: vec![(*output).into()],
            ..Node::default()
        };
        Graph { inputs: vec![value("in")], nodes: nodes.iter().map(node).collect(), ..Graph::default() }
    }

    #[test]
    fn a_shortcut_dominates_its_branch() {
        let g =
            graph(&[("Relu", &["in"], "x"), ("Relu", &["x"], "a"), ("Relu", &["a"], "f"), ("Add", &["f", "x"], "y")]);
        let tree = Dominators::new(&g);
        assert_eq!(tree.common_value("f", "x"), Some("x"));
        assert_eq!(tree.common_value("y", "f"), Some("x"), "the branch does not dominate the sum");
    }

    #[test]
    fn two_branches_meet_in_the_value_both_come_from() {
        let g =
            graph(&[("Relu", &["in"], "x"), ("Relu", &["x"], "a"), ("Relu", &["x"], "b"), ("Add", &["a", "b"], "y")]);
        assert_eq!(Dominators::new(&g).common_value("a", "b"), Some("x"));
    }

    #[test]
    fn the_shape_operand_of_a_reshape_carries_no_data() {
        let g = graph(&[
            ("Relu", &["in"], "x"),
            ("Relu", &["x"], "a"),
            ("Shape", &["in"], "s"),
            ("Reshape", &["a", "s"], "y"),
        ]);
        let tree = Dominators::new(&g);
        let chain: Vec<_> = tree.chain("y").map(|node| g.nodes[node].output()).collect();
        assert_eq!(chain, ["y", "a", "x"]);
    }
}
