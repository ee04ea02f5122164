//! `/v1/api-keys`: admins create, list and revoke keys.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::auth::Caller;
use super::extract::{Id, JsonObject};
use super::fields::Fields;
use super::idempotency;
use super::list::{List, ListParams};
use super::query::Params;
use super::{App, HttpError};
use crate::db::Scope;
use crate::db::api_keys::KeyRow;
use crate::ids::{KeyId, Tenant};
use crate::problem::Code;
use crate::service::api_keys;

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/api-keys", get(list).post(create)).route("/v1/api-keys/{id}", delete(revoke))
}

#[derive(Debug, Serialize)]
struct ApiKey {
    object: &'static str,
    id: KeyId,
    tenant: Tenant,
    scopes: Vec<Scope>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
    /// The key itself; only in the response that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl ApiKey {
    fn of(row: KeyRow, key: Option<String>) -> Self {
        let KeyRow { id, tenant, scopes, created_at, revoked_at } = row;
        Self { object: "api_key", id, tenant, scopes, created_at, revoked_at, key }
    }
}

/// With an Idempotency-Key, one key is created. The stored response does not contain the secret, so a repeated request is
/// refused with the id of the key.
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, HttpError> {
    let (tenant, scopes) = wanted(&body.object)?;
    let db = &app.context.db;
    let key = idempotency::key(&headers, &caller, "POST /v1/api-keys", body.sha256)?;
    let answer = |row: &KeyRow| idempotency::text(&ApiKey::of(row.clone(), None));
    let (row, secret) = api_keys::create_once(db, &tenant, &scopes, key.as_ref(), answer).await?;
    let headers = [(LOCATION, format!("/v1/api-keys/{}", row.id)), (CACHE_CONTROL, "no-store".to_owned())];
    let key = ApiKey::of(row, Some(secret.reveal().to_owned()));
    Ok((StatusCode::CREATED, headers, Json(key)).into_response())
}

/// Tenant and scopes of the requested key.
fn wanted(body: &Map<String, Value>) -> Result<(Tenant, Vec<Scope>), HttpError> {
    let mut fields = Fields::of(body);
    let tenant = fields.take("tenant", "a name such as \"acme\"; the default is \"local\"");
    let hint = "a list of \"read\", \"write\" and \"admin\", each once; the default is [\"read\", \"write\"]";
    let scopes: Option<Vec<Scope>> = fields.take("scopes", hint);
    let given = scopes.as_deref().unwrap_or(&[Scope::Read]);
    if given.is_empty() {
        fields.refuse("scopes", "a key needs at least one scope".to_owned(), hint);
    }
    if Scope::ALL.iter().any(|scope| given.iter().filter(|given| *given == scope).count() > 1) {
        fields.refuse("scopes", "a scope is listed twice".to_owned(), hint);
    }
    fields.end(Code::InvalidKey)?;
    Ok((tenant.unwrap_or_else(Tenant::local), scopes.unwrap_or_else(|| vec![Scope::Read, Scope::Write])))
}

async fn list(State(app): State<App>, Params(params): Params<ListParams>) -> Result<Json<List<ApiKey>>, HttpError> {
    let page = params.page()?;
    let rows = api_keys::list(&app.context.db, page).await?.into_iter();
    let keys = rows.map(|row| ApiKey::of(row, None)).collect();
    Ok(Json(List::new(keys, page.limit - 1, |key: &ApiKey| key.id.to_string())))
}

async fn revoke(State(app): State<App>, Id(id): Id<KeyId>) -> Result<StatusCode, HttpError> {
    api_keys::revoke(&app.context.db, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
