//! Errors of a graph: all at once, each with its node and a fix.

use std::fmt;

use serde::Serialize;

use super::model::Node;

/// A graph that cannot be used, with all that is wrong with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct GraphError {
    /// Never empty; in the order of the nodes.
    pub problems: Vec<GraphFault>,
}

/// One thing wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphFault {
    /// Label of the invalid node, or name of the value if there is no node.
    pub node: String,
    /// Its operator; empty if there is no node.
    pub op: String,
    /// The cause.
    pub detail: String,
    /// The fix.
    pub hint: String,
}

/// The fix for a file that contradicts itself.
pub(crate) const EXPORT_AGAIN: &str = "the file contradicts itself: export the network again; onnx.checker.check_model(path, full_check=True) shows the same";

/// More are not listed: a made-up file can have millions.
pub(crate) const MOST_PROBLEMS: usize = 1000;

impl GraphFault {
    /// A problem of one node.
    pub fn at(node: &Node, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { op: shortened(&node.op), ..Self::of(node.label(), detail, hint) }
    }

    /// A problem of a value or of the graph as a whole.
    pub fn of(value: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { node: shortened(value), op: String::new(), detail: shortened(&detail.into()), hint: hint.into() }
    }
}

/// What a problem says, at a length that a thousand of them can have: a name or a list of numbers can be as long as its file.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 1000;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
}

impl GraphError {
    /// `Ok` where nothing is wrong.
    pub fn check(problems: Vec<GraphFault>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl From<GraphFault> for GraphError {
    fn from(problem: GraphFault) -> Self {
        Self { problems: vec![problem] }
    }
}

impl GraphFault {
    fn cause(&self) -> String {
        let Self { node, op, detail, .. } = self;
        if op.is_empty() { format!("`{node}`: {detail}") } else { format!("{op} `{node}`: {detail}") }
    }
}

impl fmt::Display for GraphFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl fmt::Display for GraphError {
    /// A fix that several consecutive problems share is printed once, after the last of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let next = self.problems.get(i + 1);
            match next.is_some_and(|next| next.hint == problem.hint) {
                true => f.write_str(&problem.cause())?,
                false => write!(f, "{problem}")?,
            }
            f.write_str(if next.is_some() { "; " } else { "" })?;
        }
        Ok(())
    }
}
