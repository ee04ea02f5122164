//! The body of `POST /v1/jobs`: read whole, so that all faults are told at once, then checked against what it names.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{ServiceError, faults, models};
use crate::compress::analyse::{Analysis, BlockInfo};
use crate::compress::companions::{self, InputFault};
use crate::compress::config::{self, FieldProblem, JobConfig};
use crate::db::models::ModelRow;
use crate::db::{Connection, JobPriority, image_sets, models as model_rows};
use crate::ids::{ImageSetId, ModelId, Tenant};
use crate::images::ModelInput;
use crate::problem::{Code, Fault, Problem};

/// The fields that are read here; all others are wishes about compression.
const OURS: [&str; 6] = ["model", "images", "metadata", "deadline_seconds", "device", "priority"];

/// Seconds a job may take where its body says nothing: a day.
const DEADLINE: u64 = 24 * 3600;

/// Longest deadline: thirty days.
const LONGEST_DEADLINE: u64 = 30 * 24 * 3600;

/// Longest metadata as JSON text.
const METADATA_BYTES: usize = 16 << 10;

/// A body that was read.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) model: ModelId,
    /// `None` where pictures are to be drawn.
    pub(super) images: Option<ImageSetId>,
    pub(super) config: JobConfig,
    pub(super) metadata: Value,
    pub(super) deadline_seconds: u64,
    /// What it may be computed on.
    pub(super) device: Option<String>,
    /// Whether it goes before others.
    pub(super) priority: JobPriority,
}

impl Submission {
    /// Reads a body; all that is wrong with it comes in one refusal.
    pub(super) fn read(body: &Map<String, Value>) -> Result<Self, ServiceError> {
        let mut faults = Vec::new();
        let model = id(body, "model", "the id that POST /v1/models answered", &mut faults);
        let images = match body.get("images") {
            None | Some(Value::Null) => None,
            Some(_) => id(
                body,
                "images",
                "the id that POST /v1/image-sets answered, or null to have pictures made",
                &mut faults,
            ),
        };
        let metadata = metadata(body, &mut faults);
        let deadline_seconds = deadline(body, &mut faults);
        let device = device(body, &mut faults);
        let priority = priority(body, &mut faults);
        let config = match config::parse(body, &OURS) {
            Ok(config) => config,
            Err(problems) => {
                faults.extend(problems);
                JobConfig::default()
            }
        };
        match model {
            Some(model) if faults.is_empty() => Ok(Self {
                model: model.into(),
                images: images.map(ImageSetId::from),
                config,
                metadata,
                deadline_seconds,
                device,
                priority,
            }),
            _ => Err(invalid(faults).into()),
        }
    }

    /// Checks the wishes against the model and the images they are about.
    pub(super) async fn check(&self, conn: &mut Connection, tenant: &Tenant) -> Result<Vec<String>, ServiceError> {
        let Some(model) = model_rows::get(conn, tenant, self.model).await? else {
            let problem = Problem::new(Code::ModelNotFound, format!("there is no model {}", self.model));
            return Err(problem.at("/model", "upload it with POST /v1/models").into());
        };
        if let Some(images) = self.images
            && image_sets::get(conn, tenant, images).await?.is_none()
        {
            let problem = Problem::new(Code::ImageSetNotFound, format!("there is no image set {images}"));
            return Err(problem.at("/images", "upload it with POST /v1/image-sets").into());
        }
        let analysis = models::analysis(&model)?;
        let blocks = self.blocks(&model, &analysis)?;
        self.check_batch(&analysis)?;
        self.check_inputs(&analysis)?;
        self.check_images(conn, &analysis).await?;
        Ok(blocks)
    }

    /// The blocks that may be dropped: droppable and not excluded.
    fn blocks(&self, model: &ModelRow, analysis: &Analysis) -> Result<Vec<String>, ServiceError> {
        self.check_excluded(analysis)?;
        let droppable: Vec<&BlockInfo> = analysis.blocks.iter().filter(|block| block.droppable).collect();
        let excluded = |block: &BlockInfo| self.config.exclude_blocks.iter().any(|name| block.is_named(name));
        let left: Vec<String> =
            droppable.iter().filter(|block| !excluded(block)).map(|block| block.name.clone()).collect();
        if droppable.is_empty() {
            return Err(nothing_droppable(model, analysis).into());
        }
        if left.is_empty() {
            let detail = format!("exclude_blocks leaves none of the {} droppable blocks", droppable.len());
            let problem = Problem::new(Code::NoDroppableBlock, detail);
            return Err(problem.at("/exclude_blocks", "take at least one name out").into());
        }
        Ok(left)
    }

    fn check_excluded(&self, analysis: &Analysis) -> Result<(), ServiceError> {
        let known = |name: &str| analysis.blocks.iter().any(|block| block.is_named(name));
        let unknown = self.config.exclude_blocks.iter().enumerate().filter(|(_, name)| !known(name));
        let faults: Vec<Fault> = unknown
            .map(|(index, name)| Fault {
                pointer: Some(format!("/exclude_blocks/{index}")),
                detail: format!("the model has no block {name:?}"),
                hint: Some(match config::nearest(name, analysis.blocks.iter().map(|block| block.name.as_str())) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "GET /v1/models/{id}/blocks lists the names".to_owned(),
                }),
                ..Fault::default()
            })
            .collect();
        match faults.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(Problem::new(Code::UnknownBlock, first.detail.clone()).with_errors(faults).into()),
        }
    }

    /// Every input beside the images needs a value, unless it takes images too.
    fn check_inputs(&self, analysis: &Analysis) -> Result<(), ServiceError> {
        let faults = companions::faults(&analysis.other_inputs, &self.config.inputs);
        let faults: Vec<Fault> = faults
            .into_iter()
            .map(|InputFault { name, detail, hint }| Fault {
                pointer: Some(format!("/inputs/{}", config::escape(&name))),
                detail,
                hint: Some(hint),
                ..Fault::default()
            })
            .collect();
        match faults.as_slice() {
            [] => Ok(()),
            [first, ..] => {
                Err(Problem::new(Code::ModelInterfaceUnsupported, first.detail.clone()).with_errors(faults).into())
            }
        }
    }

    /// A network with a fixed batch runs with no other.
    fn check_batch(&self, analysis: &Analysis) -> Result<(), ServiceError> {
        let asked = self.config.latency.batch;
        match size(analysis, 0).filter(|fixed| *fixed != asked) {
            None => Ok(()),
            Some(fixed) => {
                let detail = format!("the model's batch is fixed at {fixed}, and latency is to be measured at {asked}");
                let hint = format!("set it to {fixed}, or export the model with a dynamic batch");
                Err(Problem::new(Code::ModelInterfaceUnsupported, detail).at("/latency/batch", hint).into())
            }
        }
    }

    /// Every image must come out of the preprocessing at the size that the model takes.
    async fn check_images(&self, conn: &mut Connection, analysis: &Analysis) -> Result<(), ServiceError> {
        let (preprocess, input) = (&self.config.preprocess, input(analysis));
        let fits = match self.images {
            Some(images) => {
                let images = image_sets::images(conn, images).await?;
                let sizes = images
                    .iter()
                    .map(|image| (image.name.as_str(), image.width.cast_unsigned(), image.height.cast_unsigned()));
                preprocess.check_sizes(input, sizes)
            }
            None => preprocess.size_without_images(input),
        };
        match fits {
            Ok(_) => Ok(()),
            Err(error) => Err(faults::problem(&error.into()).into()),
        }
    }
}

/// What the model's image input takes, (N, C, H, W); sizes that are names are free.
fn input(analysis: &Analysis) -> ModelInput {
    let [_, channels, height, width] = analysis.image_layout.as_nchw(&[0, 1, 2, 3]);
    ModelInput { channels: size(analysis, channels), height: size(analysis, height), width: size(analysis, width) }
}

fn size(analysis: &Analysis, axis: usize) -> Option<usize> {
    let image = analysis.inputs.iter().find(|input| input.name == analysis.image_input);
    image.or(analysis.inputs.first())?.shape.get(axis)?.parse().ok()
}

fn nothing_droppable(model: &ModelRow, analysis: &Analysis) -> Problem {
    let detail = match analysis.blocks.len() {
        0 => format!("model {} has no residual addition at all", model.id),
        count => format!("none of the {count} residual additions of model {} can be dropped", model.id),
    };
    let reasons = analysis.blocks.iter().map(|block| Fault {
        node: Some(block.name.clone()),
        detail: block.reason.clone().unwrap_or_else(|| "not droppable".to_owned()),
        ..Fault::default()
    });
    Problem::new(Code::NoDroppableBlock, detail).with_errors(reasons.collect())
}

fn invalid(problems: Vec<FieldProblem>) -> Problem {
    let faults: Vec<Fault> = problems
        .into_iter()
        .map(|FieldProblem { pointer, detail, hint }| Fault {
            pointer: Some(pointer),
            detail,
            hint,
            ..Fault::default()
        })
        .collect();
    let detail = match faults.as_slice() {
        [one] => format!("{}: {}", one.pointer.as_deref().unwrap_or_default(), one.detail),
        several => format!("{} fields have faults; see errors", several.len()),
    };
    Problem::new(Code::InvalidJob, detail).with_errors(faults)
}

fn fault(pointer: &str, detail: impl Into<String>, hint: &str) -> FieldProblem {
    FieldProblem { pointer: pointer.to_owned(), detail: detail.into(), hint: Some(hint.to_owned()) }
}

fn id(body: &Map<String, Value>, key: &str, hint: &str, faults: &mut Vec<FieldProblem>) -> Option<Uuid> {
    let pointer = format!("/{key}");
    let found = match body.get(key) {
        None => Err(format!("{key} is missing")),
        Some(Value::String(text)) => text.parse().map_err(|_| format!("{text:?} is not an id")),
        Some(_) => Err("an id is a string".to_owned()),
    };
    found.map_err(|detail| faults.push(fault(&pointer, detail, hint))).ok()
}

fn metadata(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> Value {
    match body.get("metadata") {
        None => json!({}),
        Some(Value::Object(map)) if Value::Object(map.clone()).to_string().len() <= METADATA_BYTES => {
            Value::Object(map.clone())
        }
        Some(Value::Object(_)) => {
            faults.push(fault("/metadata", "metadata is over 16 KiB", "keep a reference here and the rest elsewhere"));
            json!({})
        }
        Some(_) => {
            faults.push(fault("/metadata", "metadata is an object", "for example {\"order\": \"42\"}"));
            json!({})
        }
    }
}

fn device(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> Option<String> {
    match body.get("device") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if (1..=64).contains(&text.trim().len()) => Some(text.trim().to_owned()),
        Some(other) => {
            let hint = "\"cpu\", \"cuda\", \"cuda:0\", or a part of a GPU's name, such as \"H100\"; null takes any";
            faults.push(fault("/device", format!("{other} names no device"), hint));
            None
        }
    }
}

fn priority(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> JobPriority {
    let Some(given) = body.get("priority") else { return JobPriority::default() };
    JobPriority::deserialize(given).unwrap_or_else(|_| {
        let hint = "\"low\", \"normal\" or \"high\"; \"normal\" where nothing is said";
        faults.push(fault("/priority", format!("{given} is no priority"), hint));
        JobPriority::default()
    })
}

fn deadline(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> u64 {
    match body.get("deadline_seconds") {
        None => DEADLINE,
        Some(value) => match value.as_u64().filter(|seconds| (1..=LONGEST_DEADLINE).contains(seconds)) {
            Some(seconds) => seconds,
            None => {
                let hint = "a whole number of seconds, at most 2592000 (thirty days)";
                faults.push(fault("/deadline_seconds", format!("{value} is no deadline"), hint));
                DEADLINE
            }
        },
    }
}
