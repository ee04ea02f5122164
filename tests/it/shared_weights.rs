//! Networks in which one block stands in several places: it goes in all of them or in none, and what is refitted or trained stays
//! one tensor.

use std::collections::BTreeSet;
use std::sync::Arc;

use practised::compress::file;
use practised::compress::student::Student;
use practised::exec::Device;
use practised::graph::{Graph, Node, TensorData};
use practised::network::Network;
use practised::network::blocks::Block;
use practised::network::elements;
use practised::onnx;
use practised::onnxruntime::{Feed, Session};
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::{BatchNorm, TinyResNet};
use crate::support::noise;
use crate::support::scene::Scene;
use crate::support::uploads::image_zip;

/// How a file spells out that two towers have the same weights.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spelling {
    /// Both read one initializer.
    Directly,
    /// The second tower reads it through `Identity`, as PyTorch's exporter writes tensors that it found to be equal.
    ThroughIdentity,
    /// The file has everything twice.
    Twice,
}

const SPELLINGS: [Spelling; 3] = [Spelling::Directly, Spelling::ThroughIdentity, Spelling::Twice];

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        name: output.into(),
        op: op.into(),
        inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
        outputs: vec![output.into()],
        ..Node::default()
    }
}

/// One encoder for `input` and for `right`, and what tells how alike they are: a network with f(a, b) = f(b, a).
fn siamese(net: &TinyResNet, spelling: Spelling) -> Graph {
    let mut graph = net.graph();
    let tower = graph.nodes.clone();
    let weights: Vec<(String, Arc<TensorData>)> =
        graph.initializers.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    let copied = |name: &String| spelling != Spelling::Directly && graph.initializers.contains_key(name);
    let right = |name: &String| match name.as_str() {
        "input" => "right".to_owned(),
        "" => String::new(),
        _ if graph.initializers.contains_key(name) && !copied(name) => name.clone(),
        _ => format!("{name}_1"),
    };
    let second: Vec<Node> = tower
        .iter()
        .map(|node| Node {
            name: format!("{}_1", node.name),
            inputs: node.inputs.iter().map(right).collect(),
            outputs: node.outputs.iter().map(right).collect(),
            ..node.clone()
        })
        .collect();
    match spelling {
        Spelling::Directly => {}
        Spelling::Twice => {
            graph.initializers.extend(weights.into_iter().map(|(name, data)| (format!("{name}_1"), data)))
        }
        Spelling::ThroughIdentity => {
            let same = weights.iter().map(|(name, _)| node("Identity", &[name], &format!("{name}_1")));
            graph.nodes.splice(0..0, same);
        }
    }
    graph.nodes.extend(second);
    let mut input = graph.inputs[0].clone();
    input.name = "right".into();
    graph.inputs.push(input);
    graph.nodes.push(node("Sub", &["logits", "logits_1"], "apart"));
    graph.nodes.push(node("Abs", &["apart"], "distance"));
    graph.outputs[0].name = "distance".into();
    graph
}

/// The first stage's blocks are one block, applied over and over.
fn recursive(net: &TinyResNet) -> Graph {
    let mut graph = net.graph();
    let of_first = |name: &String| match name.strip_prefix("layer1.").and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) if graph.initializers.contains_key(name) => format!("layer1.0.{rest}"),
        _ => name.clone(),
    };
    let renamed: Vec<Vec<String>> = graph.nodes.iter().map(|node| node.inputs.iter().map(of_first).collect()).collect();
    graph.nodes.iter_mut().zip(renamed).for_each(|(node, inputs)| node.inputs = inputs);
    let read: BTreeSet<String> = graph.nodes.iter().flat_map(|node| node.inputs.clone()).collect();
    graph.initializers.retain(|name, _| read.contains(name));
    graph
}

fn bytes(graph: &Graph) -> Vec<u8> {
    onnx::encode_graph(graph, 10).expect("writes")
}

fn nets() -> [TinyResNet; 2] {
    [BatchNorm::Kept, BatchNorm::Folded].map(|bn| TinyResNet { bn, blocks: 3, ..TinyResNet::default() })
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op == op).count()
}

fn droppable(network: &Network) -> Vec<String> {
    network.blocks.iter().filter(|block| block.droppable()).map(|block| block.name.clone()).collect()
}

/// What ONNX Runtime makes of a pair of pictures.
fn distance(file: &[u8], left: &Tensor, right: &Tensor) -> Vec<f32> {
    let mut session = Session::open(file, 1).expect("loads");
    let (a, b) = (elements(left).expect("floats"), elements(right).expect("floats"));
    let shape: Vec<usize> = left.size().iter().map(|size| *size as usize).collect();
    let feeds = [Feed { name: "input", shape: &shape, data: &a }, Feed { name: "right", shape: &shape, data: &b }];
    session.run(&feeds).expect("runs").remove(0).data
}

#[test]
fn a_block_of_both_towers_is_one_block() {
    for net in nets() {
        for spelling in SPELLINGS {
            let network = Network::load(&bytes(&siamese(&net, spelling))).expect("a network");
            assert_eq!(droppable(&network), net.droppable(), "{spelling:?}, {:?}", net.bn);
            assert!(network.blocks.iter().all(|block| block.also.len() == 1), "each stands in both towers");
            let alone = Network::load(&net.bytes()).expect("a network");
            assert_eq!(network.block("layer1.1").expect("a block").macs, 2 * alone.block("layer1.1").expect("it").macs);
            assert_eq!(network.block("layer1.1").expect("a block").also[0].sum, "layer1.1.add_output_0_1");
        }
    }
}

#[test]
fn stored_parameters_are_counted() {
    for net in nets() {
        let alone = Network::load(&net.bytes()).expect("a network").analysis().parameters;
        let of = |spelling| Network::load(&bytes(&siamese(&net, spelling))).expect("a network").analysis().parameters;
        assert_eq!(SPELLINGS.map(of), [alone, alone, 2 * alone], "{:?}", net.bn);
    }
}

#[test]
fn whatever_is_refitted_and_trained_both_towers_stay_one() {
    let (left, right) = (noise(&[3, 3, 8, 8], 1), noise(&[3, 3, 8, 8], 2));
    for net in nets() {
        for spelling in SPELLINGS {
            let file = bytes(&siamese(&net, spelling));
            let scene = Scene::of(&file, &net, 40, 8);
            let (plain, recovered) = scene.recover(&["layer1.1", "layer2.1"], 20);
            let what = format!("{spelling:?}, {:?}", net.bn);
            let refit = recovered.report.refit.as_ref().expect("a refit");
            assert!(!refit.refitted.is_empty() && refit.left_shared.is_empty(), "{what}: {refit:?}");
            assert!(recovered.report.steps_run > 0, "{what}: {:?}", recovered.report);
            assert!(scene.loss(recovered.measured()) < 0.9 * scene.loss(&plain), "{what}");
            for student in [&plain, recovered.refitted.as_ref().expect("as refitted"), &recovered.student] {
                let blocks = scene.blocks(&["layer1.1", "layer2.1"]);
                let written = file::to_onnx(&scene.network, &blocks, student, &[]).expect("exports");
                let graph = onnx::decode(&written).expect("decodes").graph;
                assert_eq!(count(&graph, "Add"), 2 * (6 - 2), "{what}: both towers lose both blocks");
                let (there, back) = (distance(&written, &left, &right), distance(&written, &right, &left));
                assert_eq!(there, back, "{what}: f(a, b) = f(b, a)");
                assert!(written.len() < file.len(), "{what}: {} of {} bytes", written.len(), file.len());
                let images = scene.samples.images.narrow(0, 0, 4);
                let reference = file::outputs(&scene.network, student, &images).expect("runs");
                file::verify(&scene.network, &written, &images, Some(&reference), Device::Cpu).expect("is the same");
            }
        }
    }
}

#[test]
fn a_block_that_is_applied_over_and_over_goes_as_a_whole() {
    for net in nets() {
        let network = Network::load(&bytes(&recursive(&net))).expect("a network");
        assert_eq!(droppable(&network), ["layer1.0", "layer2.1", "layer2.2"], "{:?}", net.bn);
        let block = network.block("layer1.0").expect("a block");
        assert_eq!(block.also.len(), 2, "it is applied three times");
        assert_eq!(network.block(&block.also[1].name).expect("by the name of any place").name, "layer1.0");
        let student = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
        assert_eq!(count(&student.graph, "Add"), 6 - 3);
        assert!(student.graph.initializers.keys().all(|name| !name.starts_with("layer1.")), "nothing of it is left");
    }
}

#[test]
fn kernels_that_stand_in_several_places_stay_one_tensor() {
    for net in nets() {
        let file = bytes(&recursive(&net));
        let scene = Scene::of(&file, &net, 40, 8);
        // The block that is applied over and over wrote the stream ahead of the second gap's stage.
        let (plain, recovered) = scene.recover(&["layer2.1"], 120);
        assert!(scene.loss(recovered.measured()) < scene.loss(&plain), "{:?}: {:?}", net.bn, recovered.report);
        let kernels = |student: &Student| {
            let convs = student.graph.nodes.iter().filter(|node| node.op == "Conv");
            convs.map(|conv| conv.inputs[1].clone()).collect::<BTreeSet<String>>().len()
        };
        assert_eq!(kernels(&recovered.student), kernels(&plain), "{:?}", net.bn);
        let moved = |student: &Student| student.params.get("layer1.0.conv1.weight").expect("the kernel").copy();
        assert!(
            !moved(&plain).equal(&moved(&recovered.student)),
            "it is trained, with the gradients of all its places"
        );
    }
}

#[test]
fn a_place_that_has_to_stay_keeps_all_others() {
    let net = TinyResNet { bn: BatchNorm::Folded, ..TinyResNet::default() };
    let mut graph = siamese(&net, Spelling::Directly);
    let mut seen = graph.outputs[0].clone();
    seen.name = "layer1.1.conv1_output_0_1".into();
    seen.ty.shape = None;
    graph.outputs.push(seen);
    let network = Network::load(&bytes(&graph)).expect("a network");
    assert_eq!(droppable(&network), ["layer1.0", "layer2.1"]);
    let why = network.block("layer1.1").expect("a block").reason.as_ref().expect("stays").to_string();
    assert!(why.contains("it shares its weights with") && why.contains("is an output of the network"), "{why}");
}

#[test]
fn weights_that_are_all_read_elsewhere_keep_their_block() {
    let net = TinyResNet { bn: BatchNorm::Folded, ..TinyResNet::default() };
    let mut graph = recursive(&net);
    // Both convolutions of the block once more, without a shortcut, ahead of the head.
    let convs: Vec<Node> = graph.nodes.iter().filter(|node| node.name.starts_with("layer1.0.conv")).cloned().collect();
    let mut value = "stem.relu_output_0".to_owned();
    for (conv, output) in convs.iter().zip(["again1", "again2"]) {
        let mut again = Node { name: output.into(), outputs: vec![output.into()], ..conv.clone() };
        again.inputs[0].clone_from(&value);
        value = output.to_owned();
        graph.nodes.push(again);
    }
    graph.nodes.push(node("GlobalAveragePool", &[&value], "again"));
    let mut again = graph.outputs[0].clone();
    again.name = "again".into();
    again.ty.shape = None;
    graph.outputs.push(again);
    let network = Network::load(&bytes(&graph)).expect("a network");
    let why = network.block("layer1.0").expect("a block").reason.as_ref().map(ToString::to_string);
    assert!(why.as_ref().is_some_and(|why| why.contains("also read by again1")), "{why:?}");
}

#[test]
fn a_job_on_a_siamese_network_delivers_a_smaller_one() {
    let net = TinyResNet { bn: BatchNorm::Folded, ..TinyResNet::default() };
    for spelling in [Spelling::Directly, Spelling::ThroughIdentity] {
        let desk = Desk::new(&net);
        desk.put("model.onnx", &bytes(&siamese(&net, spelling)));
        desk.put("images.zip", &image_zip(24, 8));
        let job = json!({"target": {"latency_reduction": 0.01}, "finetune": {"steps": 10}, "seed": 3, "latency": {"rounds": 4}});
        desk.put("job.json", job.to_string().as_bytes());
        let report = desk.json(&COMPRESS);
        let blocks = report["blocks"].as_array().expect("blocks");
        assert!(blocks.iter().all(|block| block["also"].as_array().is_some_and(|also| also.len() == 1)), "{report}");
        let size = |who: &str, what: &str| report["size"][who][what].as_u64().expect("a size");
        let dropped = report["dropped_blocks"].as_array().expect("names");
        assert!(!dropped.is_empty(), "{report}");
        for what in ["parameters", "macs", "bytes"] {
            assert!(size("student", what) < size("teacher", what), "{spelling:?}: {what}: {report}");
        }
        let codes: Vec<&Value> = report["warnings"].as_array().expect("a list").iter().map(|w| &w["code"]).collect();
        assert!(!codes.contains(&&json!("larger_student")), "{codes:?}");
    }
}

/// A block whose kernels are equal by chance of their making, all zeros, is not shared.
#[test]
fn constants_alone_make_no_shared_block() {
    let net = TinyResNet { bn: BatchNorm::Folded, blocks: 3, ..TinyResNet::default() };
    let mut graph = net.graph();
    for (name, tensor) in &mut graph.initializers {
        if name.starts_with("layer1.") {
            *tensor = Arc::new(TensorData::from_f32(&tensor.dims.clone(), &vec![0.0; tensor.len()]));
        }
    }
    let network = Network::load(&bytes(&graph)).expect("a network");
    let also: Vec<&Block> = network.blocks.iter().flat_map(|block| &block.also).collect();
    assert!(also.is_empty(), "{also:?}");
}
