//! Authentication and scopes: one layer in front of the routes, so that no handler can forget it.
//!
//! `Authorization: Bearer …` determines the tenant of a request, and its scopes. If the service is [`Open`](Access::Open), a
//! request without a key belongs to the tenant `local` and has all scopes.

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

/// Whether a request needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No: only this host can reach the service, or a proxy or firewall controls access.
    Open,
    /// Yes.
    Keys,
}

/// The caller of a request. Handlers take it as an argument, and have no other way to get a tenant.
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

/// The key of a request. Other schemes are for a proxy in front of the service.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        // A route outside of both layers has no caller, and must not fall back to one.
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "the route has no layer that authenticates");
            Problem::new(Code::Internal, "an internal error prevented the request").into()
        })
    }
}

/// The layer in front of customers' routes: reading needs `read`, everything else `write`.
pub(super) async fn customers(State(app): State<App>, request: Request, next: Next) -> Result<Response, HttpError> {
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    let scope = if looks { Scope::Read } else { Scope::Write };
    pass(&app, scope, request, next).await
}

/// The layer in front of the operator's routes: they need `admin`.
pub(super) async fn admins(State(app): State<App>, request: Request, next: Next) -> Result<Response, HttpError> {
    pass(&app, Scope::Admin, request, next).await
}

async fn pass(app: &App, scope: Scope, mut request: Request, next: Next) -> Result<Response, HttpError> {
    let caller = Caller::of(app, request.headers()).await?;
    caller.require(scope)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}
