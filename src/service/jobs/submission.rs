//! The body of `POST /v1/jobs`: read whole, so that all faults are told at once. What does not fit what it names is
//! [`super::fitting`]'s.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::device::Wanted;
use crate::db::JobPriority;
use crate::ids::{ImageSetId, ModelId};
use crate::json as values;
use crate::problem::{Code, Fault, Problem};
use crate::service::ServiceError;
use crate::spec::config;
use crate::spec::config::{FieldProblem, JobConfig};

/// The fields that are read here; all others are settings of the compression.
const OURS: [&str; 6] = ["model", "images", "metadata", "deadline_seconds", "device", "priority"];

/// Seconds a job may take if its body says nothing: a day.
const DEADLINE: u64 = 24 * 3600;

/// Longest deadline: thirty days.
const LONGEST_DEADLINE: u64 = 30 * 24 * 3600;

/// Longest metadata as JSON text.
const METADATA_BYTES: usize = 16 << 10;

/// A body that was read.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) model: ModelId,
    /// `None` if pictures are to be made.
    pub(super) images: Option<ImageSetId>,
    pub(super) config: JobConfig,
    pub(super) metadata: Value,
    pub(super) deadline_seconds: u64,
    /// What it may be computed on.
    pub(super) device: Option<Wanted>,
    /// Whether it goes before others.
    pub(super) priority: JobPriority,
}

impl Submission {
    /// Reads a body, on a thread that may block; all that is wrong with it comes in one refusal.
    pub(super) fn read(body: &Map<String, Value>) -> Result<Self, ServiceError> {
        let mut faults = Vec::new();
        let model = id(body, "model", "the id that POST /v1/models returned", &mut faults);
        let images = match body.get("images") {
            None | Some(Value::Null) => None,
            Some(_) => id(
                body,
                "images",
                "the id that POST /v1/image-sets returned, or null to use synthetic images",
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

    /// The same on a thread for it: a body may be large.
    ///
    /// # Errors
    /// All that is wrong with it, as one refusal.
    pub(super) async fn read_apart(body: Map<String, Value>) -> Result<Self, ServiceError> {
        tokio::task::spawn_blocking(move || Self::read(&body)).await?
    }
}

fn invalid(problems: Vec<FieldProblem>) -> Problem {
    let detail = match problems.as_slice() {
        [one] => format!("{}: {}", one.pointer, one.detail),
        several => format!("{} fields are invalid; see errors", several.len()),
    };
    Problem::new(Code::InvalidJob, detail).with_errors(problems.into_iter().map(Fault::from))
}

fn fault(pointer: impl Into<String>, detail: impl Into<String>, hint: &str) -> FieldProblem {
    FieldProblem { pointer: pointer.into(), detail: detail.into(), hint: Some(hint.to_owned()) }
}

fn id(body: &Map<String, Value>, key: &str, hint: &str, faults: &mut Vec<FieldProblem>) -> Option<Uuid> {
    let found = match body.get(key) {
        None => Err(format!("{key} is missing")),
        Some(Value::String(text)) => text.parse().map_err(|_| format!("{} is not an id", values::told(&body[key]))),
        Some(other) => Err(format!("expected an id as a string, got {}", values::told(other))),
    };
    found.map_err(|detail| faults.push(fault(format!("/{key}"), detail, hint))).ok()
}

fn metadata(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> Value {
    let Some(given) = body.get("metadata") else { return json!({}) };
    let refusal = if !given.is_object() {
        let detail = format!("expected an object, got {}", values::told(given));
        Some(fault("/metadata", detail, "for example {\"order\": \"42\"}"))
    } else if given.to_string().len() > METADATA_BYTES {
        Some(fault("/metadata", "metadata is over 16 KiB", "store a reference here and the data elsewhere"))
    } else {
        let nul = values::find_nul(given);
        nul.map(|at| {
            fault(format!("/metadata{at}"), "the text contains a NUL character (\\u0000)", "remove the character")
        })
    };
    match refusal {
        None => given.clone(),
        Some(refusal) => {
            faults.push(refusal);
            json!({})
        }
    }
}

fn device(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> Option<Wanted> {
    let wanted = match body.get("device") {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => {
            text.parse().map_err(|why: &str| format!("{}: {why}", values::told(&body["device"])))
        }
        Some(other) => Err(format!("expected a string or null, got {}", values::told(other))),
    };
    wanted.map_err(|detail| faults.push(fault("/device", detail, Wanted::FORMS))).ok()
}

fn priority(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> JobPriority {
    let Some(given) = body.get("priority") else { return JobPriority::default() };
    values::read(given).unwrap_or_else(|mistake| {
        let hint = "\"low\", \"normal\" or \"high\"; the default is \"normal\"";
        faults.push(fault("/priority", mistake.to_string(), hint));
        JobPriority::default()
    })
}

fn deadline(body: &Map<String, Value>, faults: &mut Vec<FieldProblem>) -> u64 {
    let Some(given) = body.get("deadline_seconds") else { return DEADLINE };
    match given.as_u64().filter(|seconds| (1..=LONGEST_DEADLINE).contains(seconds)) {
        Some(seconds) => seconds,
        None => {
            let hint = "a whole number of seconds, from 1 to 2592000 (thirty days)";
            faults.push(fault("/deadline_seconds", format!("{} is not a valid deadline", values::told(given)), hint));
            DEADLINE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(changes: Value) -> Vec<String> {
        let mut body = json!({ "model": Uuid::nil() });
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        match Submission::read(body.as_object().expect("an object")) {
            Ok(_) => Vec::new(),
            Err(ServiceError::Refused(problem)) => {
                problem.errors.into_iter().filter_map(|fault| fault.pointer).collect()
            }
            Err(other) => panic!("no refusal: {other}"),
        }
    }

    #[test]
    fn nul_characters_are_refused_in_metadata_at_any_depth() {
        assert_eq!(places(json!({ "metadata": {"a": [{"b": "x\0"}]} })), ["/metadata/a/0/b"]);
        assert_eq!(places(json!({ "metadata": {"a": {"b\0": 1}} })), ["/metadata/a/b\u{FFFD}"]);
        assert_eq!(places(json!({ "metadata": {"a": {"b": "\u{1}\u{FFFF}\u{10FFFF}"}} })), [""; 0]);
    }

    #[test]
    fn fields_of_ours_take_what_they_say() {
        for wrong in
            [json!([]), json!([1]), json!({}), json!(1.5), json!(true), json!("\0"), json!("x".repeat(100_000))]
        {
            for field in ["model", "images", "device", "priority", "deadline_seconds", "metadata"] {
                if (field, &wrong) != ("metadata", &json!({})) {
                    assert_eq!(places(json!({ field: wrong })), [format!("/{field}")]);
                }
            }
        }
    }
}
