//! The fields of a small JSON body, all faults at once.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::HttpError;
use crate::problem::{Code, Fault, Problem};

/// A body that is being read.
pub(super) struct Fields<'a> {
    body: &'a Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a Map<String, Value>) -> Self {
        Self { body, known: Vec::new(), faults: Vec::new() }
    }

    /// A field, or `None` where it is missing or wrong; `hint` says what it takes.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &'static str, hint: &str) -> Option<T> {
        self.known.push(name);
        match T::deserialize(self.body.get(name)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.to_string(), hint);
                None
            }
        }
    }

    /// Notes a fault of a field.
    pub(super) fn refuse(&mut self, name: &str, detail: String, hint: &str) {
        let pointer = Some(format!("/{name}"));
        self.faults.push(Fault { pointer, detail, hint: Some(hint.to_owned()), ..Fault::default() });
    }

    /// Refuses where something was wrong, or a field was given that nobody took.
    pub(super) fn end(mut self, code: Code) -> Result<(), HttpError> {
        let hint = format!("the fields are {}", self.known.join(", "));
        for name in self.body.keys().filter(|name| !self.known.contains(&name.as_str())).cloned().collect::<Vec<_>>() {
            self.refuse(&name, format!("unknown field {name:?}"), &hint);
        }
        match self.faults.first() {
            None => Ok(()),
            Some(first) => Err(Problem::new(code, first.detail.clone()).with_errors(self.faults).into()),
        }
    }
}
