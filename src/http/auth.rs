//! Who asks, and what they may: one layer in front of the routes, so that no handler can forget it.
//!
//! `Authorization: Bearer …` names the tenant whose rows a request is about, and what it may do with them. Where the service is
//! [`Open`](Access::Open), a request without a key is one of the tenant `local`, which may do everything.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::{App, HttpError};
use crate::db::Scope;
use crate::ids::Tenant;
use crate::problem::{Code, Problem};
use crate::service::api_keys;

/// Whether a request has to show a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It need not: only this host, or who was let through by something else, reaches the service.
    Open,
    /// It has to.
    Keys,
}

/// Who asks. Handlers take it as an argument, and have no other way to a tenant.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) tenant: Tenant,
    scopes: Vec<Scope>,
}

impl Caller {
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    async fn of(app: &App, headers: &HeaderMap) -> Result<Self, HttpError> {
        match (bearer(headers), app.access) {
            (Some(text), _) => match api_keys::recognise(&app.context.db, text).await? {
                Some(key) => Ok(Self { tenant: key.tenant, scopes: key.scopes }),
                None => Err(refused(Code::KeyInvalid, "the key is unknown or revoked", ", error=\"invalid_token\"")),
            },
            (None, Access::Open) => Ok(Self { tenant: Tenant::local(), scopes: Scope::ALL.to_vec() }),
            (None, Access::Keys) => Err(refused(Code::KeyMissing, "the request has no API key", "")),
        }
    }

    fn require(&self, scope: Scope) -> Result<(), HttpError> {
        if self.may(scope) {
            return Ok(());
        }
        let name = scope.as_str();
        let detail = format!("this request needs a key with the scope {name}");
        Err(refused(Code::ScopeMissing, detail, &format!(", error=\"insufficient_scope\", scope=\"{name}\"")))
    }
}

/// A refusal with the challenge of RFC 6750.
fn refused(code: Code, detail: impl Into<String>, reason: &str) -> HttpError {
    HttpError::from(Problem::new(code, detail))
        .with_header(WWW_AUTHENTICATE, format!("Bearer realm=\"practised\"{reason}"))
}

/// The key that a request shows. Other schemes are for whatever stands in front of the service.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        // A route outside of both layers has nobody to ask for, and must not fall back to anybody.
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "the route has no layer that authenticates");
            Problem::new(Code::Internal, "an internal error prevented the request").into()
        })
    }
}

/// In front of what customers ask for: looking takes `read`, everything else `write`.
pub(super) async fn customers(State(app): State<App>, request: Request, next: Next) -> Result<Response, HttpError> {
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    let scope = if looks { Scope::Read } else { Scope::Write };
    pass(&app, scope, request, next).await
}

/// In front of what the operator asks for.
pub(super) async fn admins(State(app): State<App>, request: Request, next: Next) -> Result<Response, HttpError> {
    pass(&app, Scope::Admin, request, next).await
}

async fn pass(app: &App, scope: Scope, mut request: Request, next: Next) -> Result<Response, HttpError> {
    let caller = Caller::of(app, request.headers()).await?;
    caller.require(scope)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
