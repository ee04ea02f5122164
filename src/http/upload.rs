//! Uploads: the body itself, or parts of a multipart form, spooled while they arrive.

use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use futures::StreamExt;

use super::extract::{interrupted, media_type};
use super::{App, HttpError};
use crate::problem::{Code, Problem};
use crate::service::spool::{Spool, Spooled, too_large};

/// True if the body is a form.
pub(super) fn is_form(request: &Request) -> bool {
    media_type(request.headers()).as_deref() == Some("multipart/form-data")
}

/// The parts of a form.
pub(super) async fn form(request: Request, app: &App) -> Result<Multipart, HttpError> {
    Multipart::from_request(request, app)
        .await
        .map_err(|error| Problem::new(Code::InvalidMultipart, error.body_text()).into())
}

/// Refuses a body at once if its Content-Length is over the limit.
pub(super) fn check_length(request: &Request, limit: u64, what: &'static str) -> Result<(), HttpError> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) { Err(too_large(what, limit).into()) } else { Ok(()) }
}

/// Spools a body.
pub(super) async fn spool_body(body: Body, app: &App, limit: u64, what: &'static str) -> Result<Spooled, HttpError> {
    let mut spool = Spool::begin(app.context.spool.path(), limit, what)?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| interrupted("upload", &error))?;
        spool.write(&chunk)?;
    }
    Ok(spool.finish()?)
}

/// A part of a form that is not empty.
pub(super) struct Part<'a> {
    field: Field<'a>,
    /// Its first chunk of bytes.
    first: Option<Bytes>,
}

impl<'a> Part<'a> {
    /// A part, or `None` for a file field that was left empty: a browser sends it without bytes and file name.
    pub(super) async fn of(mut field: Field<'a>) -> Result<Option<Self>, HttpError> {
        let first = field.chunk().await.map_err(broken)?.filter(|bytes| !bytes.is_empty());
        let named = field.file_name().is_some_and(|name| !name.is_empty());
        Ok((first.is_some() || named).then_some(Self { field, first }))
    }

    /// Name of the form's field.
    pub(super) fn name(&self) -> &str {
        self.field.name().unwrap_or_default()
    }

    /// Name of the file.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.field.file_name().filter(|name| !name.is_empty())
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.field.chunk().await.map_err(broken),
        }
    }
}

/// Spools a part of a form.
pub(super) async fn spool_part(
    mut part: Part<'_>,
    app: &App,
    limit: u64,
    what: &'static str,
) -> Result<Spooled, HttpError> {
    let mut spool = Spool::begin(app.context.spool.path(), limit, what)?;
    while let Some(chunk) = part.chunk().await? {
        spool.write(&chunk)?;
    }
    Ok(spool.finish()?)
}

/// Reads a small part of a form into memory.
pub(super) async fn read_part(mut part: Part<'_>, limit: u64, what: &'static str) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
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

/// The error for an unexpected part.
pub(super) fn unexpected(name: &str, expected: &str) -> HttpError {
    Problem::new(Code::InvalidMultipart, format!("the form has an unexpected part {name:?}; expected: {expected}"))
        .into()
}

fn broken(error: MultipartError) -> HttpError {
    let code =
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE { Code::BodyTooLarge } else { Code::InvalidMultipart };
    Problem::new(code, error.body_text()).into()
}
