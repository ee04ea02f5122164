//! From a job's JSON to its settings, or to everything that is wrong with them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::FieldProblem;
use super::{JobConfig, bounds};
use crate::json::{self, Mistake, Wrong, escape};
use crate::nearest::nearest;

/// The fields of [`JobConfig`] in a job's JSON.
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

/// Maximum number of fields of a body that are checked one by one.
const MOST_FIELDS: usize = 1000;

/// Unknown names for which the nearest known one is looked for: each costs a comparison with all known ones.
pub const GUESSES: usize = 3;

/// Reads a job's settings from the body of `POST /v1/jobs`; `also` names the fields that the caller reads itself. All
/// problems are reported at once.
pub fn parse(body: &Map<String, Value>, also: &[&str]) -> Result<JobConfig, Vec<FieldProblem>> {
    if body.len() > MOST_FIELDS {
        let detail = format!("the body has {} fields; a job has at most {}", body.len(), FIELDS.len() + also.len());
        return Err(vec![FieldProblem { pointer: String::new(), detail, hint: None }]);
    }
    let mut problems = unknown_fields(body, also);
    problems.extend(bounds::lengths(body));
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
    problems.extend(bounds::ranges(&config));
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn unknown_fields(body: &Map<String, Value>, also: &[&str]) -> Vec<FieldProblem> {
    let known: Vec<&str> = FIELDS.iter().chain(also).copied().collect();
    let unknown = body.keys().filter(|key| !known.contains(&key.as_str())).enumerate();
    unknown.map(|(index, key)| unknown_field(format!("/{}", escape(key)), key, &known, index < GUESSES)).collect()
}

fn unknown_field(pointer: String, key: &str, known: &[&str], guess: bool) -> FieldProblem {
    let hint = match guess.then(|| nearest(key, known.iter().copied())).flatten() {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known fields: {}", known.join(", ")),
    };
    let detail = Wrong::UnknownField { name: key.to_owned(), known: &[] }.to_string();
    FieldProblem { pointer, detail, hint: Some(hint) }
}

/// `{"latency_ms": 8, "blocks": 2}` is contradictory; the error explains more than a parser would.
fn one_target(body: &Map<String, Value>, problems: &mut Vec<FieldProblem>) -> bool {
    let detail = match body.get("target") {
        None => return true,
        Some(Value::Object(target)) if target.len() == 1 => return true,
        Some(Value::Object(target)) if target.is_empty() => {
            "a target needs exactly one kind, but this one has none".to_owned()
        }
        Some(Value::Object(target)) => {
            let given: Vec<String> = target.keys().take(3).map(|key| format!("\"{key}\"")).collect();
            format!("a target needs exactly one kind, but this one has {}", given.join(" and "))
        }
        Some(other) => format!("expected an object, got {}", json::told(other)),
    };
    let hint = "give one of {\"latency_reduction\": 0.2}, {\"latency_ms\": 8.0}, {\"blocks\": 2}".to_owned();
    problems.push(FieldProblem { pointer: "/target".into(), detail, hint: Some(hint) });
    false
}

fn read<T: DeserializeOwned>(body: &Map<String, Value>, key: &str, into: &mut T, problems: &mut Vec<FieldProblem>) {
    let Some(value) = body.get(key) else { return };
    // A list that is too long is reported already.
    if problems.iter().any(|problem| bounds::is_within(&problem.pointer, key)) {
        return;
    }
    match json::read(value) {
        Ok(parsed) => *into = parsed,
        Err(mistake) => problems.push(field_problem(key, mistake)),
    }
}

fn field_problem(key: &str, mistake: Mistake) -> FieldProblem {
    let (pointer, detail) = (format!("/{key}{}", mistake.pointer), mistake.to_string());
    match mistake.wrong {
        Wrong::UnknownField { name, known } => unknown_field(pointer, &name, known, true),
        Wrong::UnknownName { name, known } => {
            let hint = nearest(&name, known.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
            FieldProblem { pointer, detail, hint }
        }
        _ => FieldProblem { pointer, detail, hint: None },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Part, Recipe, Target};
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

    #[test]
    fn an_array_is_no_object_anywhere() {
        for field in ["preprocess", "target", "inputs", "recoverability", "quality_floor", "finetune", "latency"] {
            for array in [json!([]), json!([1]), json!([["closed_form", 1000]])] {
                let problems = parse_json(json!({ field: array })).expect_err("is refused");
                assert_eq!(problems[0].pointer, format!("/{field}"));
                assert_eq!(problems[0].detail, "expected an object, got an array", "{field}");
            }
        }
    }

    #[test]
    fn every_list_and_number_has_a_bound() {
        let cases = [
            (json!({"exclude_blocks": vec!["a"; 10_001]}), "/exclude_blocks"),
            (json!({"preprocess": {"mean": vec![0.0; 17]}}), "/preprocess/mean"),
            (json!({"preprocess": {"std": vec![1.0; 250_000]}}), "/preprocess/std"),
            (json!({"finetune": {"leave_out": vec!["start"; 4]}}), "/finetune/leave_out"),
            (json!({"finetune": {"leave_out": ["start", "start"]}}), "/finetune/leave_out"),
            (json!({"finetune": {"budget_seconds": u64::MAX}}), "/finetune/budget_seconds"),
            (json!({"recoverability": {"iterations": 0}}), "/recoverability/iterations"),
            (json!({"recoverability": {"iterations": 4_294_967_296_u64}}), "/recoverability/iterations"),
            (json!({"seed": 1e30}), "/seed"),
            (json!({"seed": -1}), "/seed"),
        ];
        for (body, pointer) in cases {
            let problems = parse_json(body).expect_err(pointer);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].pointer, pointer, "{problems:?}");
        }
        let inputs: Map<String, Value> = (0..1001).map(|index| (index.to_string(), json!(1))).collect();
        assert_eq!(parse_json(json!({ "inputs": inputs })).expect_err("too many")[0].pointer, "/inputs");
        let fields: Map<String, Value> = (0..200_000).map(|index| (index.to_string(), json!(1))).collect();
        assert_eq!(parse_json(fields.into()).expect_err("too many").len(), 1);
    }

    #[test]
    fn no_text_is_in_words_of_rust() {
        let wrong = json!({
            "preprocess": {"resize": "big"}, "recoverability": {"method": "guess"}, "selection": {"one_shot": 1},
            "quality_floor": {}, "exclude_blocks": {"a": 1}, "finetune": 3, "latency": {"batch": -1}, "seed": null,
            "inputs": {"age": "old"}, "target": {"blocks": 2.5},
        });
        let problems = parse_json(wrong).expect_err("all of them");
        assert_eq!(problems.len(), 10, "{problems:?}");
        for problem in problems {
            for word in ["struct", "enum", "u32", "u64", "usize", "f64", "variant", "sequence", "map", "untagged", "`"]
            {
                assert!(!problem.detail.contains(word), "{word}: {problem}");
            }
        }
    }

    #[test]
    fn the_nearest_name_is_looked_for_a_few_times_only() {
        let body: Map<String, Value> = (0..10).map(|index| (format!("targe{index}"), json!(1))).collect();
        let problems = parse_json(body.into()).expect_err("unknown");
        let guessed =
            problems.iter().filter(|problem| problem.hint.as_deref().is_some_and(|hint| hint.contains("mean")));
        assert_eq!((problems.len(), guessed.count()), (10, GUESSES));
        assert_eq!(nearest(&"x".repeat(100_000), ["x"]), None);
    }
}
