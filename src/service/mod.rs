//! What the service does for a customer, apart from how it is asked over HTTP: registering a model or an image set,
//! submitting a job, cancelling one.

pub mod api_keys;
mod bundle;
pub mod decoding;
pub mod faults;
pub mod idempotency;
pub mod image_sets;
pub mod jobs;
pub mod models;
pub mod spool;
pub mod spools;

use std::sync::Arc;

use crate::blobs::BlobError;
use crate::db::{Db, DbError};
use crate::ids::Tenant;
use crate::images;
use crate::problem::{Code, Problem};
use crate::queue::QueueError;
use decoding::Decoders;
use spools::OwnSpool;

/// What every operation needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database.
    pub db: Db,
    /// Where uploads are spooled, on a disk with room for them.
    pub spool: Arc<OwnSpool>,
    /// What is too much.
    pub limits: Limits,
    /// Where uploads wait until they are looked at.
    pub decoders: Arc<Decoders>,
}

/// What is too much.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a model.
    pub model_bytes: u64,
    /// Bytes of a JSON body.
    pub json_bytes: usize,
    /// What an image set may hold.
    pub images: images::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { model_bytes: 2 << 30, json_bytes: 1 << 20, images: images::Limits::default() }
    }
}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The customer is told this.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The database refused or did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The queue did not take a change.
    #[error(transparent)]
    Jobs(#[from] QueueError),
    /// A file of ours could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A thread that decoded an upload panicked.
    #[error("decoding failed: {0}")]
    Decoding(#[from] tokio::task::JoinError),
}

impl From<BlobError> for ServiceError {
    fn from(error: BlobError) -> Self {
        QueueError::from(error).into()
    }
}

impl From<Problem> for ServiceError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

/// A refusal in one line.
pub(crate) fn refuse<T>(code: Code, detail: impl Into<String>) -> Result<T, ServiceError> {
    Err(Problem::new(code, detail).into())
}

impl Context {
    /// Runs something that looks into a tenant's model, on a thread that may block and with few others next to it.
    pub(crate) async fn look_into_model<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let turn = self.decoders.models.wait(tenant).await?;
        let looked = tokio::task::spawn_blocking(move || {
            // The work goes on when the request is gone, so its place is taken until then.
            let _turn = turn;
            work()
        });
        Ok(looked.await?)
    }
}
