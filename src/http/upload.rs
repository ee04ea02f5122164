//! Files on their way in: the body itself, or parts of a multipart form, spooled while they arrive.

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use futures::StreamExt;

use super::extract::media_type;
use super::{App, HttpError};
use crate::problem::{Code, Problem};
use crate::service::spool::{Spool, Spooled, too_large};

/// Is the body a form?
pub(super) fn is_form(request: &Request) -> bool {
    media_type(request.headers()).as_deref() == Some("multipart/form-data")
}

/// The parts of a form.
pub(super) async fn form(request: Request, app: &App) -> Result<Multipart, HttpError> {
    Multipart::from_request(request, app)
        .await
        .map_err(|error| Problem::new(Code::InvalidMultipart, error.body_text()).into())
}

/// Refuses at once what says itself that it is too large.
pub(super) fn check_length(request: &Request, limit: u64, what: &'static str) -> Result<(), HttpError> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) { Err(too_large(what, limit).into()) } else { Ok(()) }
}

/// Spools a body.
pub(super) async fn spool_body(body: Body, app: &App, limit: u64, what: &'static str) -> Result<Spooled, HttpError> {
    let mut spool = Spool::begin(app.context.spool.path(), limit, what)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::new(Code::BadRequest, format!("the upload broke off: {error}")))?;
        spool.write(&chunk)?;
    }
    Ok(spool.finish()?)
}

/// Spools a part of a form.
pub(super) async fn spool_field(
    mut field: Field<'_>,
    app: &App,
    limit: u64,
    what: &'static str,
) -> Result<Spooled, HttpError> {
    let mut spool = Spool::begin(app.context.spool.path(), limit, what)?;
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        spool.write(&chunk)?;
    }
    Ok(spool.finish()?)
}

/// Reads a small part of a form into memory.
pub(super) async fn read_field(mut field: Field<'_>, limit: u64, what: &'static str) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large(what, limit).into());
        }
    }
    Ok(bytes)
}

/// The next part of a form.
pub(super) async fn next_field(form: &mut Multipart) -> Result<Option<Field<'_>>, HttpError> {
    form.next_field().await.map_err(broken)
}

/// A part that is not expected.
pub(super) fn unexpected(name: &str, expected: &str) -> HttpError {
    Problem::new(Code::InvalidMultipart, format!("the form has a part named {name:?}; expected: {expected}")).into()
}

fn broken(error: MultipartError) -> HttpError {
    let code =
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE { Code::BodyTooLarge } else { Code::InvalidMultipart };
    Problem::new(code, error.body_text()).into()
}
