//! One tiny network of every family, as PyTorch exports it (`scripts/zoo --fixtures`): which blocks may go, what they are called, and
//! that the file without any one of them computes in ONNX Runtime what the student computes in memory.

use std::path::Path;

use practised::compress::file::{outputs, to_onnx, verify};
use practised::compress::student::Student;
use practised::exec::Device;
use practised::network::Network;
use serde_json::{Value, json};

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::noise;
use crate::support::uploads::image_zip;

/// Fixture, side of its images, names of the blocks that may go, residual additions that may not.
const FAMILIES: &[(&str, i64, &[&str], usize)] = &[
    ("c2f", 64, &["model.2.m.0", "model.4.m.0", "model.4.m.1", "model.6.m.0", "model.6.m.1", "model.8.m.0"], 0),
    ("c3", 64, &["model.2.m.0", "model.4.m.0", "model.4.m.1", "model.6.m.0", "model.6.m.1", "model.8.m.0"], 0),
    ("convnext", 32, &["features.1.0", "features.1.1", "features.3.0", "features.3.1"], 0),
    ("densenet", 32, &[], 0),
    ("efficientnet", 32, &["features.1.0", "features.2.1", "features.3.0", "features.3.1"], 0),
    ("efficientnet_lite", 32, &["blocks.0.0", "blocks.1.1", "blocks.2.0", "blocks.2.1"], 0),
    ("efficientnet_v2", 32, &["features.1.0", "features.2.1", "features.3.1"], 0),
    ("ghostnet", 32, &["blocks.2.0", "blocks.3.0"], 2),
    (
        "keras",
        32,
        &["functional_1.stage0_block0_add_1", "functional_1.stage0_block1_add_1", "functional_1.stage1_block1_add_1"],
        1,
    ),
    ("mnasnet", 32, &["layers.8.1", "layers.8.2", "layers.9.1", "layers.9.2", "layers.10.1", "layers.10.2"], 0),
    ("mobilenet_v2", 32, &["features.3", "features.4", "features.5"], 0),
    ("mobilenet_v3", 32, &["features.1", "features.3", "features.4"], 0),
    ("mobilenet_v4", 32, &["blocks.1.1", "blocks.1.2"], 0),
    ("regnet_x", 32, &["trunk_output.block1.block1-1", "trunk_output.block2.block2-1"], 2),
    ("regnet_y", 32, &["trunk_output.block1.block1-1", "trunk_output.block2.block2-1"], 2),
    ("regnet_z", 32, &["stages.0.1", "stages.1.1"], 0),
    ("repvgg", 32, &[], 2),
    ("res2net", 32, &["layer1.1"], 6),
    ("resnet_basic", 32, &["layer1.1", "layer2.1"], 4),
    ("resnet_bottleneck", 32, &["layer1.1", "layer2.1"], 4),
    ("resnet_preactivation", 32, &["stages.0.blocks.1", "stages.1.blocks.1"], 2),
    ("resnet_thin", 32, &["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"], 2),
    ("resnet_wide", 32, &["layer1.1", "layer2.1"], 4),
    ("resnext", 32, &["layer1.1", "layer2.1"], 4),
    ("segmentation", 32, &["backbone.layer1.1", "backbone.layer2.1"], 4),
    ("seresnet", 32, &["layer1.1", "layer2.1"], 4),
    ("several_inputs", 32, &["stage", "joint.0", "joint.1"], 0),
    ("swin", 32, &["features.1.0.attn", "features.1.0.mlp", "features.1.1.attn", "features.1.1.mlp"], 0),
    ("two_outputs", 32, &["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"], 2),
    ("vgg", 32, &[], 0),
    (
        "vit",
        32,
        &[
            "encoder.layers.encoder_layer_0.self_attention",
            "encoder.layers.encoder_layer_0.mlp",
            "encoder.layers.encoder_layer_1.self_attention",
            "encoder.layers.encoder_layer_1.mlp",
        ],
        0,
    ),
];

#[test]
fn every_family_has_its_blocks_by_name() {
    let problems: Vec<String> = FAMILIES
        .iter()
        .filter_map(|(family, _, expected, others)| {
            let network = load(family);
            let (droppable, fixed): (Vec<_>, Vec<_>) = network.blocks.iter().partition(|block| block.droppable());
            let names: Vec<&str> = droppable.iter().map(|block| block.name.as_str()).collect();
            let told = fixed.iter().all(|block| block.reason.is_some());
            (names != *expected || fixed.len() != *others || !told)
                .then(|| format!("(\"{family}\", {names:?}, {})", fixed.len()))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_block_of_every_family_goes_exactly() {
    let problems: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(family, side, names, _)| {
            let network = load(family);
            names
                .iter()
                .filter_map(|name| {
                    without(&network, name, *side).err().map(|error| format!("{family}: {name}: {error}"))
                })
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The whole way, with the binary: every block ranked, one dropped, the rest recovered, written, read back and measured.
#[test]
fn families_are_compressed_by_whole_jobs() {
    // Every third one, as each takes seconds of measuring; all with PRACTISED_ALL_FAMILIES.
    let step = if std::env::var_os("PRACTISED_ALL_FAMILIES").is_some() { 1 } else { 3 };
    let families = FAMILIES.iter().step_by(step);
    let problems: Vec<String> =
        families.filter_map(|(family, side, names, _)| whole_job(family, *side, names).err()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn whole_job(family: &str, side: i64, names: &[&str]) -> Result<(), String> {
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &file(family));
    desk.put("images.zip", &image_zip(12, side as u32));
    let inputs = if family == "several_inputs" { json!({"input_2": 0.5}) } else { json!({}) };
    // Two to choose between: measuring each of them is what takes the time.
    let others = names.get(2..).unwrap_or_default();
    let mut job = json!({"target": {"blocks": 1}, "exclude_blocks": others, "finetune": {"steps": 3}, "seed": 1,
        "inputs": inputs, "latency": {"rounds": 4}});
    desk.put("job.json", job.to_string().as_bytes());
    if names.is_empty() {
        let (code, said) = desk.refused(&COMPRESS);
        let refused = code == 2 && said.contains("no block of this network can be dropped");
        return if refused { Ok(()) } else { Err(format!("{family}: exit {code}: {said}")) };
    }
    let mut output = desk.run(&COMPRESS);
    let refused = String::from_utf8_lossy(&output.stderr).contains("no better than a constant");
    if refused {
        // Untrained, some answer nearly the same about all images. Such a student is delivered to who wants no recovery, with a word.
        job["finetune"] = json!(null);
        desk.put("job.json", job.to_string().as_bytes());
        output = desk.run(&COMPRESS);
    }
    if !output.status.success() {
        return Err(format!("{family}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    let warned = report["warnings"].as_array().expect("a list").iter().any(|w| w["code"] == "no_better_than_constant");
    let student = desk.path().join("out/student.onnx");
    let right = (is_whole(&report, names, &student) && (warned || !refused)) || claims_nothing(&report);
    if right { Ok(()) } else { Err(format!("{family}: {report}")) }
}

/// The host was too noisy for so small a network to show a gain: then nothing may be claimed, and the student is the teacher.
fn claims_nothing(report: &Value) -> bool {
    let measured =
        report["blocks"].as_array().expect("a list").iter().filter_map(|b| b["latency_reduction"]["low"].as_f64());
    let lows: Vec<f64> = measured.collect();
    let none_dropped = report["dropped_blocks"].as_array().is_some_and(Vec::is_empty);
    report["outcome"] == "target_unreachable" && none_dropped && !lows.is_empty() && lows.iter().all(|low| *low <= 0.0)
}

/// One of these blocks is gone, and the figures are there.
fn is_whole(report: &Value, names: &[&str], student: &Path) -> bool {
    let dropped = report["dropped_blocks"].as_array().expect("a list");
    let known = dropped.iter().all(|name| names.contains(&name.as_str().expect("a name")));
    let macs = |network: &str| report["size"][network]["macs"].as_u64().expect("a number");
    let lighter = macs("student") < macs("teacher") && macs("student") == macs_of(student);
    let measured = report["quality"]["feature_loss"].as_f64().is_some_and(f64::is_finite);
    report["outcome"] == "target_met" && dropped.len() == 1 && known && lighter && measured
}

fn macs_of(student: &Path) -> u64 {
    Network::load(&std::fs::read(student).expect("a student")).expect("a network").analysis().macs
}

#[test]
fn every_fixture_is_in_the_table() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .expect("fixtures")
        .map(|entry| entry.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut listed: Vec<&str> = FAMILIES.iter().map(|(family, ..)| *family).collect();
    listed.sort_unstable();
    assert_eq!(files, listed);
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures")
}

fn file(family: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{family}.onnx"))).expect("a fixture")
}

fn load(family: &str) -> Network {
    Network::load(&file(family)).unwrap_or_else(|error| panic!("{family}: {error}"))
}

/// The file without a block, read back: in ONNX Runtime, in the executor, and as it was in memory.
fn without(network: &Network, name: &str, side: i64) -> Result<f64, String> {
    let dropped = || {
        let block = network.block(name)?;
        let student = Student::dropped(network, &[block], Device::Cpu)?;
        let file = to_onnx(network, &[block], &student, &[])?;
        let images = noise(&[3, network.input.channels as i64, side, side], 1);
        verify(network, &file, &images, Some(&outputs(network, &student, &images)?), Device::Cpu)
    };
    dropped().map_err(|error: practised::compress::CompressError| error.to_string())
}
