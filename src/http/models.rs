//! `/v1/models`: uploads of networks, and their blocks.

use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use time::OffsetDateTime;

use super::auth::Caller;
use super::extract::{Id, check_coding, created};
use super::list::{List, ListParams};
use super::query::{FromQuery, Parameters, Params};
use super::upload::{Part, check_length, form, is_form, next_field, spool_body, spool_part, unexpected};
use super::{App, HttpError, download, idempotency};
use crate::db::models as rows;
use crate::db::models::ModelRow;
use crate::ids::{ModelId, Tenant};
use crate::problem::{Code, Problem};
use crate::service::ServiceError;
use crate::service::idempotency::Posted;
use crate::service::models;
use crate::service::spool::Spooled;
use crate::spec::analysis::{BlockInfo, Interface};
use crate::spec::inputs::SideInputInfo;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/models", get(list).post(upload))
        .route("/v1/models/{id}", get(show).delete(delete))
        .route("/v1/models/{id}/content", get(content))
        .route("/v1/models/{id}/blocks", get(blocks))
}

#[derive(Debug, Serialize)]
struct Model {
    object: &'static str,
    id: ModelId,
    name: Option<String>,
    sha256: String,
    bytes: i64,
    opset: i64,
    parameters: u64,
    macs: u64,
    inputs: Vec<Interface>,
    image_input: String,
    other_inputs: Vec<SideInputInfo>,
    outputs: Vec<Interface>,
    blocks: Blocks,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// Number of residual additions, and how many of them are droppable.
#[derive(Debug, Serialize)]
struct Blocks {
    total: usize,
    droppable: usize,
}

impl Model {
    fn from_row(row: &ModelRow) -> Result<Self, ServiceError> {
        let analysis = models::analysis(row)?;
        let droppable = analysis.blocks.iter().filter(|block| block.droppable).count();
        Ok(Self {
            object: "model",
            id: row.id,
            name: row.name.clone(),
            sha256: row.sha256.clone(),
            bytes: row.size,
            opset: analysis.opset,
            parameters: analysis.parameters,
            macs: analysis.macs,
            inputs: analysis.inputs,
            image_input: analysis.image_input,
            other_inputs: analysis.other_inputs,
            outputs: analysis.outputs,
            blocks: Blocks { total: analysis.blocks.len(), droppable },
            created_at: row.created_at,
        })
    }
}

#[derive(Debug)]
struct UploadParams {
    name: Option<String>,
}

impl FromQuery for UploadParams {
    fn read(query: &mut Parameters) -> Self {
        Self { name: query.take("name", "a name for the model") }
    }
}

async fn upload(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<UploadParams>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, HttpError> {
    check_coding(&headers)?;
    models::name(params.name.as_deref())?;
    let limit = app.context.limits.model_bytes;
    let (file, name) = if is_form(&request) {
        file_of_form(request, &app, &caller.tenant, limit).await?
    } else {
        check_length(&request, limit, "model")?;
        let body = spool_body(request.into_body(), &app, limit, "model").await?;
        (models::unpacked(&app.context, &caller.tenant, body).await?, None)
    };
    let name = params.name.or(name);
    let key = idempotency::key(&headers, &caller, "POST /v1/models", models::fingerprint(&file, name.as_deref()))?;
    let answer = |row: &ModelRow| idempotency::text(&Model::from_row(row)?);
    match models::register(&app.context, &caller.tenant, file, name.as_deref(), key.as_ref(), answer).await? {
        Posted::Before(before) => Ok(idempotency::replay(&before)),
        Posted::Done((row, new)) => {
            let location = format!("/v1/models/{}", row.id);
            Ok((created(new), [(LOCATION, location)], idempotency::json(answer(&row)?)).into_response())
        }
    }
}

/// Maximum number of files in a form: a network and the files with its weights.
const MOST_FILES: usize = 1000;

async fn file_of_form(
    request: Request,
    app: &App,
    tenant: &Tenant,
    limit: u64,
) -> Result<(Spooled, Option<String>), HttpError> {
    let mut form = form(request, app).await?;
    let mut found: Vec<(String, Spooled)> = Vec::new();
    let mut left = limit;
    while let Some(field) = next_field(&mut form).await? {
        let Some(part) = Part::of(field).await? else { continue };
        if part.name() != "file" || found.len() == MOST_FILES {
            return Err(unexpected(part.name(), "parts named \"file\": the network, and the files with its weights"));
        }
        let name = part.file_name().unwrap_or_default().to_owned();
        let file = spool_part(part, app, left, "model").await?;
        left -= file.size;
        found.push((name, file));
    }
    match found.len() {
        0 => Err(Problem::new(Code::InvalidMultipart, "the form has no file in a part named \"file\"").into()),
        1 => {
            let (name, file) = found.remove(0);
            Ok((models::unpacked(&app.context, tenant, file).await?, Some(name).filter(|name| !name.is_empty())))
        }
        _ => {
            let name = found.iter().map(|(name, _)| name).find(|name| name.ends_with(".onnx")).cloned();
            Ok((models::in_one_piece(&app.context, tenant, found).await?, name))
        }
    }
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<List<Model>>, HttpError> {
    let page = params.page()?;
    let mut conn = app.context.db.connection().await?;
    let rows = rows::list(&mut conn, &caller.tenant, page).await?;
    drop(conn);
    // The analysis of a network can have thousands of blocks.
    let reading = tokio::task::spawn_blocking(move || rows.iter().map(Model::from_row).collect::<Result<Vec<_>, _>>());
    let models = reading.await.map_err(ServiceError::from)??;
    Ok(Json(List::new(models, page.limit - 1, |model| model.id.to_string())))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id<ModelId>) -> Result<Json<Model>, HttpError> {
    Ok(Json(Model::from_row(&models::get(&app.context, &caller.tenant, id).await?)?))
}

async fn delete(State(app): State<App>, caller: Caller, Id(id): Id<ModelId>) -> Result<StatusCode, HttpError> {
    models::delete(&app.context, &caller.tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn content(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ModelId>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let row = models::get(&app.context, &caller.tenant, id).await?;
    let name = row.name.clone().unwrap_or_else(|| "model.onnx".to_owned());
    let file = download::File {
        tenant: caller.tenant,
        sha256: row.sha256,
        size: row.size,
        media_type: "application/octet-stream".to_owned(),
        name,
    };
    download::answer(app.context.db, file, &headers)
}

async fn blocks(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ModelId>,
) -> Result<Json<List<BlockInfo>>, HttpError> {
    let row = models::get(&app.context, &caller.tenant, id).await?;
    Ok(Json(List::whole(models::analysis(&row)?.blocks)))
}
