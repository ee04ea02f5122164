//! The command line, through the real binary: what it prints, the files it leaves, and its exit codes.

use practised::onnx;
use serde_json::{Value, json};

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::{Batch, BatchNorm, TinyResNet};
use crate::support::uploads::image_zip;

#[test]
fn check_lists_the_blocks_as_a_table_and_as_json() {
    let net = TinyResNet { blocks: 3, ..TinyResNet::default() };
    let desk = Desk::new(&net);
    let checked = desk.json(&["check", "model.onnx", "--json"]);
    let blocks = checked["blocks"].as_array().expect("blocks");
    let droppable = blocks.iter().filter(|block| block["droppable"] == true).map(|block| block["name"].as_str());
    assert_eq!(droppable.map(|name| name.expect("a name").to_owned()).collect::<Vec<_>>(), net.droppable());
    let table = String::from_utf8(desk.run(&["check", "model.onnx"]).stdout).expect("text");
    assert!(table.contains("5 droppable blocks of 6 residual additions"), "{table}");
    assert!(table.contains("projection shortcut"), "{table}");
}

#[test]
fn compress_leaves_a_smaller_network_that_evaluate_and_the_report_agree_about() {
    for (bn, method, recipe) in
        [(BatchNorm::Kept, "closed_form", "practised"), (BatchNorm::Folded, "adapters", "paper")]
    {
        let net = TinyResNet { bn, branch: 0.3, ..TinyResNet::default() };
        let desk = Desk::new(&net);
        let mut job = desk.job();
        if method == "adapters" {
            job["recoverability"]["method"] = method.into();
            job["finetune"]["recipe"] = recipe.into();
            desk.put("job.json", job.to_string().as_bytes());
        }
        let report = desk.json(&COMPRESS);
        assert_eq!(report["reproduce"]["seed"], 3);
        let config = &report["reproduce"]["config"];
        assert_eq!(
            (&config["recoverability"]["method"], &config["finetune"]["recipe"]),
            (&json!(method), &json!(recipe))
        );
        assert_eq!(report["quality"]["images"], json!({"fit": 16, "held_out": 8, "synthetic": 0}));
        let scored =
            report["blocks"].as_array().expect("blocks").iter().filter(|block| block["recoverability"].is_object());
        assert_eq!(scored.count(), net.droppable().len(), "every candidate is scored");
        let kept: Value =
            serde_json::from_slice(&std::fs::read(desk.path().join("out/report.json")).expect("a report"))
                .expect("JSON");
        assert_eq!(kept, report);

        let mode = |path: &str| std::fs::metadata(desk.path().join(path)).expect("a file").permissions();
        assert_eq!(mode("out/student.onnx"), mode("job.json"), "as readable as any file");
        let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
        let nodes = onnx::decode(&student).expect("decodes").graph.nodes.len();
        let dropped = report["dropped_blocks"].as_array().expect("names").len();
        if report["outcome"] == "target_met" {
            assert_eq!(dropped, 1);
            assert!(nodes < net.graph().nodes.len(), "the block's nodes are gone");
            let curve = report["curve"].as_array().expect("a curve");
            let scored = report["blocks"].as_array().expect("blocks").iter().filter(|block| block["score"].is_f64());
            assert_eq!(curve.len(), scored.count(), "the curve goes on to the last block");
            assert_eq!(curve[0]["feature_loss"], report["quality"]["before_finetune"]["feature_loss"]);
            let (before, after) = (&report["quality"]["before_finetune"], &report["quality"]);
            let loss = |quality: &Value| quality["feature_loss"].as_f64().expect("a loss");
            assert!(loss(after) <= loss(before), "what does not help is rolled back");
        } else {
            // Where the host is too noisy for so small a network to show a gain, nothing may be claimed.
            assert_eq!((dropped, nodes), (0, net.graph().nodes.len()));
        }
        let samples = std::fs::read_to_string(desk.path().join("out/latency_samples.csv")).expect("samples");
        let pairs = report["latency"]["pairs"].as_u64().expect("pairs") as usize;
        assert_eq!(samples.lines().count(), 1 + 2 * pairs, "raw samples of teacher and student are kept");

        let images = ["--images", "images.zip", "--json"];
        let itself = desk.json(&[&["evaluate", "model.onnx", "model.onnx"][..], &images].concat());
        assert_eq!((&itself["agreement"]["value"], &itself["output_mse"]), (&json!(1.0), &json!(0.0)));
        let compared = desk.json(&[&["evaluate", "model.onnx", "out/student.onnx"][..], &images].concat());
        assert_eq!(compared["images"], 24);
    }
}

#[test]
fn the_same_seed_gives_the_same_scores() {
    let desk = Desk::new(&TinyResNet::default());
    let recoverability = |report: &Value| -> Vec<Value> {
        report["blocks"].as_array().expect("blocks").iter().map(|block| block["recoverability"].clone()).collect()
    };
    let (once, twice) = (desk.json(&COMPRESS), desk.json(&COMPRESS));
    assert_eq!(recoverability(&once), recoverability(&twice));
}

#[test]
fn the_same_seed_and_the_same_blocks_give_the_same_student() {
    let net = TinyResNet::default();
    let desk = Desk::new(&net);
    // Which blocks go depends on what is measured; with one candidate nothing is left to choose.
    let job = json!({"target": {"blocks": 1}, "exclude_blocks": net.droppable()[1..], "finetune": {"steps": 20}, "latency": {"rounds": 4}});
    desk.put("job.json", job.to_string().as_bytes());
    let student = || {
        let report = desk.json(&COMPRESS);
        (report["dropped_blocks"].clone(), std::fs::read(desk.path().join("out/student.onnx")).expect("a student"))
    };
    let (once, twice) = (student(), student());
    if once.0 == twice.0 {
        assert!(once.1 == twice.1, "the same bytes");
    }
}

#[test]
fn scored_anew_after_each_drop_as_many_blocks_go() {
    let desk = Desk::new(&TinyResNet::default());
    let job = json!({"selection": "iterative", "target": {"blocks": 2}, "finetune": {"steps": 0}, "seed": 3, "latency": {"rounds": 4}});
    desk.put("job.json", job.to_string().as_bytes());
    let report = desk.json(&COMPRESS);
    assert_eq!(report["reproduce"]["config"]["selection"], "iterative");
    let names = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).expect("names");
    let (dropped, curve) = (names(&report["dropped_blocks"]), report["curve"].as_array().expect("a curve"));
    assert_eq!(curve.len(), dropped.len());
    for (count, point) in curve.iter().enumerate() {
        assert_eq!(names(&point["dropped"]), dropped[..=count], "each set holds the one before it");
    }
}

#[test]
fn a_quality_that_no_student_reaches_leaves_the_teacher() {
    let desk = Desk::new(&TinyResNet::default());
    let with_floor = |agreement: f64| {
        let job = json!({
            "target": {"blocks": 2}, "finetune": null, "seed": 3, "quality_floor": {"agreement": agreement},
        });
        desk.put("job.json", job.to_string().as_bytes());
        desk.json(&COMPRESS)
    };
    let free = with_floor(1e-6);
    assert_ne!(free["outcome"], "quality_floor_hit", "any student is good enough");
    assert!(free.get("given_up").is_none(), "{free}");
    let agreement = &free["quality"]["agreement"]["value"];
    if free["dropped_blocks"].as_array().is_some_and(Vec::is_empty) || agreement.as_f64() == Some(1.0) {
        return; // The host is too noisy for so small a network to show a gain, or nothing was lost.
    }
    let report = with_floor(1.0);
    assert_eq!(report["outcome"], "quality_floor_hit", "{report}");
    let given_up = report["given_up"].as_array().expect("sets that were given up");
    let sizes: Vec<usize> = given_up.iter().map(|set| set["dropped"].as_array().map_or(0, Vec::len)).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] == pair[1] + 1), "one block less at a time: {sizes:?}");
    let left = report["dropped_blocks"].as_array().map(Vec::len);
    assert_eq!(left, sizes.last().map(|last| last - 1), "{report}");
    assert_eq!(report["quality"]["agreement"]["value"], 1.0, "the student is as good as was asked for");
    let codes: Vec<&str> =
        report["warnings"].as_array().expect("a list").iter().filter_map(|w| w["code"].as_str()).collect();
    assert!(codes.contains(&"quality_floor_hit") && !codes.contains(&"nothing_dropped"), "{codes:?}");
}

#[test]
fn a_fixed_batch_is_compressed_at_that_batch() {
    let net = TinyResNet { batch: Batch::Fixed(2), ..TinyResNet::default() };
    let desk = Desk::new(&net);
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2);
    assert!(said.contains("batch is fixed at 2"), "{said}");
    let report = desk.json(&[&COMPRESS[..], &["--batch", "2"]].concat());
    assert_eq!(report["latency"]["batch"], 2);
    let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
    assert_eq!(onnx::decode(&student).expect("decodes").graph.inputs, net.graph().inputs, "the input is as it came");
}

#[test]
fn bad_input_is_named_with_the_way_out_and_leaves_nothing() {
    let desk = Desk::new(&TinyResNet::default());
    desk.put("weights.pt", b"\x80\x02}q\x00.");
    desk.put("text.onnx", b"this is no network at all, only words");
    desk.put("small.zip", &image_zip(3, 5));
    desk.put("wrong.json", br#"{"taget": {"blocks": 1}}"#);
    let cases: [(&[&str], &str); 6] = [
        (&["check", "absent.onnx"], "absent.onnx"),
        (&["check", "weights.pt"], "torch.onnx.export"),
        (&["check", "text.onnx"], "not an ONNX file"),
        (&["compress", "model.onnx", "--images", "small.zip", "--out", "gone"], "5×5"),
        (
            &["compress", "model.onnx", "--images", "images.zip", "--job", "wrong.json", "--out", "gone"],
            "did you mean \"target\"?",
        ),
        (
            &["compress", "model.onnx", "--images", "images.zip", "--latency-reduction", "22", "--out", "gone"],
            "0.2 is 20 %",
        ),
    ];
    for (args, expected) in cases {
        let (code, said) = desk.refused(args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    assert!(!desk.path().join("gone").exists(), "nothing half-written stays");
}

#[test]
fn a_network_without_a_droppable_block_says_what_was_looked_at() {
    let desk = Desk::new(&TinyResNet { blocks: 1, ..TinyResNet::default() });
    let job = json!({"exclude_blocks": ["layer1.0"]});
    desk.put("job.json", job.to_string().as_bytes());
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2);
    assert!(said.contains("exclude_blocks"), "{said}");
    desk.put("job.json", json!({"exclude_blocks": ["layer1.9"]}).to_string().as_bytes());
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2);
    assert!(said.contains("did you mean \"layer1.0\"?"), "{said}");
}
