//! The `Idempotency-Key` header, and stored responses.

use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::HttpError;
use super::auth::Caller;
use crate::db::keys::AnswerRow;
use crate::problem::{Code, Problem};
use crate::service::ServiceError;
use crate::service::idempotency::Idempotency;

/// Header that marks a stored response.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request, if it has one.
pub(super) fn key(
    headers: &HeaderMap,
    caller: &Caller,
    route: &'static str,
    request_sha256: String,
) -> Result<Option<Idempotency>, HttpError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Code::BadRequest, "the request has two Idempotency-Key headers").into());
    }
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => {
            Ok(Some(Idempotency { tenant: caller.tenant.clone(), route, key: key.to_owned(), request_sha256 }))
        }
        _ => {
            let detail = "an Idempotency-Key is 1 to 255 printable ASCII characters, such as a UUID";
            Err(Problem::new(Code::BadRequest, detail).into())
        }
    }
}

/// The stored response.
pub(super) fn replay(answer: &AnswerRow) -> Response {
    let status = u16::try_from(answer.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.unwrap_or(StatusCode::OK), json(answer.body.clone())).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(location) = answer.location.as_ref().and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// JSON text as a body.
pub(super) fn json(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// A body as JSON text.
pub(super) fn text(body: &impl Serialize) -> Result<String, ServiceError> {
    serde_json::to_string(body).map_err(|error| ServiceError::Io(std::io::Error::other(error)))
}
