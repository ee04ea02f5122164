//! What the service does for a customer, apart from how it is asked over HTTP: registering a model or an image set,
//! submitting a job, cancelling one.

pub mod api_keys;
mod device;
pub mod faults;
mod fitting;
pub mod idempotency;
pub mod image_sets;
pub mod jobs;
pub mod models;
pub mod spool;
mod submission;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::db::{Db, DbError};
use crate::images;
use crate::jobs::JobsError;
use crate::problem::{Code, Problem};

/// What every operation needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The database.
    pub db: Db,
    /// Where uploads are spooled, on a disk with room for them.
    pub spool: PathBuf,
    /// What is too much.
    pub limits: Limits,
    /// Bounds how many uploads are decoded at once: a network of weights takes as much memory as its file and a little more, a
    /// file made to take much some twenty times as much.
    pub decoding: Arc<Semaphore>,
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
    Jobs(#[from] JobsError),
    /// A file of ours could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A thread that decoded an upload panicked.
    #[error("decoding failed: {0}")]
    Decoding(#[from] tokio::task::JoinError),
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
    /// Runs something that decodes an upload, on a thread that may block and with few others beside it.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        // The semaphore is never closed; without a permit the work is only less bounded.
        let _permit = self.decoding.acquire().await;
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}
