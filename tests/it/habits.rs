//! Habits of exporters: branches that were decided while tracing, weights in files of their own or in 16 bits, and several faults in
//! one file, of which each is told and none is made up.

use std::sync::Arc;

use practised::compress::file::{as_stored, outputs, to_onnx, verify};
use practised::exec::Device;
use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData};
use practised::network::Network;
use practised::network::analyse::analyse;
use practised::onnx;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::{Batch, Condition, TinyResNet, with_branch, with_weights_elsewhere};
use crate::support::noise;
use crate::support::scene::Scene;
use crate::support::service::TestApp;
use crate::support::uploads::zip;

fn position(graph: &Graph, op: &str, nth: usize) -> usize {
    graph.nodes.iter().enumerate().filter(|(_, node)| node.op == op).nth(nth).expect("such a node").0
}

#[test]
fn a_branch_that_is_decided_takes_the_place_of_its_if() {
    let graph = TinyResNet::default().graph();
    let plain = Network::load(&TinyResNet::default().bytes()).expect("loads");
    let images = noise(&[3, 3, 8, 8], 1);
    let weight = graph.nodes.iter().find(|node| node.op == "Conv").expect("one").inputs[1].clone();
    // The first size of a weight is known, whatever the batch is.
    for condition in [Condition::Constant(true), Condition::Constant(false), Condition::FirstSizeOf(&weight)] {
        for at in [position(&graph, "Relu", 1), position(&graph, "Relu", 3)] {
            let file = with_branch(&graph, at, condition);
            let network = Network::load(&file).unwrap_or_else(|error| panic!("{condition:?}: {error}"));
            assert_eq!(network.blocks.len(), plain.blocks.len(), "{condition:?}");
            assert!(network.graph.nodes.iter().all(|node| node.op != "If"));
            verify(&network, &file, &images, None, Device::Cpu).expect("the branch that ONNX Runtime takes");
            let block = network.droppable().expect("blocks")[0];
            let student =
                practised::compress::student::Student::dropped(&network, &[block], Device::Cpu).expect("drops");
            let exported = to_onnx(&network, &[block], &student, &[]).expect("exports");
            let reference = outputs(&network, &student, &images).expect("runs");
            verify(&network, &exported, &images, Some(&reference), Device::Cpu).expect("the student");
        }
    }
}

/// One `If` after the other uses the same names inside, and a convolution inside reads weights outside.
#[test]
fn branches_that_use_the_same_names_do_not_meet() {
    let graph = TinyResNet::default().graph();
    let once = with_branch(&graph, position(&graph, "Relu", 1), Condition::Constant(true));
    let mut once = onnx::decode(&once).expect("decodes").graph;
    practised::graph::inline_branches(&mut once);
    let twice = with_branch(&once, position(&once, "Conv", 2), Condition::Constant(true));
    let network = Network::load(&twice).expect("loads");
    let images = noise(&[3, 3, 8, 8], 1);
    let said = outputs(
        &network,
        &practised::compress::student::Student::teacher(&network, Device::Cpu).expect("runs"),
        &images,
    );
    let plain = Network::load(&TinyResNet::default().bytes()).expect("loads");
    let wanted =
        outputs(&plain, &practised::compress::student::Student::teacher(&plain, Device::Cpu).expect("runs"), &images);
    assert_eq!(said.expect("runs"), wanted.expect("runs"));
}

#[test]
fn a_branch_that_the_images_decide_is_still_refused() {
    let graph = TinyResNet::default().graph();
    let file = with_branch(&graph, position(&graph, "Relu", 1), Condition::FirstSizeOf("input"));
    let error = Network::load(&file).err().expect("the batch decides");
    assert_eq!(error.code().as_str(), "control_flow_unsupported", "{error}");
}

#[test]
fn a_batch_that_something_else_keeps_from_being_freed_is_no_fault_of_its_own() {
    let mut graph = TinyResNet { batch: Batch::Fixed(1), ..TinyResNet::default() }.graph();
    let at = position(&graph, "Relu", 2);
    graph.nodes[at].op = "QuickGelu".into();
    graph.nodes[at].domain = "com.microsoft".into();
    graph.opsets.insert("com.microsoft".into(), 1);
    let said = Network::load(&onnx::encode_graph(&graph, 10).expect("encodes")).err().expect("refused").to_string();
    assert!(said.contains("QuickGelu") && !said.contains("batch"), "{said}");
    assert_eq!(said.matches("QuickGelu").count(), 1, "{said}");

    let mut graph = TinyResNet { batch: Batch::Fixed(1), ..TinyResNet::default() }.graph();
    let slope = TensorData::from_f32(&[5], &[0.1; 5]);
    graph.initializers.insert("slope".into(), slope.into());
    let at = position(&graph, "Relu", 2);
    graph.nodes[at].op = "PRelu".into();
    graph.nodes[at].inputs.push("slope".into());
    let error = Network::load(&onnx::encode_graph(&graph, 10).expect("encodes")).err().expect("refused");
    assert!(error.code().as_str() == "model_invalid" && !error.to_string().contains("batch"), "{error}");
}

/// Every weight in 16 bits, and a `Cast` ahead of what reads it.
fn stored_in_16_bits(dtype: DataType) -> Vec<u8> {
    let mut graph = TinyResNet::default().graph();
    let names: Vec<String> = graph.initializers.keys().filter(|name| name.ends_with(".weight")).cloned().collect();
    for name in names {
        let wide = graph.initializers.shift_remove(&name).expect("a weight");
        let bytes = wide.to_f32().expect("floats").into_iter().flat_map(|value| match dtype {
            DataType::BFloat16 => half::bf16::from_f32(value).to_le_bytes(),
            _ => half::f16::from_f32(value).to_le_bytes(),
        });
        let narrow = TensorData { dtype, dims: wide.dims.clone(), bytes: bytes.collect() };
        graph.initializers.insert(format!("{name}/stored"), Arc::new(narrow));
        let mut cast =
            Node { op: "Cast".into(), inputs: vec![format!("{name}/stored")], outputs: vec![name], ..Node::default() };
        cast.attrs.set("to", Attribute::Int(1));
        graph.nodes.insert(0, cast);
    }
    onnx::encode_graph(&graph, 10).expect("encodes")
}

#[test]
fn weights_stored_in_16_bits_come_back_in_16_bits() {
    for dtype in [DataType::Float16, DataType::BFloat16] {
        let file = stored_in_16_bits(dtype);
        let scene = Scene::seeing(&file, noise(&[24, 3, 8, 8], 5), 8);
        let network = &scene.network;
        let name = network.droppable().expect("blocks")[0].name.clone();
        let (_, recovered) = scene.recover(&[&name], 6);
        let stored = as_stored(network, &recovered.student).expect("rounds").expect("there are such weights");
        let exported = to_onnx(network, &[network.block(&name).expect("a block")], &stored, &[]).expect("exports");
        let images = noise(&[3, 3, 8, 8], 1);
        let reference = outputs(network, &stored, &images).expect("runs");
        verify(network, &exported, &images, Some(&reference), Device::Cpu).expect("the file is the student");
        let (before, after) =
            (onnx::decode(&file).expect("decodes").graph, onnx::decode(&exported).expect("decodes").graph);
        let mut changed = 0;
        for (name, tensor) in before.initializers.iter().filter(|(_, tensor)| tensor.dtype == dtype) {
            if let Some(left) = after.initializers.get(name) {
                assert_eq!(left.dtype, dtype, "{name}");
                changed += usize::from(left != tensor);
            }
        }
        assert!(changed > 3, "{dtype:?}: {changed} weights were trained");
        assert!(exported.len() < file.len(), "{dtype:?}");
        let wide = |graph: &Graph| {
            graph.initializers.values().filter(|t| t.dtype == DataType::Float32 && t.dims.len() > 1).count()
        };
        assert_eq!(wide(&after), wide(&before), "no weight has grown");
    }
}

#[test]
fn a_whole_job_gives_16_bits_back() {
    let desk = Desk::new(&TinyResNet::default());
    let file = stored_in_16_bits(DataType::Float16);
    desk.put("model.onnx", &file);
    desk.json(&COMPRESS);
    let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
    assert!(student.len() < file.len(), "{} of {} bytes", student.len(), file.len());
}

#[test]
fn the_command_line_reads_the_weights_next_to_the_network() {
    let whole = TinyResNet::default().bytes();
    let (network, data) = with_weights_elsewhere(&whole, "model.onnx.data");
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &network);
    let (code, said) = desk.refused(&["check", "model.onnx"]);
    assert!(code == 2 && said.contains("should be in `model.onnx.data`"), "{code}: {said}");
    desk.put("model.onnx.data", &data[1..]);
    let (code, said) = desk.refused(&["check", "model.onnx"]);
    assert!(code == 2 && said.contains("it may be incomplete"), "{code}: {said}");
    desk.put("model.onnx.data", &data);
    let checked = desk.json(&["check", "model.onnx", "--json"]);
    assert_eq!(checked["parameters"], analyse(&whole).expect("loads").parameters);
    let report = desk.json(&COMPRESS);
    assert_eq!(report["dropped_blocks"].as_array().expect("a list").len(), 1, "{report}");
    for outside in ["../model.onnx.data", "/etc/passwd", "a/../../b"] {
        desk.put("outside.onnx", &with_weights_elsewhere(&whole, outside).0);
        let (code, said) = desk.refused(&["check", "outside.onnx"]);
        assert!(code == 2 && said.contains("outside the network's folder"), "{code}: {said}");
    }
}

#[tokio::test]
async fn an_upload_brings_the_weights_in_a_zip_or_a_form() {
    let app = TestApp::without_workers().await;
    let whole = TinyResNet::default().bytes();
    let (network, data) = with_weights_elsewhere(&whole, "model.onnx.data");
    let archive = |files: &[(&str, &Vec<u8>)]| {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (*name, (*bytes).clone())).collect();
        zip(&files)
    };
    let parameters = analyse(&whole).expect("loads").parameters;
    let zipped = archive(&[("export/model.onnx", &network), ("export/model.onnx.data", &data)]);
    let first = app.post_bytes("/v1/models", "application/zip", zipped).await;
    assert_eq!((first.status, first.json()["parameters"].as_u64()), (201, Some(parameters)), "{first:?}");

    let part = |name: &str, bytes: &[u8]| Part::bytes(bytes.to_vec()).file_name(name.to_owned());
    let form = Form::new().part("file", part("model.onnx.data", &data)).part("file", part("model.onnx", &network));
    let second = app.send(app.post("/v1/models").multipart(form)).await;
    assert_eq!(second.status, 200, "the same network in one piece: {second:?}");
    assert_eq!(second.id(), first.id());
    assert_eq!(second.json()["name"], json!(null));

    // A zip of the one file is that network, to the byte.
    let alone = app.post_bytes("/v1/models", "application/octet-stream", archive(&[("net.onnx", &whole)])).await;
    assert_eq!((alone.status, alone.id()), (200, first.id()));

    let refused = async |files: &[(&str, &Vec<u8>)], status: u16, code: &str, words: &str| {
        let answer = app.post_bytes("/v1/models", "application/zip", archive(files)).await;
        let problem = answer.problem(status, code);
        assert!(problem["detail"].as_str().expect("words").contains(words), "{problem}");
    };
    refused(&[("model.onnx", &network)], 422, "external_data", "no such file was sent").await;
    refused(&[("model.onnx", &network), ("other.data", &data)], 422, "external_data", "no such file was sent").await;
    refused(&[("a.onnx", &whole), ("b.onnx", &whole)], 400, "not_onnx", "2 end in .onnx").await;
    refused(&[("weights.bin", &data)], 400, "not_onnx", "without an .onnx file").await;
    let (outside, data) = with_weights_elsewhere(&whole, "../data");
    refused(&[("model.onnx", &outside), ("../data", &data)], 422, "external_data", "outside the network's folder")
        .await;
}

/// A network may have free sizes of any name: the first of its inputs is the batch.
#[test]
fn a_batch_of_any_name_is_free() {
    for name in ["batch_size", "None", "n", "unk__17"] {
        let mut graph = TinyResNet::default().graph();
        for info in graph.inputs.iter_mut().chain(&mut graph.outputs) {
            info.ty.shape.as_mut().expect("a shape")[0] = Dim::Symbol(name.into());
        }
        let network = Network::load(&onnx::encode_graph(&graph, 10).expect("encodes")).expect("loads");
        assert_eq!(network.droppable().expect("blocks").len(), 3, "{name}");
    }
}
