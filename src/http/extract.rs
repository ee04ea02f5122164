//! What handlers take from a request, with our words where it is wrong.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{App, HttpError};
use crate::ids::{ImageSetId, JobId, KeyId, ModelId};
use crate::jobs::store::sha256_hex;
use crate::problem::{Code, Problem};
use crate::service::spool::too_large;

/// An id in the path. One that is no id at all is one that is not there.
pub(super) struct Id<T>(pub(super) T);

/// An id that can stand in a path.
pub(super) trait PathId: FromStr + Display {
    /// What a wrong one is answered with.
    const NOT_FOUND: Code;
    /// What it is the id of.
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
        let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::new(Code::BadRequest, error.body_text()))?;
        let text = segments.into_iter().find(|(name, _)| name == "id").map(|(_, text)| text).unwrap_or_default();
        let id = text.parse().map_err(|_| Problem::new(T::NOT_FOUND, format!("there is no {} {text:?}", T::WHAT)))?;
        Ok(Self(id))
    }
}

/// Query parameters; an unknown or ill-typed one is named.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::new(Code::InvalidQuery, error.body_text()).into()),
        }
    }
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
        let bytes = collect(request.into_body(), app.context.limits.json_bytes).await?;
        let object = serde_json::from_slice::<Value>(&bytes)
            .map_err(|error| Problem::new(Code::InvalidJson, error.to_string()))?;
        match object {
            Value::Object(object) => Ok(Self { object, sha256: sha256_hex(&bytes) }),
            _ => Err(Problem::new(Code::InvalidJob, "the body is JSON, but not an object").into()),
        }
    }
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::new(Code::BadRequest, format!("the body broke off: {error}")))?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > limit {
            return Err(too_large("JSON body", limit as u64).into());
        }
    }
    Ok(bytes)
}

/// The content type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase())
}

/// 201 for what is new, 200 for what was there.
pub(super) fn created(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}
