//! Everything in a network that the executor cannot run, listed at once.

use std::collections::HashSet;

use super::kernel::Spec;
use super::ops;
use super::unsupported::Unsupported;
use crate::graph::{Graph, Node};

/// Lists every node of a folded graph that the executor cannot run; empty if it can run all.
pub fn unsupported(graph: &Graph) -> Vec<Unsupported> {
    refused(graph, |_| true)
}

/// The same of a graph that could not be folded: the nodes whose operator is not supported whatever its inputs are.
pub fn unknown(graph: &Graph) -> Vec<Unsupported> {
    refused(graph, |node| !ops::has(node))
}

fn refused(graph: &Graph, asked: impl Fn(&Node) -> bool) -> Vec<Unsupported> {
    let read = read_values(graph);
    let refused = |node| {
        let spec = Spec::new(graph, node, &read);
        ops::build(&spec).err().map(|refusal| Unsupported::new(&spec, refusal))
    };
    graph.nodes.iter().filter(|node| asked(node)).filter_map(refused).collect()
}

/// Names of the operators (of ONNX's own domain) that the executor knows.
pub fn operators() -> Vec<&'static str> {
    ops::names()
}

/// The values that some node or the caller reads.
pub(super) fn read_values(graph: &Graph) -> HashSet<&str> {
    let by_nodes = graph.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str);
    by_nodes.chain(graph.outputs.iter().map(|output| output.name.as_str())).collect()
}

impl Unsupported {
    /// True if the node holds a subgraph, whatever else the network has.
    pub fn is_control_flow(&self) -> bool {
        ops::is_control_flow(&self.op)
    }
}
