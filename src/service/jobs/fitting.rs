//! Whether a job's settings fit the model and the images that it names.

use std::collections::HashSet;

use super::submission::Submission;
use crate::db::image_sets::{self, ImageRow};
use crate::db::models::ModelRow;
use crate::db::{Connection, models as model_rows};
use crate::ids::Tenant;
use crate::images::ModelInput;
use crate::json::escape;
use crate::nearest::nearest;
use crate::network::input::preprocess_of_bytes;
use crate::problem::{Code, Fault, MOST_ERRORS, Problem};
use crate::service::{ServiceError, faults, models};
use crate::spec::analysis::{Analysis, BlockInfo};
use crate::spec::config::{self, JobConfig, Target};
use crate::spec::inputs::{self, InputFault};

/// What a job is about, as stored.
#[derive(Debug)]
pub(super) struct Subject {
    model: ModelRow,
    /// `None` if pictures are to be made.
    images: Option<Vec<ImageRow>>,
}

impl Subject {
    /// Fetches what a job names.
    ///
    /// # Errors
    /// A refusal if it is not there; else as [`ServiceError`].
    pub(super) async fn fetch(conn: &mut Connection, tenant: &Tenant, job: &Submission) -> Result<Self, ServiceError> {
        let Some(model) = model_rows::get(conn, tenant, job.model).await? else {
            let problem = Problem::new(Code::ModelNotFound, format!("there is no model {}", job.model));
            return Err(problem.at("/model", "upload it with POST /v1/models").into());
        };
        let Some(id) = job.images else { return Ok(Self { model, images: None }) };
        if image_sets::get(conn, tenant, id).await?.is_none() {
            let problem = Problem::new(Code::ImageSetNotFound, format!("there is no image set {id}"));
            return Err(problem.at("/images", "upload it with POST /v1/image-sets").into());
        }
        Ok(Self { model, images: Some(image_sets::images(conn, id).await?) })
    }

    /// The blocks that the job may drop, on a thread that may block: a network may have thousands.
    ///
    /// # Errors
    /// What does not fit, as a refusal.
    pub(super) fn blocks_of(&self, config: &JobConfig) -> Result<Vec<String>, ServiceError> {
        let analysis = models::analysis(&self.model)?;
        let analysis = analysis.fed(&config.inputs);
        let blocks = candidates(&self.model, analysis, config)?;
        check_target(config, blocks.len())?;
        check_batch(analysis, config)?;
        check_inputs(analysis, config)?;
        self.check_images(analysis, config)?;
        Ok(blocks)
    }

    /// Every image must have the size that the model takes, once preprocessed.
    fn check_images(&self, analysis: &Analysis, config: &JobConfig) -> Result<(), ServiceError> {
        let (preprocess, input) = (&config.preprocess, input(analysis));
        if takes_bytes(analysis) {
            preprocess_of_bytes(&analysis.image_input, preprocess).map_err(|error| faults::problem(&error.into()))?;
        }
        let fits = match &self.images {
            Some(images) => {
                let sizes = images
                    .iter()
                    .map(|image| (image.name.as_str(), image.width.cast_unsigned(), image.height.cast_unsigned()));
                preprocess.check_sizes(input, sizes)
            }
            None => preprocess.size_without_images(input),
        };
        fits.map(|_| ()).map_err(|error| faults::problem(&error.into()).into())
    }
}

/// The blocks that may be dropped: droppable and not excluded.
fn candidates(model: &ModelRow, analysis: &Analysis, config: &JobConfig) -> Result<Vec<String>, ServiceError> {
    check_excluded(analysis, config)?;
    let excluded: HashSet<&str> = config.exclude_blocks.iter().map(String::as_str).collect();
    let droppable = || analysis.blocks.iter().filter(|block| block.droppable);
    let left: Vec<String> = droppable()
        .filter(|block| !block.names().any(|name| excluded.contains(name)))
        .map(|block| block.name.clone())
        .collect();
    match droppable().count() {
        0 => Err(nothing_droppable(model, analysis).into()),
        count if left.is_empty() => {
            let detail = format!("exclude_blocks excludes all {count} droppable blocks");
            Err(Problem::new(Code::NoDroppableBlock, detail).at("/exclude_blocks", "remove at least one name").into())
        }
        _ => Ok(left),
    }
}

/// Names are compared by hash; a near name is looked for a few times only, as that compares with all of them.
fn check_excluded(analysis: &Analysis, config: &JobConfig) -> Result<(), ServiceError> {
    let known: HashSet<&str> = analysis.blocks.iter().flat_map(BlockInfo::names).collect();
    let excluded = config.exclude_blocks.iter().enumerate();
    let unknown: Vec<(usize, &String)> = excluded.filter(|(_, name)| !known.contains(name.as_str())).collect();
    let fault = |(order, (index, name)): (usize, &(usize, &String))| Fault {
        pointer: Some(format!("/exclude_blocks/{index}")),
        detail: format!("the model has no block {name:?}"),
        hint: Some(match (order < config::GUESSES).then(|| nearest(name, known.iter().copied())).flatten() {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "GET /v1/models/{id}/blocks lists the names".to_owned(),
        }),
        ..Fault::default()
    };
    let faults: Vec<Fault> = unknown.iter().take(MOST_ERRORS).enumerate().map(fault).collect();
    match faults.first() {
        None => Ok(()),
        Some(first) => {
            let problem = Problem::new(Code::UnknownBlock, first.detail.clone());
            Err(problem.with_errors(faults).omitting(unknown.len().saturating_sub(MOST_ERRORS)).into())
        }
    }
}

/// More blocks than there are can never go, however fast the network is.
fn check_target(config: &JobConfig, candidates: usize) -> Result<(), ServiceError> {
    let Target::Blocks(wanted) = config.target else { return Ok(()) };
    if wanted <= candidates {
        return Ok(());
    }
    let detail =
        format!("the target is to drop {wanted} blocks, but only {candidates} of the model's blocks can be dropped");
    Err(Problem::new(Code::InvalidJob, detail)
        .at("/target/blocks", format!("give a number from 1 to {candidates}"))
        .into())
}

/// Every input next to the images needs a value, unless it gets the images mirrored.
fn check_inputs(analysis: &Analysis, config: &JobConfig) -> Result<(), ServiceError> {
    let faults = inputs::faults(&analysis.image_input, &analysis.other_inputs, &config.inputs);
    let Some(first) = faults.first() else { return Ok(()) };
    let problem = Problem::new(Code::ModelInterfaceUnsupported, first.detail.clone());
    let problem = problem.with_errors(faults.into_iter().map(|InputFault { name, detail, hint }| Fault {
        pointer: Some(format!("/inputs/{}", escape(&name))),
        detail,
        hint: Some(hint),
        ..Fault::default()
    }));
    Err(problem.into())
}

/// A network with a fixed batch runs with no other.
fn check_batch(analysis: &Analysis, config: &JobConfig) -> Result<(), ServiceError> {
    let asked = config.latency.batch;
    match size(analysis, 0).filter(|fixed| *fixed != asked) {
        None => Ok(()),
        Some(fixed) => {
            let detail = format!("the model's batch is fixed at {fixed}, but the job measures latency at {asked}");
            let hint = format!("set it to {fixed}, or export the model with a dynamic batch");
            Err(Problem::new(Code::ModelInterfaceUnsupported, detail).at("/latency/batch", hint).into())
        }
    }
}

/// What the model's image input takes, (N, C, H, W); sizes that are names are free.
fn input(analysis: &Analysis) -> ModelInput {
    let [_, channels, height, width] = analysis.image_layout.as_nchw(&[0, 1, 2, 3]);
    let channels = analysis.image_channels.or_else(|| size(analysis, channels));
    ModelInput { channels, height: size(analysis, height), width: size(analysis, width) }
}

fn takes_bytes(analysis: &Analysis) -> bool {
    analysis.inputs.iter().any(|input| input.name == analysis.image_input && input.dtype == "uint8")
}

fn size(analysis: &Analysis, axis: usize) -> Option<usize> {
    let image = analysis.inputs.iter().find(|input| input.name == analysis.image_input);
    image.or(analysis.inputs.first())?.shape.get(axis)?.parse().ok()
}

fn nothing_droppable(model: &ModelRow, analysis: &Analysis) -> Problem {
    let detail = match analysis.blocks.len() {
        0 => format!("model {} has no residual addition", model.id),
        count => format!("none of the {count} residual additions of model {} can be dropped", model.id),
    };
    let reasons = analysis.blocks.iter().map(|block| Fault {
        node: Some(block.name.clone()),
        detail: block.reason.clone().unwrap_or_else(|| "not droppable".to_owned()),
        ..Fault::default()
    });
    Problem::new(Code::NoDroppableBlock, detail).with_errors(reasons)
}
