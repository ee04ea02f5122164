//! An invalid field of a job.

use serde::{Deserialize, Serialize};

use crate::problem::Fault;

/// One error in a job's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// JSON pointer to the field.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// The fix, if one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<FieldProblem> for Fault {
    fn from(FieldProblem { pointer, detail, hint }: FieldProblem) -> Self {
        Self { pointer: Some(pointer), detail, hint, ..Self::default() }
    }
}

impl std::fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}
