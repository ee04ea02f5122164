//! Limits of a job's settings: lengths, which are checked before anything is parsed, and ranges of numbers.

use serde_json::{Map, Value};

use super::problem::FieldProblem;
use super::recipe::{FinetuneConfig, Precision, Recipe};
use super::{JobConfig, QualityFloor, Target};

/// Maximum number of entries of every list, and of every object with the customer's names.
const LENGTHS: [(&str, usize); 5] = [
    ("/exclude_blocks", 10_000),
    ("/inputs", 1000),
    ("/preprocess/mean", 16),
    ("/preprocess/std", 16),
    ("/finetune/leave_out", 3),
];

/// Maximum time budget in seconds: the longest deadline of a job, thirty days.
const LONGEST_BUDGET: u64 = 30 * 24 * 3600;

/// Lists of a job's body that are too long.
pub(super) fn lengths(body: &Map<String, Value>) -> Vec<FieldProblem> {
    let too_long = |(pointer, most): &(&str, usize)| {
        let length = match find(body, pointer)? {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => return None,
        };
        let detail = format!("{length} entries; at most {most} are allowed");
        (length > *most).then(|| FieldProblem { pointer: (*pointer).to_owned(), detail, hint: None })
    };
    LENGTHS.iter().filter_map(too_long).collect()
}

/// `Value::pointer` for a body that is not wrapped in a value.
fn find<'a>(body: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (key, rest) = pointer[1..].split_once('/').unwrap_or((&pointer[1..], ""));
    let value = body.get(key)?;
    if rest.is_empty() { Some(value) } else { value.get(rest) }
}

/// True if the pointer leads to the field or into it.
pub(super) fn is_within(pointer: &str, field: &str) -> bool {
    let rest = pointer.strip_prefix('/').and_then(|pointer| pointer.strip_prefix(field));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Numbers out of range, and settings that exclude each other.
pub(super) fn ranges(config: &JobConfig) -> Vec<FieldProblem> {
    let mut rules = target(config.target);
    if let Some(QualityFloor { agreement }) = config.quality_floor {
        rules.push((
            agreement > 0.0 && agreement <= 1.0,
            "/quality_floor/agreement",
            "an agreement must be above 0 and at most 1 (0.9 is 90 %)",
        ));
    }
    let iterations = (1..=100_000).contains(&config.recoverability.iterations);
    rules.push((iterations, "/recoverability/iterations", "the number of iterations must be between 1 and 100000"));
    rules.extend(config.finetune.0.iter().flat_map(finetune));
    rules.push(((1..=1024).contains(&config.latency.batch), "/latency/batch", "the batch must be between 1 and 1024"));
    rules.push((
        (1..=256).contains(&config.latency.threads),
        "/latency/threads",
        "the number of threads must be between 1 and 256",
    ));
    rules.push((
        (3..=24).contains(&config.latency.rounds),
        "/latency/rounds",
        "the number of rounds must be between 3 and 24",
    ));
    let broken = rules.into_iter().filter(|(holds, _, _)| !holds);
    broken
        .map(|(_, pointer, detail)| FieldProblem { pointer: pointer.into(), detail: detail.into(), hint: None })
        .collect()
}

/// Whether the rule holds, the JSON pointer of its field, and the message if it does not hold.
type Rule = (bool, &'static str, &'static str);

fn target(target: Target) -> Vec<Rule> {
    vec![match target {
        Target::LatencyReduction(share) => (
            share > 0.0 && share < 1.0,
            "/target/latency_reduction",
            "a latency reduction must be above 0 and below 1 (0.2 is 20 %)",
        ),
        Target::LatencyMs(ms) => (ms > 0.0 && ms.is_finite(), "/target/latency_ms", "a latency must be above 0 ms"),
        Target::Blocks(count) => (count >= 1, "/target/blocks", "the number of blocks must be at least 1"),
    }]
}

fn finetune(finetune: &FinetuneConfig) -> Vec<Rule> {
    let ours = finetune.recipe == Recipe::Practised;
    let parts = &finetune.leave_out;
    let twice = parts.iter().enumerate().any(|(index, part)| parts[..index].contains(part));
    vec![
        (
            finetune.steps.is_none_or(|steps| steps <= 1_000_000),
            "/finetune/steps",
            "the number of steps must be at most 1000000; 0 refits without training",
        ),
        (!finetune.hints || ours, "/finetune/hints", "hints are only available with the recipe \"practised\""),
        (parts.is_empty() || ours, "/finetune/leave_out", "only parts of the recipe \"practised\" can be left out"),
        (!twice, "/finetune/leave_out", "a part is listed twice"),
        (
            finetune.precision != Some(Precision::Bfloat16) || ours,
            "/finetune/precision",
            "bfloat16 is only available with the recipe \"practised\"; the paper's recipe uses float32",
        ),
        (
            finetune.budget_seconds.is_none_or(|seconds| (1..=LONGEST_BUDGET).contains(&seconds)),
            "/finetune/budget_seconds",
            "the budget must be between 1 and 2592000 seconds (thirty days)",
        ),
    ]
}
