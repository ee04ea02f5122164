//! Problem documents (RFC 9457): the body of every refused request, and `job.error` of a failed job.

mod codes;

pub use codes::Code;

use serde::{Deserialize, Serialize};

/// What went wrong, why, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A page about this kind of problem.
    #[serde(rename = "type")]
    pub page: String,
    /// The kind in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The kind for programs; never changes.
    pub code: String,
    /// This very problem, and what to do about it.
    pub detail: String,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Finds the request in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// True where the same request may succeed later.
    pub retryable: bool,
    /// The single faults, where there are several or where one has a place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One fault: a place in the body or in the network, and its mend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// JSON pointer into the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Node of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// What is wrong there.
    pub detail: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a known kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            page: format!("/v1/errors/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            instance: None,
            request_id: None,
            retryable: code.retryable(),
            errors: Vec::new(),
        }
    }

    /// The same with its single faults.
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// The same with one fault at a place in the body.
    pub fn at(mut self, pointer: &str, hint: impl Into<String>) -> Self {
        self.errors.push(Fault {
            pointer: Some(pointer.to_owned()),
            detail: self.detail.clone(),
            hint: Some(hint.into()),
            ..Fault::default()
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_back_as_itself() {
        let problem = Problem::new(Code::InvalidJob, "seed: a string").at("/seed", "give a number");
        let text = serde_json::to_string(&problem).expect("serialises");
        assert!(text.starts_with(r#"{"type":"/v1/errors/invalid_job","title":"#), "{text}");
        assert!(!text.contains("instance"), "{text}");
        assert_eq!(serde_json::from_str::<Problem>(&text).expect("parses"), problem);
    }
}
