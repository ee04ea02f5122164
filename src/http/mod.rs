//! The API over HTTP: one file for each resource, each from router to helpers; [`error`] is the one error, and it is the
//! response.
//!
//! | path | file |
//! |---|---|
//! | `/v1/models` | `models` |
//! | `/v1/image-sets` | `image_sets` |
//! | `/v1/jobs`, `/v1/jobs/{id}/cancel` | `jobs` |
//! | `/v1/jobs/{id}/events` | `events` |
//! | `/v1/jobs/{id}/blocks`, `/report`, `/artifacts` | `results` |
//! | `/v1/errors` | `error_pages` |
//! | `/v1/limits` | `limits` |
//! | `/v1/devices`, `/metrics` | `pool` |
//! | `/v1/api-keys` | `api_keys` |
//! | `/v1/tenants` | `tenants` |
//! | `/healthz`, `/readyz` | `health` |
//!
//! [`auth`] is in front of all except the last row and the error pages, [`hosts`] in front of all. [`listener`] accepts the
//! connections.

mod api_keys;
mod auth;
mod download;
mod error;
mod error_pages;
mod events;
mod extract;
mod fields;
mod health;
mod hosts;
mod idempotency;
mod image_sets;
mod jobs;
mod limits;
mod list;
pub mod listener;
mod models;
mod pool;
mod query;
mod results;
mod tenants;
mod upload;

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Request};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tracing::Level;

pub use auth::Access;
pub use error::HttpError;
pub use hosts::{Hosts, Name};

use crate::problem::{Code, Problem};
use crate::service::Context;

/// State that the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// Database and folders of the service.
    pub context: Context,
    /// True if this process runs workers: then it is ready only if one of them is.
    pub has_workers: bool,
    /// Whether a request needs a key.
    pub access: Access,
    /// Accepted host names if it does not.
    pub hosts: Hosts,
    /// Limits on connections and their times.
    pub connections: listener::Limits,
    /// Ends long responses when the service stops.
    pub stop: CancellationToken,
}

/// Header that carries the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves `listener` until the app's `stop`, then lets requests in flight finish within [`listener::Limits::drain`].
pub async fn serve(listener: TcpListener, app: App) {
    let (limits, stop) = (app.connections, app.stop.clone());
    listener::run(listener, router(app), limits, stop).await;
}

/// All routes, with the layers that apply to every response.
pub fn router(app: App) -> Router {
    // Failures are logged at their origin, with the cause.
    let trace = TraceLayer::new_for_http().on_failure(()).make_span_with(|request: &Request<axum::body::Body>| {
        let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        tracing::span!(Level::INFO, "request", method = %request.method(), path = request.uri().path(), id)
    });
    let routes = Router::new()
        .merge(for_customers().route_layer(middleware::from_fn_with_state(app.clone(), auth::customers)))
        .merge(for_admins().route_layer(middleware::from_fn_with_state(app.clone(), auth::admins)))
        .merge(for_everybody())
        .fallback(nothing_here)
        .with_state(app.clone());
    // Around all routes: only there does a 405 have its Allow header.
    Router::new()
        .fallback_service(routes)
        // The size of a body is checked while it is read: uploads while they are spooled, JSON while it is collected.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app, hosts::guard))
        .layer(middleware::from_fn(listener::refuse_crowded))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(trace)
        .layer(middleware::from_fn(error::finish))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, NewRequestId))
        .layer(middleware::map_request(error::with_usable_id))
}

/// Routes of customers: `read` to read, `write` to change.
fn for_customers() -> Router<App> {
    Router::new()
        .merge(models::router())
        .merge(image_sets::router())
        .merge(jobs::router())
        .merge(events::router())
        .merge(results::router())
        .merge(limits::router())
        .merge(pool::router())
}

/// Routes that need the scope `admin`.
fn for_admins() -> Router<App> {
    Router::new().merge(api_keys::router()).merge(tenants::router()).merge(pool::for_admins())
}

/// Routes without customers' data; they need no key.
fn for_everybody() -> Router<App> {
    Router::new().merge(error_pages::router()).merge(health::router())
}

async fn nothing_here() -> HttpError {
    Problem::new(Code::UnknownRoute, "there is nothing at this path; the API is under /v1, see the README").into()
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has already logged location and message.
    HttpError::from(Problem::new(Code::Internal, "an internal error prevented the request")).into_response()
}

/// Assigns an id to requests without one.
#[derive(Debug, Clone, Copy)]
struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        uuid::Uuid::now_v7().to_string().parse().ok().map(RequestId::new)
    }
}
