//! Reads the fields of a small JSON body and reports all errors at once.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::HttpError;
use crate::json::{self, Wrong};
use crate::problem::{Code, Fault, MOST_ERRORS, Problem};

/// A body that is being parsed.
pub(super) struct Fields<'a> {
    body: &'a Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a Map<String, Value>) -> Self {
        Self { body, known: Vec::new(), faults: Vec::new() }
    }

    /// A field, or `None` if it is missing or invalid; `hint` describes valid values.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &'static str, hint: &str) -> Option<T> {
        self.known.push(name);
        match json::read(self.body.get(name)?) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.refuse(name, mistake.to_string(), hint);
                None
            }
        }
    }

    /// Records an error of a field, whose name is escaped as in a JSON pointer.
    pub(super) fn refuse(&mut self, name: &str, detail: String, hint: &str) {
        let pointer = Some(format!("/{name}"));
        self.faults.push(Fault { pointer, detail, hint: Some(hint.to_owned()), ..Fault::default() });
    }

    /// Refuses the body if there were errors or unknown fields.
    pub(super) fn end(mut self, code: Code) -> Result<(), HttpError> {
        let hint = format!("the fields are {}", self.known.join(", "));
        let unknown: Vec<&String> = self.body.keys().filter(|name| !self.known.contains(&name.as_str())).collect();
        for name in unknown.iter().take(MOST_ERRORS) {
            let detail = Wrong::UnknownField { name: (*name).clone(), known: &[] }.to_string();
            self.refuse(&json::escape(name), detail, &hint);
        }
        let Some(first) = self.faults.first() else { return Ok(()) };
        let problem = Problem::new(code, first.detail.clone()).with_errors(self.faults);
        Err(problem.omitting(unknown.len().saturating_sub(MOST_ERRORS)).into())
    }
}
