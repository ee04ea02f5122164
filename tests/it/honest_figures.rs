//! What a report says of a student is true: agreement of classes alone, errors as a share of what a constant has, and a word when
//! a student is worth little.

use std::sync::Arc;

use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::onnx;
use serde_json::{Value, json};

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::uploads::image_zip;

const EVALUATE: [&str; 6] = ["evaluate", "model.onnx", "out/student.onnx", "--images", "images.zip", "--json"];

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        name: output.into(),
        op: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output.into()],
        ..Node::default()
    }
}

/// The default network with its ten numbers going through these operators, and its output under this name.
fn ending_in(ops: &[&str], output: &str) -> Vec<u8> {
    let mut graph = TinyResNet::default().graph();
    let mut value = "numbers".to_owned();
    graph.nodes.last_mut().expect("the last layer").outputs[0].clone_from(&value);
    for (at, op) in ops.iter().chain([&"Identity"]).enumerate() {
        let next = if at == ops.len() { output.to_owned() } else { format!("end{at}") };
        graph.nodes.push(node(op, &[&value], &next));
        value = next;
    }
    output.clone_into(&mut graph.outputs[0].name);
    onnx::encode_graph(&graph, 10).expect("writes")
}

fn desk(model: &[u8], job: Value) -> Desk {
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", model);
    desk.put("job.json", job.to_string().as_bytes());
    desk
}

fn few_steps() -> Value {
    // Few to choose between: measuring and scoring each is what takes the time.
    let others = &TinyResNet::default().droppable()[3..];
    json!({"target": {"blocks": 1}, "finetune": {"steps": 10}, "seed": 3, "quality_floor": {"agreement": 0.01}, "exclude_blocks": others,
        "latency": {"rounds": 4}})
}

fn codes(report: &Value) -> Vec<&str> {
    report["warnings"].as_array().expect("a list").iter().filter_map(|warning| warning["code"].as_str()).collect()
}

/// What `evaluate` says of the network without a block.
fn evaluation_of_a_drop(desk: &Desk) -> Value {
    let dropped = desk.run(&["drop", "model.onnx", "--block", "layer1.0", "--out", "dropped.onnx"]);
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    desk.json(&["evaluate", "model.onnx", "dropped.onnx", "--images", "images.zip", "--json"])
}

#[test]
fn numbers_that_nothing_shows_to_be_classes_get_errors_and_no_agreement() {
    for (ops, output) in [
        (&[][..], "landmarks"),
        (&[], "embedding"),
        (&[], "output"),
        (&["Sigmoid"], "output"),
        (&["Tanh"], "logits"),
        (&["LpNormalization"], "output"),
    ] {
        let evaluation = evaluation_of_a_drop(&desk(&ending_in(ops, output), json!({})));
        assert_eq!(evaluation["agreement"], Value::Null, "{ops:?} {output}: {evaluation}");
        assert!(evaluation["output_share"].as_f64().is_some_and(|share| share > 0.0), "{evaluation}");
    }
}

#[test]
fn a_job_on_numbers_that_are_no_classes_reports_errors_and_no_agreement() {
    let desk = desk(&ending_in(&["Sigmoid"], "output"), few_steps());
    let report = desk.json(&COMPRESS);
    let (quality, text) = (&report["quality"], report.to_string());
    assert!(!text.contains("agreement\":{"), "{text}");
    assert_eq!((&quality["classes_by"], &quality["top1"]), (&Value::Null, &Value::Null), "{text}");
    assert_eq!(quality["outputs"][0]["name"], "output");
    let error = quality["outputs"][0]["error"].as_f64().expect("an error");
    assert!(error > 0.0 && error < 1.0, "{quality}");
    assert!(codes(&report).contains(&"quality_floor_not_measured"), "{text}");
    let evaluation = desk.json(&EVALUATE);
    assert!(evaluation["output_share"].as_f64().expect("a share") < 1.0, "{evaluation}");
}

#[test]
fn classes_keep_their_agreement_and_say_what_shows_them() {
    for (ops, output, evidence) in
        [(&["Softmax"][..], "output", "softmax"), (&["LogSoftmax"], "features", "softmax"), (&[], "probs", "name")]
    {
        let evaluation = evaluation_of_a_drop(&desk(&ending_in(ops, output), json!({})));
        assert_eq!((&evaluation["classes_by"], evaluation["agreement"].is_object()), (&json!(evidence), true));
    }
    let job = json!({"target": {"blocks": 1}, "finetune": null, "seed": 3, "latency": {"rounds": 4}});
    let report = desk(&ending_in(&["Softmax"], "output"), job).json(&COMPRESS);
    assert_eq!(report["quality"]["classes_by"], "softmax", "{report}");
    assert!(report["quality"]["agreement"]["value"].is_f64(), "{report}");
}

#[test]
fn the_examples_classifier_is_known_by_its_weights() {
    let model = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-mnist/model.onnx"));
    let mut graph = onnx::decode(&model.expect("the example")).expect("decodes").graph;
    let last = graph.nodes.iter().position(|node| node.outputs[0] == "logits").expect("the head");
    graph.nodes[last].outputs[0] = "output".into();
    graph.outputs[0].name = "output".into();
    let desk = desk(&onnx::encode_graph(&graph, 10).expect("writes"), json!({}));
    let images = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-mnist/tiny-200.zip"));
    desk.put("images.zip", &images.expect("the example"));
    desk.put("preprocess.json", br#"{"divide_by": 255, "mean": [0.286], "std": [0.353]}"#);
    let files = ["evaluate", "model.onnx", "model.onnx", "--images", "images.zip", "--preprocess", "preprocess.json"];
    let evaluation = desk.json(&[&files[..], &["--json"]].concat());
    assert_eq!((&evaluation["classes_by"], &evaluation["agreement"]["value"]), (&json!("head"), &json!(1.0)));
}

#[test]
fn every_loss_is_told_as_a_share_too() {
    let desk = desk(&TinyResNet::default().bytes(), few_steps());
    let report = desk.json(&COMPRESS);
    let quality = &report["quality"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("a number in {report}"));
    let constant = number(&quality["constant_loss"]);
    for losses in [quality, &quality["before_finetune"], &report["curve"][0]] {
        let share = number(&losses["feature_share"]);
        assert!((share * constant / number(&losses["feature_loss"]) - 1.0).abs() < 1e-9, "{losses}");
    }
    for block in report["blocks"].as_array().expect("blocks").iter().filter(|block| block["droppable"] == true) {
        for loss in [&block["recoverability"], &block["recoverability"]["plain"]] {
            assert!((number(&loss["share"]) * constant / number(&loss["held_out"]) - 1.0).abs() < 1e-9, "{loss}");
        }
    }
    let output = &quality["outputs"][0];
    assert_eq!(output["name"], "logits");
    assert!(number(&output["error"]) < number(&output["error_before_finetune"]), "{output}");
    assert!(number(&output["error_refit"]) < number(&output["error_before_finetune"]), "{output}");
}

/// Pictures, pooled, times -2: the block adds three times their negative, and nothing around it could make up for that.
fn nothing_to_recover_with() -> Vec<u8> {
    let (side, width) = (32, 48);
    let picture = |batch: &str, rest: &[usize]| ValueType {
        dtype: DataType::Float32,
        shape: Some(std::iter::once(Dim::Symbol(batch.into())).chain(rest.iter().copied().map(Dim::Known)).collect()),
    };
    let sign = |channel: usize| if channel < width / 2 { 1.0 } else { -1.0 };
    let (mut into, mut back) = (vec![0.0; width * 3 * 9], vec![0.0; 3 * width * 9]);
    for channel in 0..width {
        // x = relu(x) − relu(−x), eight times over.
        into[(channel * 3 + channel % 3) * 9 + 4] = sign(channel);
        back[(channel % 3 * width + channel) * 9 + 4] = -3.0 * sign(channel) / (width / 6) as f32;
    }
    let conv = |inputs: &[&str], output: &str| {
        let mut conv = node("Conv", inputs, output);
        conv.attrs.set("pads", Attribute::Ints(vec![1; 4]));
        conv
    };
    let mut pool = node("MaxPool", &["input"], "pooled");
    pool.attrs.set("kernel_shape", Attribute::Ints(vec![3, 3]));
    pool.attrs.set("pads", Attribute::Ints(vec![1; 4]));
    let graph = Graph {
        opsets: [(String::new(), 17)].into(),
        inputs: vec![ValueInfo { name: "input".into(), ty: picture("N", &[3, side, side]) }],
        outputs: vec![ValueInfo { name: "output".into(), ty: picture("N", &[3]) }],
        nodes: vec![
            pool,
            conv(&["pooled", "into"], "wide"),
            node("Relu", &["wide"], "positive"),
            conv(&["positive", "back"], "branch"),
            node("Add", &["pooled", "branch"], "sum"),
            node("GlobalAveragePool", &["sum"], "mean"),
            node("Flatten", &["mean"], "output"),
        ],
        initializers: [
            ("into".to_owned(), Arc::new(TensorData::from_f32(&[width, 3, 3, 3], &into))),
            ("back".to_owned(), Arc::new(TensorData::from_f32(&[3, width, 3, 3], &back))),
        ]
        .into_iter()
        .collect(),
        ..Graph::default()
    };
    onnx::encode_graph(&graph, 8).expect("writes")
}

#[test]
fn a_student_no_better_than_a_constant_is_no_success() {
    let desk = desk(
        &nothing_to_recover_with(),
        json!({"target": {"blocks": 1}, "finetune": {"steps": 5}, "seed": 3, "latency": {"rounds": 4}}),
    );
    desk.put("images.zip", &image_zip(24, 32));
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("no better than a constant") && said.contains("drop fewer blocks"), "{said}");
    assert!(!desk.path().join("out/student.onnx").exists(), "nothing is delivered");

    desk.put(
        "job.json",
        json!({"target": {"blocks": 1}, "finetune": null, "seed": 3, "latency": {"rounds": 4}}).to_string().as_bytes(),
    );
    let report = desk.json(&COMPRESS);
    let error = report["quality"]["outputs"][0]["error"].as_f64().expect("an error");
    assert!(error > 1.0 && codes(&report).contains(&"no_better_than_constant"), "as dropped it is asked for: {report}");
}

#[test]
fn an_output_that_never_changes_is_named() {
    let mut graph = TinyResNet::default().graph();
    graph.nodes.push(node("Sub", &["logits", "logits"], "nothing"));
    let mut nothing = graph.outputs[0].clone();
    nothing.name = "nothing".into();
    graph.outputs.push(nothing);
    let desk = desk(&onnx::encode_graph(&graph, 10).expect("writes"), few_steps());
    let report = desk.json(&COMPRESS);
    let warnings = report["warnings"].as_array().expect("a list");
    let said = warnings.iter().find(|warning| warning["code"] == "constant_output").expect("it is said");
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("\"nothing\"")), "{said}");
    assert_eq!(report["quality"]["outputs"][1]["error"], Value::Null, "no figure that only looks like one");
}

#[test]
fn without_any_recovery_blocks_are_ranked_by_the_plain_drop_and_low_agreement_is_said() {
    let net = TinyResNet { blocks: 3, ..TinyResNet::default() };
    let desk =
        desk(&net.bytes(), json!({"target": {"blocks": 4}, "finetune": null, "seed": 3, "latency": {"rounds": 4}}));
    let report = desk.json(&COMPRESS);
    let scored: Vec<&Value> =
        report["blocks"].as_array().expect("blocks").iter().filter(|block| block["score"].is_f64()).collect();
    assert!(!scored.is_empty(), "{report}");
    for block in scored {
        let number = |value: &Value| value.as_f64().expect("a number");
        let plain =
            number(&block["recoverability"]["plain"]["held_out"]) / number(&block["latency_reduction"]["value"]);
        assert!((number(&block["score"]) / plain - 1.0).abs() < 1e-9, "{block}");
    }
    let agreement = report["quality"]["agreement"]["value"].as_f64().expect("an agreement");
    assert_eq!(codes(&report).contains(&"low_agreement"), agreement < 0.8, "{report}");
    assert!(agreement < 0.8, "four blocks of six are missed: {agreement}");
    assert!(!desk.path().join("out/student_refit.onnx").exists(), "nothing was refitted");
}

#[test]
fn no_steps_refit_and_the_refitted_student_is_there_beside_the_trained_one() {
    for steps in [0, 10] {
        let job = json!({"target": {"blocks": 1}, "finetune": {"steps": steps}, "seed": 3, "latency": {"rounds": 4}});
        let desk = desk(&TinyResNet::default().bytes(), job);
        let report = desk.json(&COMPRESS);
        let loss = |quality: &Value| quality["feature_loss"].as_f64().unwrap_or_else(|| panic!("a loss in {report}"));
        let quality = &report["quality"];
        // Steps that lower nothing are undone.
        let same = steps == 0 || report["finetune"]["recovery_rolled_back"] == true;
        assert!(loss(&quality["refit"]) < loss(&quality["before_finetune"]), "{quality}");
        assert_eq!(loss(&quality["refit"]) == loss(quality), same, "{quality}");
        let files = ["evaluate", "out/student_refit.onnx", "out/student.onnx", "--images", "images.zip", "--json"];
        assert_eq!(desk.json(&files)["output_mse"] == 0.0, same, "with {steps} steps");
    }
}
