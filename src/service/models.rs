//! Networks: uploaded, analysed once for each tenant, kept by their hash.

use super::idempotency::{Answer, Idempotency, Once, Posted};
use super::spool::Spooled;
use super::{Context, ServiceError, bundle, faults, refuse};
use crate::blobs;
use crate::db::models::{self, ModelRow};
use crate::db::{CommitPoint, Connection};
use crate::hash::sha256_hex;
use crate::ids::{ModelId, Tenant};
use crate::json;
use crate::network::analyse::analyse;
use crate::problem::Code;
use crate::spec::analysis::Analysis;

/// Longest name of a model, in characters.
const LONGEST_NAME: usize = 255;

/// A model's name as it is kept: an empty one is none.
///
/// # Errors
/// A refusal if it is too long or holds control characters.
pub fn name(given: Option<&str>) -> Result<Option<&str>, ServiceError> {
    let Some(name) = given.filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.chars().any(char::is_control) {
        return refuse(Code::InvalidName, "the model's name contains a control character");
    }
    match name.chars().count() {
        0..=LONGEST_NAME => Ok(Some(name)),
        count => {
            refuse(Code::InvalidName, format!("the model's name has {count} characters; the limit is {LONGEST_NAME}"))
        }
    }
}

/// What tells this upload from another one under the same Idempotency-Key: its bytes and its name.
pub fn fingerprint(upload: &Spooled, name: Option<&str>) -> String {
    sha256_hex(format!("{} {}", upload.sha256, name.unwrap_or_default()).as_bytes())
}

/// Registers an upload as a model; the flag is true if it is new, as the same bytes are the same model of a tenant. Bytes that only
/// another tenant has take the same steps as bytes that no tenant has. `answer` writes the response's body, which is kept under the
/// Idempotency-Key.
///
/// # Errors
/// What is wrong with the network or its name, as a refusal; else as [`ServiceError`].
pub async fn register(
    context: &Context,
    tenant: &Tenant,
    upload: Spooled,
    given_name: Option<&str>,
    key: Option<&Idempotency>,
    answer: impl Fn(&ModelRow) -> Result<String, ServiceError> + Send,
) -> Result<Posted<(ModelRow, bool)>, ServiceError> {
    let name = name(given_name)?;
    if let Some(before) = Once::before(&context.db, key).await? {
        return Ok(Posted::Before(before));
    }
    let found = find(context, tenant, upload).await?;
    let mut once = match Once::begin(&context.db, key).await? {
        Posted::Before(before) => return Ok(Posted::Before(before)),
        Posted::Done(once) => once,
    };
    let (row, new) = match found {
        Found::Known(row) => (*row, false),
        Found::New(upload, analysis) => insert(once.conn(), tenant, &upload, name, &analysis).await?,
    };
    let status = if new { 201 } else { 200 };
    let answer = Answer { status, location: format!("/v1/models/{}", row.id), body: answer(&row)? };
    once.commit(CommitPoint::Model, answer).await?;
    Ok(Posted::Done((row, new)))
}

/// An upload before it is stored.
enum Found {
    /// Its bytes are a model already.
    Known(Box<ModelRow>),
    /// They are a network, and this was found in it.
    New(Spooled, serde_json::Value),
}

async fn find(context: &Context, tenant: &Tenant, upload: Spooled) -> Result<Found, ServiceError> {
    let mut conn = context.db.connection().await?;
    let known = models::by_sha256(&mut conn, tenant, &upload.sha256).await?;
    drop(conn);
    match known {
        Some(row) => Ok(Found::Known(Box::new(row))),
        None => look_at(context, tenant, upload).await.map(|(upload, analysis)| Found::New(upload, analysis)),
    }
}

async fn insert(
    tx: &mut Connection,
    tenant: &Tenant,
    upload: &Spooled,
    name: Option<&str>,
    analysis: &serde_json::Value,
) -> Result<(ModelRow, bool), ServiceError> {
    blobs::put_file(tx, tenant, upload.path(), &upload.sha256, upload.size).await?;
    let (id, size) = (ModelId::new(), upload.size as i64);
    if let Some(row) = models::insert(tx, tenant, id, &upload.sha256, name, size, analysis).await? {
        return Ok((row, true));
    }
    // The same bytes came in twice at once.
    match models::by_sha256(tx, tenant, &upload.sha256).await? {
        Some(row) => Ok((row, false)),
        None => refuse(Code::Internal, "the model was deleted during this upload; upload it again"),
    }
}

/// One file out of what came in as several: a network with the files that its weights lie in, by name.
///
/// # Errors
/// Not exactly one network among them, or weights that are not where the network says; else as [`ServiceError`].
pub async fn in_one_piece(
    context: &Context,
    tenant: &Tenant,
    files: Vec<(String, Spooled)>,
) -> Result<Spooled, ServiceError> {
    let (spool, limit) = (context.spool.path().to_owned(), context.limits.model_bytes);
    context.look_into_model(tenant, move || bundle::joined(files, &spool, limit)).await?
}

/// A body that is a zip of a network with its weights, in one piece; any other body as it came.
///
/// # Errors
/// As [`in_one_piece`].
pub async fn unpacked(context: &Context, tenant: &Tenant, body: Spooled) -> Result<Spooled, ServiceError> {
    if !bundle::is_zip(&body)? {
        return Ok(body);
    }
    let (spool, limit) = (context.spool.path().to_owned(), context.limits.model_bytes);
    context.look_into_model(tenant, move || bundle::unpacked(&body, &spool, limit)).await?
}

async fn look_at(
    context: &Context,
    tenant: &Tenant,
    upload: Spooled,
) -> Result<(Spooled, serde_json::Value), ServiceError> {
    let looked = context.look_into_model(tenant, move || {
        let bytes = std::fs::read(upload.path())?;
        Ok::<_, std::io::Error>((analyse(&bytes), upload))
    });
    let (analysis, upload) = looked.await??;
    let analysis = analysis.map_err(|error| faults::problem(&error.into()))?;
    let stored = serde_json::to_value(analysis).map_err(std::io::Error::other)?;
    match json::find_nul(&stored) {
        None => Ok((upload, stored)),
        Some(_) => refuse(
            Code::ModelInvalid,
            "a name in the network contains a NUL character; rename it and export the network again",
        ),
    }
}

/// What was found in a model at upload.
///
/// # Errors
/// Where the row was written by another version of this program.
pub fn analysis(row: &ModelRow) -> Result<Analysis, ServiceError> {
    Ok(serde_json::from_value(row.analysis.clone()).map_err(std::io::Error::other)?)
}

/// One model.
///
/// # Errors
/// A refusal where it is not there; else as [`ServiceError`].
pub async fn get(context: &Context, tenant: &Tenant, id: ModelId) -> Result<ModelRow, ServiceError> {
    let mut conn = context.db.connection().await?;
    match models::get(&mut conn, tenant, id).await? {
        Some(row) => Ok(row),
        None => refuse(Code::ModelNotFound, format!("there is no model {id}")),
    }
}

/// Deletes a model.
///
/// # Errors
/// A refusal where it is not there, or a job uses it; else as [`ServiceError`].
pub async fn delete(context: &Context, tenant: &Tenant, id: ModelId) -> Result<(), ServiceError> {
    let mut conn = context.db.connection().await?;
    match models::delete(&mut conn, tenant, id).await {
        Ok(true) => Ok(()),
        Ok(false) => refuse(Code::ModelNotFound, format!("there is no model {id}")),
        Err(error) if error.is_constraint("live_job_has_its_inputs") => {
            refuse(Code::ModelInUse, format!("a job that is not done uses model {id}"))
        }
        Err(error) => Err(error.into()),
    }
}
