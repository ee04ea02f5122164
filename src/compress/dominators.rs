//! Dominators of the dataflow: which values everything behind them depends on.
//!
//! A value d dominates a value v when every path from the network's inputs to v runs through d. Blocks and the feature
//! tap are both found with it, so neither needs to know any architecture.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, Node};

/// The dominator tree over the values of a sorted graph; data inputs only (not weights, not shapes). The outputs of a node that
/// has several are siblings: what comes from one of them does not come from the others.
pub struct Dominators<'g> {
    graph: &'g Graph,
    /// Values that nodes write, in graph order.
    values: Vec<Value<'g>>,
    /// The place of each in `values`.
    numbers: HashMap<&'g str, usize>,
    /// Values that no image changes, such as an attention mask: they come from nowhere.
    fixed: HashSet<&'g str>,
}

struct Value<'g> {
    name: &'g str,
    producer: usize,
    /// Immediate dominator; `None` stands for the root (the graph inputs).
    parent: Option<usize>,
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
        let values = Vec::with_capacity(graph.nodes.len());
        let mut tree = Self { graph, values, numbers: HashMap::new(), fixed: HashSet::new() };
        for (producer, node) in graph.nodes.iter().enumerate() {
            let mut inputs = data_inputs(graph, node);
            inputs.retain(|name| !tree.fixed.contains(name));
            if inputs.is_empty() || node.is("Shape") || node.is("Size") {
                tree.fixed.extend(node.outputs.iter().map(String::as_str));
            }
            let mut inputs = inputs.into_iter().map(|name| tree.numbers.get(name).copied());
            let first = inputs.next().flatten();
            let parent = inputs.fold(first, |common, next| tree.common(common, next));
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                tree.numbers.insert(name, tree.values.len());
                tree.values.push(Value { name, producer, parent });
            }
        }
        tree
    }

    /// True of what other images would change.
    pub fn is_changed_by_images(&self, value: &str) -> bool {
        let is_input = || self.graph.inputs.iter().any(|input| input.name == value);
        !self.fixed.contains(value) && (self.numbers.contains_key(value) || is_input())
    }

    /// The node that writes a value; `None` for graph inputs and constants.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.numbers.get(value).map(|number| self.values[*number].producer)
    }

    /// The nearest value that dominates both `a` and `b` (possibly one of them); at the root, the graph input where there is
    /// only one.
    pub fn common_value(&self, a: &str, b: &str) -> Option<&'g str> {
        let number = |value| self.numbers.get(value).copied();
        match self.common(number(a), number(b)) {
            Some(common) => Some(self.values[common].name),
            None => match self.graph.inputs.as_slice() {
                [only] => Some(&only.name),
                _ => None,
            },
        }
    }

    /// The nodes that dominate a value, nearest first, beginning with its producer.
    pub fn chain(&self, value: &str) -> impl Iterator<Item = usize> + '_ {
        let first = self.numbers.get(value).copied();
        std::iter::successors(first, |number| self.values[*number].parent).map(|number| self.values[number].producer)
    }

    /// Values are numbered in topological order, so a dominator always has the smaller number.
    fn common(&self, mut a: Option<usize>, mut b: Option<usize>) -> Option<usize> {
        while a != b {
            let (x, y) = (a?, b?);
            if x > y { a = self.values[x].parent } else { b = self.values[y].parent }
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
    fn what_no_image_changes_comes_from_nowhere() {
        let g = graph(&[
            ("Shape", &["in"], "s"),
            ("ConstantOfShape", &["s"], "mask"),
            ("Relu", &["in"], "x"),
            ("Add", &["x", "mask"], "f"),
            ("Add", &["f", "x"], "y"),
        ]);
        assert_eq!(Dominators::new(&g).common_value("f", "x"), Some("x"));
    }

    #[test]
    fn the_parts_of_a_split_are_siblings() {
        let mut g = graph(&[("Split", &["in"], "a"), ("Relu", &["b"], "f"), ("Add", &["f", "b"], "y")]);
        g.nodes[0].outputs.push("b".into());
        let tree = Dominators::new(&g);
        assert_eq!(tree.common_value("f", "b"), Some("b"));
        assert_eq!(tree.common_value("f", "a"), Some("in"), "what comes from one part does not come from the other");
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
