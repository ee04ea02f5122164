//! A node that the executor cannot run.

use std::fmt;

use serde::Serialize;

use super::kernel::{Refusal, Spec};

/// A node that the executor cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// The node's name, or its first output if it has none.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Its operator domain; `""` is ONNX's own.
    pub domain: String,
    /// What about it is not supported.
    pub reason: String,
    /// The fix.
    pub hint: String,
}

impl Unsupported {
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
