//! What can go wrong when a network is planned or run.

use super::device::Device;
use super::unsupported::Unsupported;

/// A network that cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nodes that the executor has no code for; all of them at once.
    #[error("{}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A value to feed or to compute that the network does not have.
    #[error("the network has no value named \"{value}\"")]
    UnknownValue {
        /// The name asked for.
        value: String,
    },
    /// A value that the wanted ones depend on and that nothing provides.
    #[error("\"{value}\" is needed by {needed_by} but was not fed")]
    NotFed {
        /// The value without a source.
        value: String,
        /// The node or output that reads it.
        needed_by: String,
    },
    /// A node that reads a value written only later: the graph is not sorted, or has a cycle.
    #[error("node \"{node}\" reads \"{value}\" before it is computed: the graph is not in topological order")]
    Order {
        /// The reading node.
        node: String,
        /// The value read.
        value: String,
    },
    /// A run without one of the values that the executor was planned with.
    #[error("no tensor was given for \"{value}\"")]
    MissingInput {
        /// The value not given.
        value: String,
    },
    /// A weight that [`Params`](super::Params) does not have.
    #[error("the parameters have no tensor named \"{name}\"")]
    MissingParam {
        /// The initializer's name.
        name: String,
    },
    /// An operator that failed on the tensors it got.
    #[error("node \"{node}\" ({op}) failed on inputs {inputs}: {cause}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        op: String,
        /// Element types and shapes of its inputs.
        inputs: String,
        /// What failed.
        cause: String,
    },
    /// A constant tensor whose bytes do not fit its shape, or whose element type has no tensor.
    #[error("tensor \"{name}\": {detail}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What does not fit.
        detail: String,
    },
    /// A device that cannot be used.
    #[error("{device} cannot be used: {detail}")]
    Device {
        /// The device asked for.
        device: Device,
        /// The cause and the fix.
        detail: String,
    },
}

fn list(items: &[Unsupported]) -> String {
    let lines: Vec<String> = items.iter().map(Unsupported::to_string).collect();
    format!("{} unsupported: {}", if items.len() == 1 { "a node is" } else { "nodes are" }, lines.join("; "))
}
