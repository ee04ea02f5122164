//! Problem documents (RFC 9457): the body of every refused request, and `job.error` of a failed job.

mod codes;

pub use codes::Code;

use serde::{Deserialize, Serialize};

/// A problem document: what failed, why, and the fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// URL path of the page about this kind of problem.
    #[serde(rename = "type")]
    pub page: String,
    /// The kind in a few words, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The kind for programs; never changes.
    pub code: Code,
    /// This particular problem, with its cause and fix.
    pub detail: String,
    /// Path of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Id under which the log has the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// True if the same request may succeed later.
    pub retryable: bool,
    /// The single errors, if there are several or if one has a place; at most [`MOST_ERRORS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Number of errors that `errors` does not list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_omitted: usize,
}

/// Maximum number of errors in a problem, so that a response stays small whatever was sent.
pub const MOST_ERRORS: usize = 100;

/// Maximum number of characters of a problem's detail.
const MOST_DETAIL: usize = 2000;

/// Maximum number of characters of each text of an error.
const MOST_TEXT: usize = 500;

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Shortens a text, and replaces NUL characters, which PostgreSQL does not store.
fn bounded(text: String, most: usize) -> String {
    let text = if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text };
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// One error: its place in the body or in the network, its cause and its fix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// JSON pointer into the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the node of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The cause.
    pub detail: String,
    /// The fix.
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
            code,
            detail: bounded(detail.into(), MOST_DETAIL),
            instance: None,
            request_id: None,
            retryable: code.retryable(),
            errors: Vec::new(),
            errors_omitted: 0,
        }
    }

    /// Adds the single errors, the first [`MOST_ERRORS`] of them; the others are counted.
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = Fault>) -> Self {
        let mut errors = errors.into_iter();
        self.errors = errors.by_ref().take(MOST_ERRORS).map(Fault::bounded).collect();
        self.errors_omitted = errors.count();
        self
    }

    /// Adds to the number of errors that are not listed.
    pub fn omitting(mut self, more: usize) -> Self {
        self.errors_omitted += more;
        self
    }

    /// Adds one error at a place in the body.
    pub fn at(mut self, pointer: &str, hint: impl Into<String>) -> Self {
        let detail = self.detail.clone();
        let fault = Fault { pointer: Some(pointer.to_owned()), detail, hint: Some(hint.into()), ..Fault::default() };
        self.errors.push(fault.bounded());
        self
    }
}

impl Fault {
    fn bounded(self) -> Self {
        let short = |text: Option<String>| text.map(|text| bounded(text, MOST_TEXT));
        Self {
            pointer: short(self.pointer),
            node: short(self.node),
            op: short(self.op),
            detail: bounded(self.detail, MOST_TEXT),
            hint: short(self.hint),
        }
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

    #[test]
    fn a_problem_is_small_whatever_it_is_about() {
        let long = "é\0".repeat(100_000);
        let fault = |_| Fault { pointer: Some(long.clone()), detail: long.clone(), ..Fault::default() };
        let problem = Problem::new(Code::InvalidJob, long.clone()).with_errors((0..250).map(fault));
        assert_eq!((problem.errors.len(), problem.errors_omitted), (MOST_ERRORS, 150));
        let text = serde_json::to_string(&problem).expect("serialises");
        assert!(text.len() < 500_000 && !text.contains("\\u0000"), "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Problem>(&text).expect("parses"), problem);
    }
}
