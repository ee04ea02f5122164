//! From a job's JSON to its wishes, or to everything that is wrong with them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{JobConfig, QualityFloor, Recipe, Target};
use crate::compress::precision::Precision;

/// One thing that is wrong with a job's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// JSON pointer to the field.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
    /// The way out, where one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The fields of [`JobConfig`] as they stand in JSON.
pub const FIELDS: [&str; 10] = [
    "preprocess",
    "target",
    "inputs",
    "recoverability",
    "selection",
    "quality_floor",
    "exclude_blocks",
    "finetune",
    "latency",
    "seed",
];

/// Reads a job's wishes from the body of `POST /v1/jobs`; `also` names the fields that the caller reads itself. All
/// problems are reported at once.
pub fn parse(body: &Map<String, Value>, also: &[&str]) -> Result<JobConfig, Vec<FieldProblem>> {
    let mut problems = unknown_fields(body, also);
    let mut config = JobConfig::default();
    read(body, "preprocess", &mut config.preprocess, &mut problems);
    read(body, "recoverability", &mut config.recoverability, &mut problems);
    read(body, "selection", &mut config.selection, &mut problems);
    read(body, "quality_floor", &mut config.quality_floor, &mut problems);
    read(body, "exclude_blocks", &mut config.exclude_blocks, &mut problems);
    read(body, "finetune", &mut config.finetune, &mut problems);
    read(body, "latency", &mut config.latency, &mut problems);
    read(body, "seed", &mut config.seed, &mut problems);
    read(body, "inputs", &mut config.inputs, &mut problems);
    if one_target(body, &mut problems) {
        read(body, "target", &mut config.target, &mut problems);
    }
    check_ranges(&config, &mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn unknown_fields(body: &Map<String, Value>, also: &[&str]) -> Vec<FieldProblem> {
    let known: Vec<&str> = FIELDS.iter().chain(also).copied().collect();
    let unknown = body.keys().filter(|key| !known.contains(&key.as_str()));
    unknown.map(|key| unknown_field("", key, &known)).collect()
}

fn unknown_field(parent: &str, key: &str, known: &[&str]) -> FieldProblem {
    let hint = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known here: {}", known.join(", ")),
    };
    FieldProblem {
        pointer: format!("{parent}/{}", escape(key)),
        detail: format!("unknown field \"{key}\""),
        hint: Some(hint),
    }
}

/// The known name that is most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|k| (strsim::jaro_winkler(name, k), k));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}

/// `{"latency_ms": 8, "blocks": 2}` is a contradiction that deserves better words than a parser's.
fn one_target(body: &Map<String, Value>, problems: &mut Vec<FieldProblem>) -> bool {
    let Some(Value::Object(target)) = body.get("target") else { return true };
    if target.len() == 1 {
        return true;
    }
    let given = target.keys().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(" and ");
    problems.push(FieldProblem {
        pointer: "/target".into(),
        detail: format!("a target has one kind, this one has {}", if given.is_empty() { "none".into() } else { given }),
        hint: Some("give one of {\"latency_reduction\": 0.2}, {\"latency_ms\": 8.0}, {\"blocks\": 2}".into()),
    });
    false
}

fn read<T: DeserializeOwned>(body: &Map<String, Value>, key: &str, into: &mut T, problems: &mut Vec<FieldProblem>) {
    let Some(value) = body.get(key) else { return };
    match serde_path_to_error::deserialize(value.clone()) {
        Ok(parsed) => *into = parsed,
        Err(error) => problems.push(field_problem(key, &error)),
    }
}

fn field_problem(key: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> FieldProblem {
    let mut pointer = format!("/{key}");
    for segment in error.path().iter() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => pointer += &format!("/{index}"),
            serde_path_to_error::Segment::Map { key } => pointer += &format!("/{}", escape(key)),
            _ => {}
        }
    }
    let message = error.inner().to_string();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let [unknown, known @ ..] = quoted.as_slice() else { return FieldProblem { pointer, detail: message, hint: None } };
    if message.starts_with("unknown field") {
        // serde's path already ends in the unknown field.
        let parent = pointer.strip_suffix(&format!("/{}", escape(unknown))).unwrap_or(&pointer).to_owned();
        return unknown_field(&parent, unknown, known);
    }
    if message.starts_with("unknown variant") {
        let hint = nearest(unknown, known.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
        let hint = hint.or_else(|| Some(format!("offered here: {}", known.join(", "))));
        return FieldProblem { pointer, detail: format!("\"{unknown}\" is not offered"), hint };
    }
    FieldProblem { pointer, detail: message, hint: None }
}

/// A name as a segment of a JSON pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn check_ranges(config: &JobConfig, problems: &mut Vec<FieldProblem>) {
    let mut require = |holds: bool, pointer: &str, detail: &str| {
        if !holds {
            problems.push(FieldProblem { pointer: pointer.into(), detail: detail.into(), hint: None });
        }
    };
    match config.target {
        Target::LatencyReduction(r) => {
            require(
                r > 0.0 && r < 1.0,
                "/target/latency_reduction",
                "a latency reduction lies above 0 and below 1 (0.2 is 20 %)",
            );
        }
        Target::LatencyMs(ms) => require(ms > 0.0 && ms.is_finite(), "/target/latency_ms", "a latency is above 0 ms"),
        Target::Blocks(k) => require(k >= 1, "/target/blocks", "at least one block has to go"),
    }
    if let Some(QualityFloor { agreement }) = config.quality_floor {
        require(
            agreement > 0.0 && agreement <= 1.0,
            "/quality_floor/agreement",
            "an agreement lies above 0 and at most at 1 (0.9 is 90 %)",
        );
    }
    require(config.recoverability.iterations <= 100_000, "/recoverability/iterations", "at most 100000 iterations");
    if let Some(finetune) = &config.finetune.0 {
        require(
            finetune.steps.is_none_or(|steps| steps <= 1_000_000),
            "/finetune/steps",
            "at most 1000000 steps; 0 refits what is refitted without steps",
        );
        require(
            !(finetune.hints && finetune.recipe == Recipe::Paper),
            "/finetune/hints",
            "hints are for the recipe \"practised\"; the paper's has none",
        );
        require(
            finetune.leave_out.is_empty() || finetune.recipe == Recipe::Practised,
            "/finetune/leave_out",
            "only parts of the recipe \"practised\" can be left out",
        );
        require(
            finetune.precision != Some(Precision::Bfloat16) || finetune.recipe == Recipe::Practised,
            "/finetune/precision",
            "bfloat16 is for the recipe \"practised\"; the paper's computes in float32",
        );
        require(finetune.budget_seconds != Some(0), "/finetune/budget_seconds", "at least one second");
    }
    require((1..=1024).contains(&config.latency.batch), "/latency/batch", "a batch between 1 and 1024");
    require((1..=256).contains(&config.latency.threads), "/latency/threads", "between 1 and 256 threads");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Part;
    use super::*;

    fn parse_json(value: Value) -> Result<JobConfig, Vec<FieldProblem>> {
        parse(value.as_object().expect("an object"), &["model", "images"])
    }

    #[test]
    fn an_empty_body_gets_every_default() {
        let config = parse_json(json!({"model": "m"})).expect("defaults");
        assert_eq!(config, JobConfig::default());
        assert_eq!(config.target, Target::LatencyReduction(0.2));
        let finetune = config.finetune.0.expect("a recipe");
        assert_eq!((finetune.recipe, finetune.steps), (Recipe::Practised, None));
        assert!(finetune.mixing && finetune.hints);
    }

    #[test]
    fn steps_and_mixing_depend_on_the_recipe_and_the_size_where_nobody_says() {
        let finetune = |value| parse_json(json!({ "finetune": value })).expect("parses").finetune.0.expect("a recipe");
        let paper = finetune(json!({"recipe": "paper"}));
        assert_eq!((paper.steps_at(224 * 224, true), paper.mixing), (2000, false));
        let ours = finetune(json!({}));
        assert_eq!((ours.steps_at(96 * 96, false), ours.steps_at(224 * 224, false)), (450, 120));
        assert_eq!((ours.steps_at(96 * 96, true), ours.steps_at(224 * 224, true)), (900, 240));
        let mixed = finetune(json!({"recipe": "paper", "mixing": true, "steps": 7}));
        assert_eq!((mixed.steps_at(32 * 32, true), mixed.mixing), (7, true));
    }

    #[test]
    fn hints_are_ours_and_the_papers_recipe_has_none() {
        let finetune = |value| parse_json(json!({ "finetune": value }));
        let hints = |value| finetune(value).expect("parses").finetune.0.expect("a recipe").hints;
        assert!(hints(json!({})) && !hints(json!({"hints": false})) && !hints(json!({"recipe": "paper"})));
        let problems = finetune(json!({"recipe": "paper", "hints": true})).expect_err("is refused");
        assert_eq!(problems[0].pointer, "/finetune/hints");
    }

    #[test]
    fn parts_of_ours_can_be_left_out_and_nothing_of_the_papers() {
        let finetune = |value| parse_json(json!({ "finetune": value }));
        let ours =
            finetune(json!({"leave_out": ["start", "batch_norm"]})).expect("parses").finetune.0.expect("a recipe");
        assert_eq!([Part::Start, Part::Optimiser, Part::BatchNorm].map(|part| ours.has(part)), [false, true, false]);
        let problems = finetune(json!({"recipe": "paper", "leave_out": ["optimiser"]})).expect_err("is refused");
        assert_eq!(problems[0].pointer, "/finetune/leave_out");
    }

    #[test]
    fn resolved_values_read_back_as_themselves() {
        let config = parse_json(json!({"target": {"blocks": 2}, "finetune": null, "seed": 7})).expect("parses");
        let echoed = serde_json::to_value(&config).expect("serialises");
        assert_eq!(parse_json(echoed).expect("parses again"), config);
        assert!(config.finetune.0.is_none());
    }

    #[test]
    fn an_unknown_field_is_named_with_its_nearest_name() {
        let problems = parse_json(json!({"taget": {"blocks": 2}, "finetune": {"stepz": 3}})).expect_err("unknown");
        let found: Vec<_> = problems.iter().map(|p| (p.pointer.as_str(), p.hint.as_deref())).collect();
        assert_eq!(
            found,
            [("/taget", Some("did you mean \"target\"?")), ("/finetune/stepz", Some("did you mean \"steps\"?"))]
        );
    }

    #[test]
    fn two_kinds_of_target_are_a_contradiction() {
        let problems = parse_json(json!({"target": {"latency_ms": 8, "latency_reduction": 0.2}})).expect_err("two");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].pointer, "/target");
        assert!(problems[0].detail.contains("\"latency_ms\" and \"latency_reduction\""), "{}", problems[0].detail);
    }

    #[test]
    fn ill_typed_and_out_of_range_values_are_all_listed() {
        let body = json!({"target": {"latency_reduction": 22}, "seed": "seven", "latency": {"batch": 0}});
        let mut pointers: Vec<_> = parse_json(body).expect_err("three").into_iter().map(|p| p.pointer).collect();
        pointers.sort();
        assert_eq!(pointers, ["/latency/batch", "/seed", "/target/latency_reduction"]);
    }
}
