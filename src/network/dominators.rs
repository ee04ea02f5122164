//! Dominators of the dataflow: the values that every path to a value passes through.
//!
//! A value d dominates a value v when every path from the network's inputs to v runs through d. Blocks and the feature
//! tap are both found with it, so neither needs to know any architecture.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::{Graph, Node};

/// The dominator tree over the values of a sorted graph, for data inputs only (not weights, not shapes). The outputs of a node
/// with several are siblings: a value computed from one of them does not depend on the others.
pub struct Dominators<'g> {
    graph: &'g Graph,
    /// Values that nodes write, in graph order.
    values: Vec<Value<'g>>,
    /// Index of each value in `values`.
    numbers: HashMap<&'g str, usize>,
    /// Values that do not depend on the images, such as an attention mask.
    fixed: HashSet<&'g str>,
}

struct Value<'g> {
    name: &'g str,
    producer: usize,
    /// Immediate dominator; `None` stands for the root (the graph inputs).
    parent: Option<usize>,
    /// Dominators from here to the root, this value among them.
    depth: usize,
    /// A dominator farther up, at a depth that depends only on `depth`, so that any ancestor is reached in a logarithmic number
    /// of steps (Myers, "An applicative random-access stack", 1983).
    jump: Option<usize>,
}

/// The inputs of a node that carry data to its output: not constants, and not the shape arithmetic that some exports
/// feed to `Reshape`, `Expand`, `Pad`, `Slice`, `Resize` and the like.
pub fn data_inputs<'n>(graph: &'n Graph, node: &'n Node) -> Vec<&'n str> {
    let first_only = [
        "Reshape",
        "Expand",
        "Pad",
        "Slice",
        "Resize",
        "Tile",
        "Unsqueeze",
        "Squeeze",
        "Gather",
        "Clip",
        "TopK",
        "CastLike",
    ];
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
            let parents: BTreeSet<Option<usize>> =
                inputs.into_iter().map(|name| tree.numbers.get(name).copied()).collect();
            let parent = parents.into_iter().reduce(|common, next| tree.common(common, next)).flatten();
            let (depth, jump) = (tree.depth(parent) + 1, tree.jump_below(parent));
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                tree.numbers.insert(name, tree.values.len());
                tree.values.push(Value { name, producer, parent, depth, jump });
            }
        }
        tree
    }

    /// True if the value depends on the images.
    pub fn is_changed_by_images(&self, value: &str) -> bool {
        let is_input = || self.graph.inputs.iter().any(|input| input.name == value);
        !self.fixed.contains(value) && (self.numbers.contains_key(value) || is_input())
    }

    /// The node that writes a value; `None` for graph inputs and constants.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.numbers.get(value).map(|number| self.values[*number].producer)
    }

    /// The nearest value that dominates both `a` and `b` (possibly one of them); at the root, the graph input if there is only
    /// one.
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

    /// The value that dominates this one and is nearest to it; at the root, the graph input if there is only one.
    pub fn above(&self, value: &str) -> Option<&'g str> {
        match self.values[*self.numbers.get(value)?].parent {
            Some(parent) => Some(self.values[parent].name),
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

    fn common(&self, a: Option<usize>, b: Option<usize>) -> Option<usize> {
        let depth = self.depth(a).min(self.depth(b));
        let (mut a, mut b) = (self.up(a, depth), self.up(b, depth));
        while a != b {
            let above = (self.jump(a), self.jump(b));
            // The nearest common dominator can be nearer than the point where the jumps meet.
            (a, b) = if above.0 == above.1 { (self.parent(a), self.parent(b)) } else { above };
        }
        a
    }

    /// The dominator of a value at this depth, which is at most its own.
    fn up(&self, mut value: Option<usize>, depth: usize) -> Option<usize> {
        while self.depth(value) > depth {
            let above = self.jump(value);
            value = if self.depth(above) < depth { self.parent(value) } else { above };
        }
        value
    }

    /// The jump of a value with this parent: past the parent's two jumps if they are equally long, else to the parent.
    fn jump_below(&self, parent: Option<usize>) -> Option<usize> {
        let (near, far) = (self.jump(parent), self.jump(self.jump(parent)));
        let [own, near_depth, far_depth] = [parent, near, far].map(|value| self.depth(value));
        if own - near_depth == near_depth - far_depth { far } else { parent }
    }

    fn depth(&self, value: Option<usize>) -> usize {
        value.map_or(0, |number| self.values[number].depth)
    }

    fn parent(&self, value: Option<usize>) -> Option<usize> {
        self.values[value?].parent
    }

    fn jump(&self, value: Option<usize>) -> Option<usize> {
        self.values[value?].jump
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

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

    /// In a random network, from both values.
    #[test]
    fn the_common_value_is_the_one_that_a_walk_finds() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let names: Vec<String> = (0..600).map(|at| format!("v{at}")).collect();
        let mut g = graph(&[]);
        for (at, name) in names.iter().enumerate() {
            let near = |random: &mut ChaCha8Rng| random.random_range(at.saturating_sub(9)..=at);
            let inputs = [near(&mut random), if at % 3 == 0 { near(&mut random) } else { at }];
            let name_of = |at: usize| if at == 0 { "in" } else { names[at - 1].as_str() };
            g.nodes.extend(graph(&[("Add", &inputs.map(name_of), name)]).nodes);
        }
        let tree = Dominators::new(&g);
        for _ in 0..10_000 {
            let [a, b] = [0, 0].map(|_| names[random.random_range(0..names.len())].as_str());
            let above_a: Vec<usize> = tree.chain(a).collect();
            let walked = tree.chain(b).find(|node| above_a.contains(node)).map_or("in", |node| names[node].as_str());
            assert_eq!(tree.common_value(a, b), Some(walked), "{a}, {b}");
        }
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
