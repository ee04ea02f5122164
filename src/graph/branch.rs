//! Puts the branch of an `If` in its place when its condition is a constant or follows from shapes, as exporters write what was
//! decided while they traced (a `squeeze` of a size that is known to be 1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::infer::InputShapes;
use super::infer::{Effort, infer};
use super::model::{Attribute, Branch};
use super::model::{Graph, Node};
use super::order;
use super::value::numbers::Numbers;

/// Branches inside branches that are put in place, at most: one round each.
const MOST_ROUNDS: usize = 16;

/// Every `If` whose condition is known is replaced by the nodes of the branch that it takes. Outputs keep their names; values of
/// the branch get others where the graph has theirs.
pub fn inline_branches(graph: &mut Graph) {
    for _ in 0..MOST_ROUNDS {
        let decided = decided(graph);
        if decided.is_empty() {
            return;
        }
        let nodes = std::mem::take(&mut graph.nodes);
        let mut used = names(graph, &nodes);
        for (at, node) in nodes.into_iter().enumerate() {
            match decided.get(&at) {
                Some(branch) => put_in_place(graph, &mut used, &node, branch),
                None => graph.nodes.push(node),
            }
        }
    }
}

/// The branch that each `If` with a known condition takes, by the node's place.
fn decided(graph: &Graph) -> BTreeMap<usize, Arc<Graph>> {
    if !graph.nodes.iter().any(|node| node.is("If")) {
        return BTreeMap::new();
    }
    let Ok(order) = order::order(graph) else { return BTreeMap::new() };
    let inferred = infer(graph, &order, &InputShapes::new(), Effort::Shapes);
    let taken = |node: &Node| {
        let condition = Numbers::of(inferred.tensor(node.input(0)?)?)?.floats();
        let [condition] = condition[..] else { return None };
        let name = if condition != 0.0 { "then_branch" } else { "else_branch" };
        match node.attrs.get(name) {
            Some(Attribute::Graph(Branch(branch))) if branch.outputs.len() == node.outputs.len() => {
                Some(Arc::clone(branch))
            }
            _ => None,
        }
    };
    let ifs = graph.nodes.iter().enumerate().filter(|(_, node)| node.is("If"));
    ifs.filter_map(|(at, node)| Some((at, taken(node)?))).collect()
}

/// Everything that has a name in a graph with these nodes.
fn names(graph: &Graph, nodes: &[Node]) -> BTreeSet<String> {
    let given = graph.initializers.keys().chain(graph.inputs.iter().map(|input| &input.name));
    given.chain(nodes.iter().flat_map(|node| &node.outputs)).cloned().collect()
}

fn put_in_place(graph: &mut Graph, used: &mut BTreeSet<String>, node: &Node, branch: &Graph) {
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    let made = branch.nodes.iter().flat_map(|node| &node.outputs).filter(|name| !name.is_empty());
    for name in branch.initializers.keys().chain(made) {
        let numbered = (2..).map(|at| format!("{name}_{at}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|free| !used.contains(free)).unwrap_or_default();
        used.insert(free.clone());
        renamed.insert(name.clone(), free);
    }
    let mut given = BTreeSet::new();
    for (output, of_branch) in node.outputs.iter().zip(&branch.outputs) {
        // What the branch writes is written under the name that is read; what it hands on, or twice, by a node of its own.
        let writes = branch.nodes.iter().any(|node| node.outputs.contains(&of_branch.name));
        if writes && !output.is_empty() && given.insert(&of_branch.name) {
            renamed.insert(of_branch.name.clone(), output.clone());
        }
    }
    for (name, tensor) in &branch.initializers {
        graph.initializers.insert(renamed[name].clone(), Arc::clone(tensor));
    }
    graph.values.extend(branch.values.iter().filter_map(|(name, ty)| Some((renamed.get(name)?.clone(), ty.clone()))));
    graph.nodes.extend(branch.nodes.iter().map(|node| with_names(node, &renamed)));
    for (output, of_branch) in node.outputs.iter().zip(&branch.outputs) {
        let from = renamed.get(&of_branch.name).unwrap_or(&of_branch.name);
        if !output.is_empty() && from != output {
            let (inputs, outputs) = (vec![from.clone()], vec![output.clone()]);
            graph.nodes.push(Node { op: "Identity".into(), inputs, outputs, ..Node::default() });
        }
    }
}

/// A node with other names for these values, in the branches inside it too.
fn with_names(node: &Node, renamed: &BTreeMap<String, String>) -> Node {
    let mut node = node.clone();
    let names = node.inputs.iter_mut().chain(&mut node.outputs);
    names.for_each(|name| rename(name, renamed));
    for attribute in node.attrs.0.values_mut() {
        if let Attribute::Graph(Branch(branch)) = attribute {
            *branch = Arc::new(reading(branch, renamed));
        }
    }
    node
}

/// A branch that reads values of the graph around it by other names.
fn reading(branch: &Graph, renamed: &BTreeMap<String, String>) -> Graph {
    let own = names(branch, &branch.nodes);
    let around: BTreeMap<String, String> =
        renamed.iter().filter(|(name, _)| !own.contains(*name)).map(|(a, b)| (a.clone(), b.clone())).collect();
    let mut branch = branch.clone();
    branch.nodes = branch.nodes.iter().map(|node| with_names(node, &around)).collect();
    branch.outputs.iter_mut().for_each(|output| rename(&mut output.name, &around));
    branch
}

fn rename(name: &mut String, renamed: &BTreeMap<String, String>) {
    if let Some(other) = renamed.get(name) {
        name.clone_from(other);
    }
}
