//! Networks: uploaded, analysed once for each tenant, kept by their hash.

use super::spool::Spooled;
use super::{Context, ServiceError, faults, refuse};
use crate::compress::analyse::{Analysis, analyse};
use crate::db::models::{self, ModelRow};
use crate::db::{CommitPoint, commit};
use crate::ids::{ModelId, Tenant};
use crate::jobs::store;
use crate::problem::Code;

/// Registers an upload as a model; the flag is true where it is new. The same bytes are the same model of a tenant. Bytes that only another
/// tenant has take the same steps as bytes that no tenant has.
///
/// # Errors
/// What is wrong with the network, as a refusal; else as [`ServiceError`].
pub async fn register(
    context: &Context,
    tenant: &Tenant,
    upload: Spooled,
    name: Option<&str>,
) -> Result<(ModelRow, bool), ServiceError> {
    let mut conn = context.db.connection().await?;
    if let Some(known) = models::by_sha256(&mut conn, tenant, &upload.sha256).await? {
        return Ok((known, false));
    }
    drop(conn);
    let (upload, analysis) = look_at(context, tenant, upload).await?;
    let mut tx = context.db.begin().await?;
    store::put_file(&mut tx, tenant, upload.path(), &upload.sha256, upload.size).await?;
    let (id, size) = (ModelId::new(), upload.size as i64);
    let inserted = models::insert(&mut tx, tenant, id, &upload.sha256, name, size, &analysis).await?;
    match inserted {
        Some(row) => {
            commit(tx, CommitPoint::Model).await?;
            Ok((row, true))
        }
        // The same bytes came in twice at once.
        None => match models::by_sha256(&mut tx, tenant, &upload.sha256).await? {
            Some(row) => Ok((row, false)),
            None => refuse(Code::Internal, "the model was deleted while it was uploaded again; upload it once more"),
        },
    }
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
    let analysis = analysis.map_err(|error| faults::problem(&error))?;
    let stored = serde_json::to_value(analysis).map_err(std::io::Error::other)?;
    Ok((upload, stored))
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
