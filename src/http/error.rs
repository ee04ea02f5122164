//! The one error of the API, which is its own response: a problem document (RFC 9457).

use axum::Json;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::listener::{LEAST_RATE, LateBody};
use crate::db::DbError;
use crate::problem::{Code, Problem};
use crate::queue::QueueError;
use crate::service::ServiceError;

/// Retry-After in seconds if the database does not answer.
const PATIENCE: HeaderValue = HeaderValue::from_static("5");

/// Retry-After in seconds if the queue is full.
const TURN: HeaderValue = HeaderValue::from_static("30");

/// An error response: its problem document and extra headers.
#[derive(Debug)]
pub struct HttpError {
    problem: Box<Problem>,
    headers: HeaderMap,
}

impl HttpError {
    /// The same with a header.
    pub(super) fn with_header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }
}

impl From<Problem> for HttpError {
    fn from(problem: Problem) -> Self {
        let error = Self { problem: Box::new(problem), headers: HeaderMap::new() };
        match error.problem.status {
            503 => error.with_header(RETRY_AFTER, PATIENCE),
            429 => error.with_header(RETRY_AFTER, TURN),
            _ => error,
        }
    }
}

impl From<ServiceError> for HttpError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(problem) => (*problem).into(),
            ServiceError::Db(error) => error.into(),
            ServiceError::Jobs(error) => error.into(),
            ServiceError::Io(_) | ServiceError::Decoding(_) => internal(&error),
        }
    }
}

impl From<QueueError> for HttpError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Db(error) => error.into(),
            error => internal(&error),
        }
    }
}

impl From<DbError> for HttpError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(reason) => {
                tracing::warn!("database: {reason}");
                Problem::new(Code::DatabaseUnavailable, "the database does not answer; nothing was changed").into()
            }
            DbError::DiskFull(reason) => {
                tracing::error!("database: {reason}");
                Problem::new(Code::DiskFull, "the database's disk is full; nothing was changed").into()
            }
            // Endpoints that take text refuse such characters with their position; this covers any without that check.
            DbError::Text(reason) => {
                tracing::warn!("database: {reason}");
                Problem::new(Code::InvalidText, "the request contains a NUL character, which cannot be stored").into()
            }
            error => internal(&error),
        }
    }
}

/// An internal error: the log has the details, the customer gets the request id.
fn internal(error: &dyn std::fmt::Display) -> HttpError {
    tracing::error!("{error}");
    Problem::new(Code::Internal, "an internal error prevented the request").into()
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.headers).into_response();
        // `finish` writes the body, because only it knows the request.
        response.extensions_mut().insert(*self.problem);
        response
    }
}

/// Maximum length of a client's request id, in bytes.
const LONGEST_ID: usize = 128;

/// Removes a client's request id that could not be found in a log: an empty, too long or unprintable one. The request then gets
/// a new id.
pub(super) async fn with_usable_id(mut request: Request) -> Request {
    let usable = |id: &HeaderValue| {
        let bytes = id.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    if !request.headers().get_all(super::REQUEST_ID).iter().all(usable) {
        request.headers_mut().remove(super::REQUEST_ID);
    }
    request
}

/// Writes the body of every error response: our own, and those of the libraries below, which have no problem documents.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let id = request.headers().get(super::REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let late = request.extensions().get::<LateBody>().cloned().unwrap_or_default();
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if late.get() {
        response = too_slow().into_response();
    }
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = problem.unwrap_or_else(|| by_status(status, response.headers()));
    let problem = Problem { instance: Some(path), request_id: id, ..problem };
    let mut answer = (status, Json(problem)).into_response();
    let mut headers = response.headers().clone();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(length) = answer.headers().get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    *answer.headers_mut() = headers;
    answer
}

/// Whatever the handler returned: the body did not arrive in time.
fn too_slow() -> HttpError {
    let rate = LEAST_RATE;
    let detail = format!(
        "the body arrived too slowly: the pause was too long (see GET /v1/limits), or the rate was below {rate} bytes per \
         second"
    );
    Problem::new(Code::RequestTimeout, detail).into()
}

/// An error response of the libraries below, as a problem.
fn by_status(status: StatusCode, headers: &HeaderMap) -> Problem {
    let allowed = headers.get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    match status {
        StatusCode::NOT_FOUND => Problem::new(Code::UnknownRoute, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(Code::MethodNotAllowed, format!("this path supports {allowed}")),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::BodyTooLarge, "the body is over the limit"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(Code::UnsupportedMediaType, "the content type is not supported")
        }
        status if status.is_client_error() => {
            let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
            Problem { status: status.as_u16(), ..Problem::new(Code::BadRequest, reason) }
        }
        status => Problem { status: status.as_u16(), ..Problem::new(Code::Internal, "an internal error") },
    }
}
