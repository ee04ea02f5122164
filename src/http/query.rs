//! Query parameters, each parsed separately, with an explanation if it is invalid.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde_json::Value;

use super::HttpError;
use crate::json;
use crate::problem::{Code, Problem};

/// A handler's query parameters.
pub(super) trait FromQuery: Sized {
    /// Reads all known parameters.
    fn read(query: &mut Parameters) -> Self;
}

/// Query parameters; an unknown or wrong one is named.
pub(super) struct Params<T>(pub(super) T);

impl<T: FromQuery, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let given = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Ok(Query(given)) = given else {
            return Err(Problem::new(Code::InvalidQuery, "the query cannot be read").into());
        };
        let mut query = Parameters { given, known: Vec::new(), fault: None };
        let read = T::read(&mut query);
        query.end()?;
        Ok(Self(read))
    }
}

/// A query that is being parsed.
pub(super) struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    fault: Option<String>,
}

impl Parameters {
    /// A parameter, or `None` if it is missing or invalid; `hint` describes valid values.
    pub(super) fn take<T: FromStr>(&mut self, name: &'static str, hint: &str) -> Option<T> {
        self.take_with(name, hint, |text| text.parse().ok())
    }

    /// The same for an enum, by its names in JSON.
    pub(super) fn take_name<T: serde::de::DeserializeOwned>(&mut self, name: &'static str, hint: &str) -> Option<T> {
        self.take_with(name, hint, |text| json::read(&Value::from(text)).ok())
    }

    fn take_with<T>(&mut self, name: &'static str, hint: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.known.push(name);
        let mut values = self.given.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next()?;
        let twice = values.next().is_some();
        match read(value).filter(|_| !twice) {
            Some(read) => Some(read),
            None => {
                let what = json::told(&Value::from(value));
                let fault = if twice {
                    format!("the parameter {name} is given twice")
                } else {
                    format!("{name} is {what}: give {hint}")
                };
                self.fault.get_or_insert(fault);
                None
            }
        }
    }

    fn end(self) -> Result<(), HttpError> {
        let unknown = self.given.iter().find(|(key, _)| !self.known.contains(&key.as_str()));
        let unknown = unknown.map(|(key, _)| {
            let known = self.known.join(", ");
            format!("there is no parameter {}; known parameters: {known}", json::told(&Value::from(key.as_str())))
        });
        match self.fault.or(unknown) {
            None => Ok(()),
            Some(detail) => Err(Problem::new(Code::InvalidQuery, detail).into()),
        }
    }
}
