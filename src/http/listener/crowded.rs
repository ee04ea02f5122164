//! The response to a connection over a limit.

use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;

use super::seats::Crowded;
use crate::http::HttpError;
use crate::problem::{Code, Problem};

/// The layer in front of all routes: a connection over a limit gets a 503, except for `/healthz`.
pub(in crate::http) async fn refuse_crowded(request: Request, next: Next) -> Result<Response, HttpError> {
    match request.extensions().get::<Crowded>() {
        Some(crowded) if request.uri().path() != "/healthz" => {
            let problem = Problem::new(Code::TooManyConnections, crowded.detail());
            Err(HttpError::from(problem).with_header(CONNECTION, "close"))
        }
        _ => Ok(next.run(request).await),
    }
}
