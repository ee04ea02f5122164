//! Extractors for handlers, which explain invalid requests.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use serde_json::{Map, Value};

use super::{App, HttpError};
use crate::hash::sha256_hex;
use crate::ids::{ImageSetId, JobId, KeyId, ModelId};
use crate::json;
use crate::problem::{Code, Problem};
use crate::service::spool::too_large;

/// An id in the path. An invalid id is treated as one that does not exist.
pub(super) struct Id<T>(pub(super) T);

/// An id type that can be part of a path.
pub(super) trait PathId: FromStr + Display {
    /// Problem code for an id that does not exist.
    const NOT_FOUND: Code;
    /// Name of the resource, such as `job`.
    const WHAT: &'static str;
}

impl PathId for ModelId {
    const NOT_FOUND: Code = Code::ModelNotFound;
    const WHAT: &'static str = "model";
}

impl PathId for ImageSetId {
    const NOT_FOUND: Code = Code::ImageSetNotFound;
    const WHAT: &'static str = "image set";
}

impl PathId for JobId {
    const NOT_FOUND: Code = Code::JobNotFound;
    const WHAT: &'static str = "job";
}

impl PathId for KeyId {
    const NOT_FOUND: Code = Code::KeyNotFound;
    const WHAT: &'static str = "API key";
}

impl<T: PathId + Send, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let text = segment(parts, state, &["id"]).await?;
        let id = text.parse().map_err(|_| Problem::new(T::NOT_FOUND, format!("there is no {} {text:?}", T::WHAT)))?;
        Ok(Self(id))
    }
}

/// A name in the path: a tenant, an artifact, a kind of problem.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        segment(parts, state, &["name", "code"]).await.map(Self)
    }
}

/// The segment of the path with one of these names.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, names: &[&str]) -> Result<String, HttpError> {
    let segments = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
    let Ok(Path(segments)) = segments else {
        return Err(Problem::new(Code::UnknownRoute, "the path is not valid UTF-8").into());
    };
    let wanted = segments.into_iter().find(|(name, _)| names.contains(&name.as_str()));
    Ok(wanted.map(|(_, text)| text).unwrap_or_default())
}

/// A JSON object as body, with the hash of its bytes.
pub(super) struct JsonObject {
    pub(super) object: Map<String, Value>,
    pub(super) sha256: String,
}

impl FromRequest<App> for JsonObject {
    type Rejection = HttpError;

    async fn from_request(request: Request, app: &App) -> Result<Self, HttpError> {
        let media_type = media_type(request.headers());
        if !matches!(media_type.as_deref(), Some(kind) if kind == "application/json" || kind.ends_with("+json")) {
            let got = media_type.unwrap_or_else(|| "none".to_owned());
            let detail = format!("the content type is {got}; send the body with `content-type: application/json`");
            return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
        }
        check_coding(request.headers())?;
        let bytes = collect(request.into_body(), app.context.limits.json_bytes).await?;
        // A body may be large: it is read on a thread that may block.
        let reading = tokio::task::spawn_blocking(move || Self::read(&bytes));
        reading.await.map_err(crate::service::ServiceError::from)?
    }
}

impl JsonObject {
    fn read(bytes: &[u8]) -> Result<Self, HttpError> {
        let object = serde_json::from_slice::<Value>(bytes)
            .map_err(|error| Problem::new(Code::InvalidJson, error.to_string()))?;
        match object {
            Value::Object(object) => Ok(Self { object, sha256: sha256_hex(bytes) }),
            other => {
                let detail = format!("expected an object, got {}", json::told(&other));
                Err(Problem::new(Code::InvalidJob, detail).into())
            }
        }
    }
}

/// Refuses an encoded body, because bytes are hashed and counted as sent. RFC 9110 asks for a 415 with the supported encodings
/// in Accept-Encoding.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), HttpError> {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.to_str().unwrap_or("unreadable").split(',').map(str::trim));
    match codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(coding) => {
            let detail = format!("the content encoding {coding:?} is not supported; send the bytes themselves");
            let problem = Problem::new(Code::UnsupportedMediaType, detail);
            Err(HttpError::from(problem).with_header(ACCEPT_ENCODING, "identity"))
        }
    }
}

/// The quality (RFC 9110, 12.4.2) with which an Accept header names this media type itself, from 0 to 1; 0 if it does not.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> f32 {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let quality = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        named.then(|| weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0_f32).clamp(0.0, 1.0)))
    };
    values.flat_map(|value| value.split(',')).filter_map(quality).fold(0.0, f32::max)
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| interrupted("body", &error))?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > limit {
            return Err(too_large("JSON body", limit as u64).into());
        }
    }
    Ok(bytes)
}

/// The error for a body whose connection was lost.
pub(super) fn interrupted(what: &str, error: &axum::Error) -> Problem {
    tracing::debug!("a {what} was interrupted: {error}");
    Problem::new(Code::BadRequest, format!("the {what} was interrupted before its end"))
}

/// The content type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase())
}

/// 201 if it was created, 200 if it already existed.
pub(super) fn created(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_found_in_a_list_in_any_case_with_its_quality() {
        let quality = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().expect("a header"));
            }
            accepts(&headers, "text/event-stream")
        };
        for one in ["text/event-stream", "TEXT/EVENT-STREAM", "application/json;q=0.1, Text/Event-Stream;charset=utf-8"]
        {
            assert_eq!(quality(&[one]), 1.0, "{one}");
        }
        assert_eq!(quality(&["text/html", "text/event-stream; q=0.25"]), 0.25);
        for none in [
            "",
            "*/*",
            "text/*",
            "application/json",
            "text/event-stream;q=0",
            "text/event-streams",
            "text/event-stream;q=x",
        ] {
            assert_eq!(quality(&[none]), 0.0, "{none}");
        }
    }

    #[test]
    fn only_identity_is_a_content_encoding() {
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().expect("a header"));
            }
            check_coding(&headers).is_ok()
        };
        assert!(check(&[]) && check(&["identity"]) && check(&["", "Identity, identity"]));
        assert!(!check(&["gzip"]) && !check(&["identity, br"]) && !check(&["identity", "deflate"]));
    }
}
