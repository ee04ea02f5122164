//! Everything in a network that the executor cannot run, listed at once.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::kernel::{Refusal, Spec};
use super::ops;
use crate::graph::{Graph, Node};

/// A node that the executor cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// The node's name, or its first output where it has none.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Its operator domain; `""` is ONNX's own.
    pub domain: String,
    /// What about it is not supported.
    pub reason: String,
    /// The way out.
    pub hint: String,
}

/// Lists every node of a folded graph that the executor cannot run; empty where it can run all.
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

impl Unsupported {
    /// True where the node holds a subgraph, whatever else the network has.
    pub fn is_control_flow(&self) -> bool {
        ops::is_control_flow(&self.op)
    }

    pub(super) fn new(spec: &Spec, refusal: Refusal) -> Self {
        let node = spec.node;
        Self {
            node: node.label().to_owned(),
            op: node.op.clone(),
            domain: node.domain.clone(),
            reason: refusal.reason,
            hint: refusal.hint,
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = if self.domain.is_empty() { "" } else { &format!("{}.", self.domain) };
        write!(f, "node \"{}\" ({domain}{}): {}", self.node, self.op, self.reason)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// The values that some node or the caller reads.
pub(super) fn read_values(graph: &Graph) -> HashSet<&str> {
    let by_nodes = graph.nodes.iter().flat_map(|node| &node.inputs).map(String::as_str);
    by_nodes.chain(graph.outputs.iter().map(|output| output.name.as_str())).collect()
}
