//! What a worker does for each kind of task: the inputs it fetches first, and the call into the core.

mod export;
mod finetune;
mod measure;
mod score;
mod select;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::blobs;
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::pipeline::Bench;
use crate::db::tasks::TaskRow;
use crate::db::{Db, TaskKind, image_sets, jobs as rows, models, tasks};
use crate::exec::Device;
use crate::exec::memory::{self, Trouble};
use crate::ids::JobId;
use crate::images::{ImageSet, Limits};
use crate::latency::Probe;
use crate::queue::claimed::Claim;
use crate::queue::complete::Done;
use crate::queue::{self, QueueError};
use crate::spec::config::JobConfig;

/// Why a task brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The core says why, and who is at fault.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The result cannot be stored.
    #[error("the result cannot be written as JSON: {0}")]
    Result(#[from] serde_json::Error),
    /// The inputs could not be fetched.
    #[error(transparent)]
    Inputs(#[from] QueueError),
    /// The computing thread panicked.
    #[error("{0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Failure {
    /// What is wrong with the device, where that is what failed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Compress(error) => error.trouble(),
            Self::Panicked(panic) => memory::trouble(&panic.to_string()),
            Self::Result(_) | Self::Inputs(_) => None,
        }
    }

    /// What a customer and an operator are told about a worker on which this happens: no paths, no messages of libraries.
    pub(super) fn short(&self) -> &'static str {
        match (self.trouble(), self) {
            (Some(Trouble::OutOfMemory), _) => "the device is out of memory",
            (Some(Trouble::Lost), _) => "the device failed",
            (Some(Trouble::Unusable), _) => "the device or ONNX Runtime could not be opened",
            (None, Self::Panicked(_)) => "the computation panicked",
            (None, _) => "of an internal error",
        }
    }
}

/// One task's work with its inputs.
pub(super) enum Work {
    Measure,
    Score { block: String },
    Select(select::Input),
    Finetune(finetune::Input),
    Export(Box<export::Input>),
}

impl Work {
    /// Fetches what the tasks before left for this one.
    pub(super) async fn fetch(db: &Db, claim: &Claim) -> Result<Self, QueueError> {
        let mut conn = db.connection().await?;
        let before = tasks::of_job(&mut conn, claim.job).await?;
        drop(conn);
        Ok(match claim.kind {
            TaskKind::Measure => Self::Measure,
            TaskKind::Score => Self::Score { block: claim.block.clone().unwrap_or_default() },
            TaskKind::Select => Self::Select(select::Input::from(&before)?),
            TaskKind::Finetune => Self::Finetune(finetune::Input::from(&before)?),
            TaskKind::Export => Self::Export(Box::new(export::Input::fetch(db, claim, &before).await?)),
        })
    }

    /// Computes; on a thread that may block.
    pub(super) fn run(&self, bench: &Bench, obs: &dyn Observer) -> Result<Done, Failure> {
        match self {
            Self::Measure => measure::run(bench, obs),
            Self::Score { block } => score::run(bench, block, obs),
            Self::Select(input) => select::run(bench, input, obs),
            Self::Finetune(input) => finetune::run(bench, input, obs),
            Self::Export(input) => export::run(bench, input, obs),
        }
    }
}

/// An image set as stored.
struct StoredImages {
    archive: Vec<u8>,
    labels: Option<Vec<u8>>,
}

impl StoredImages {
    fn open(&self) -> Result<ImageSet, CompressError> {
        let images = ImageSet::from_zip_bytes(&self.archive, &Limits::default())?;
        Ok(match &self.labels {
            Some(labels) => images.with_labels(labels)?,
            None => images,
        })
    }
}

/// A job's network, images and wishes as stored.
pub(super) struct Opening {
    model: Vec<u8>,
    images: Option<StoredImages>,
    config: JobConfig,
}

impl Opening {
    /// Fetches them.
    pub(super) async fn fetch(db: &Db, job: JobId) -> Result<Self, QueueError> {
        let mut conn = db.connection().await?;
        let job = rows::find(&mut conn, job).await?.ok_or(QueueError::NoSuchJob(job))?;
        let config = queue::config(&job)?;
        let model = models::get(&mut conn, &job.tenant, job.model).await?.ok_or_else(|| missing("model"))?;
        let images = match job.images {
            Some(id) => Some(image_sets::get(&mut conn, &job.tenant, id).await?.ok_or_else(|| missing("image set"))?),
            None => None,
        };
        drop(conn);
        let images = match images {
            Some(row) => Some(StoredImages {
                archive: blobs::read(db, &job.tenant, &row.sha256).await?,
                labels: match &row.labels_sha256 {
                    Some(sha256) => Some(blobs::read(db, &job.tenant, sha256).await?),
                    None => None,
                },
            }),
            None => None,
        };
        let model = blobs::read(db, &job.tenant, &model.sha256).await?;
        Ok(Self { model, images, config })
    }

    /// Decodes and prepares.
    pub(super) fn open(self, device: Device, probe: Probe, observer: &dyn Observer) -> Result<Bench, CompressError> {
        let images = self.images.as_ref().map(StoredImages::open).transpose()?;
        Bench::open(&self.model, images.as_ref(), &self.config, device, probe, observer)
    }
}

/// The results of the tasks of one kind.
fn results<T: DeserializeOwned>(before: &[TaskRow], kind: TaskKind) -> Result<Vec<T>, QueueError> {
    let of_kind = before.iter().filter(|task| task.kind == kind);
    of_kind.filter_map(|task| task.result.clone()).map(|result| read(result, kind.as_str())).collect()
}

/// The result of the only task of a kind.
fn result<T: DeserializeOwned>(before: &[TaskRow], kind: TaskKind) -> Result<T, QueueError> {
    results(before, kind)?.pop().ok_or_else(|| missing(kind.as_str()))
}

fn read<T: DeserializeOwned>(value: serde_json::Value, what: &str) -> Result<T, QueueError> {
    serde_json::from_value(value)
        .map_err(|error| QueueError::Io(std::io::Error::other(format!("stored {what}: {error}"))))
}

fn missing(what: &str) -> QueueError {
    QueueError::Io(std::io::Error::other(format!("the job's {what} is missing")))
}

/// A task's result as it is stored.
fn done(result: &impl Serialize) -> Result<Done, Failure> {
    Ok(Done { result: serde_json::to_value(result)?, ..Done::default() })
}
