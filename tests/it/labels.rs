//! Outputs of whole numbers and truths: what they are made from stands for them, and the file keeps them.

use practised::compress::file::to_onnx;
use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::network::Network;
use practised::onnx;
use practised::onnxruntime::{Elements, Feed, Session};
use serde_json::json;

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::noise;
use crate::support::scene::Scene;
use crate::support::service::TestApp;

/// Adds a node.
fn add(graph: &mut Graph, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[(&str, Attribute)]) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut node = Node { op: op.into(), inputs: names(inputs), outputs: names(outputs), ..Node::default() };
    attrs.iter().for_each(|(name, value)| node.attrs.set(name, value.clone()));
    graph.nodes.push(node);
}

fn output(name: &str, dtype: DataType, rest: &[usize]) -> ValueInfo {
    let rest = rest.iter().copied().map(Dim::Known);
    let shape = std::iter::once(Dim::Symbol("N".into())).chain(rest).collect();
    ValueInfo { name: name.into(), ty: ValueType { dtype, shape: Some(shape) } }
}

/// The default network with other outputs, made of its logits, (N, 10).
fn answering(outputs: Vec<ValueInfo>, build: impl FnOnce(&mut Graph)) -> Vec<u8> {
    let mut graph = TinyResNet::default().graph();
    graph.initializers.insert("half".into(), TensorData::from_f32(&[], &[0.5]).into());
    graph.initializers.insert("three".into(), TensorData::from_i64(&[1], &[3]).into());
    build(&mut graph);
    graph.outputs = outputs;
    onnx::encode_graph(&graph, 10).expect("encodes")
}

fn label(graph: &mut Graph) {
    let attrs = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
    add(graph, "ArgMax", &["logits"], &["label"], &attrs);
}

fn cast(graph: &mut Graph, from: &str, to: &str, dtype: DataType) {
    add(graph, "Cast", &[from], &[to], &[("to", Attribute::Int(dtype.to_onnx().into()))]);
}

/// Networks by what they answer, with the values that stand for it.
fn networks() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let int = DataType::Int64;
    vec![
        ("ArgMax", answering(vec![output("label", int, &[])], label), vec!["logits"]),
        (
            "ArgMax as a float",
            answering(vec![output("number", DataType::Float32, &[])], |graph| {
                label(graph);
                cast(graph, "label", "number", DataType::Float32);
            }),
            vec!["logits"],
        ),
        (
            "a label ahead of probabilities",
            answering(vec![output("label", int, &[]), output("probabilities", DataType::Float32, &[10])], |graph| {
                label(graph);
                add(graph, "Softmax", &["logits"], &["probabilities"], &[]);
            }),
            vec!["logits", "probabilities"],
        ),
        (
            "labels ahead of scores",
            answering(vec![output("labels", int, &[3]), output("scores", DataType::Float32, &[3])], |graph| {
                add(graph, "Softmax", &["logits"], &["probabilities"], &[]);
                add(graph, "TopK", &["probabilities", "three"], &["scores", "labels"], &[]);
            }),
            vec!["probabilities", "scores"],
        ),
        (
            "truths",
            answering(vec![output("present", DataType::Bool, &[10])], |graph| {
                add(graph, "Sigmoid", &["logits"], &["chances"], &[]);
                add(graph, "Greater", &["chances", "half"], &["present"], &[]);
            }),
            vec!["chances"],
        ),
        (
            "bytes",
            answering(vec![output("bytes", DataType::Uint8, &[10])], |graph| {
                add(graph, "Sigmoid", &["logits"], &["chances"], &[]);
                cast(graph, "chances", "bytes", DataType::Uint8);
            }),
            vec!["chances"],
        ),
        (
            "rounded numbers",
            answering(vec![output("rounded", DataType::Float32, &[10])], |graph| {
                add(graph, "Round", &["logits"], &["rounded"], &[]);
            }),
            vec!["logits"],
        ),
    ]
}

#[test]
fn what_labels_are_made_from_stands_for_them_and_the_file_keeps_them() {
    for (what, file, stands) in networks() {
        let scene = Scene::seeing(&file, noise(&[24, 3, 8, 8], 5), 8);
        let network = &scene.network;
        let answers: Vec<&str> = network.answers.iter().map(|answer| answer.name.as_str()).collect();
        assert_eq!(answers, stands, "{what}");
        let name = &network.droppable().expect(what)[0].name.clone();
        let (_, recovered) = scene.recover(&[name], 4);
        let block = network.block(name).expect("a block");
        let student = to_onnx(network, &[block], &recovered.student, &[]).expect("exports");
        practised::compress::file::verify(
            network,
            &student,
            &noise(&[3, 3, 8, 8], 1),
            None,
            practised::exec::Device::Cpu,
        )
        .expect(what);
        let outputs = |file: &[u8]| onnx::decode(file).expect("decodes").graph.outputs;
        assert_eq!(outputs(&student), outputs(&file), "{what}");
        let mut session = Session::open(&student, 1).expect("opens");
        let data = Elements::Float(vec![0.5; 192]);
        let said = session.run(&[Feed { name: "input", shape: &[1, 3, 8, 8], data: &data }]).expect("runs");
        assert_eq!(said.len(), network.outputs.len(), "{what}");
    }
}

/// The label stands in a job's report as the agreement of the scores that it is made from.
#[test]
fn a_whole_job_of_a_network_that_answers_with_labels() {
    for (what, file, _) in networks().into_iter().step_by(3) {
        let desk = Desk::new(&TinyResNet::default());
        desk.put("model.onnx", &file);
        let report = desk.json(&COMPRESS);
        assert_eq!(report["dropped_blocks"].as_array().expect("a list").len(), 1, "{what}");
        assert!(report["quality"]["feature_loss"].as_f64().expect("a loss").is_finite(), "{what}");
    }
}

/// A map of labels with a block right ahead of the `ArgMax`: what stands for it has another name once that block is gone.
#[test]
fn a_block_right_ahead_of_the_labels_goes_as_well() {
    let file = {
        use crate::support::tokens::{Sketch, WIDTH};
        let mut net = Sketch::new();
        let mut x = net.patches();
        for name in ["b.0", "b.1"] {
            let branch = net.pointwise(&format!("{name}.branch"), &x, WIDTH, WIDTH);
            x = net.add(&format!("{name}.sum"), &x, &branch);
        }
        add(&mut net.graph, "ArgMax", &[&x], &["map"], &[("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))]);
        net.graph.outputs = vec![output("map", DataType::Int64, &[4, 4])];
        onnx::encode_graph(&net.graph, 10).expect("encodes")
    };
    let images = noise(&[3, 3, 8, 8], 1);
    assert_eq!(Network::load(&file).expect("loads").answers[0].name, "b.1.sum");
    assert_eq!(crate::neutral::dropping_is_exact(&file, &images, "a map of labels"), 2);
}

/// Rounded in the middle, so that no loss reaches the blocks ahead, and none sees those behind.
#[tokio::test]
async fn what_is_rounded_inside_is_refused_at_upload_with_the_reason() {
    let mut graph = TinyResNet::default().graph();
    let stem = graph.nodes.iter().position(|node| node.op == "Relu").expect("the stem's");
    let whole = graph.nodes[stem].output().to_owned();
    graph.nodes[stem].outputs = vec!["unrounded".into()];
    let round = Node { op: "Round".into(), inputs: vec!["unrounded".into()], outputs: vec![whole], ..Node::default() };
    graph.nodes.insert(stem + 1, round);
    let app = TestApp::without_workers().await;
    let file = onnx::encode_graph(&graph, 10).expect("encodes");
    let answer = app.post_bytes("/v1/models", "application/octet-stream", file).await;
    let problem = answer.problem(422, "model_interface_unsupported");
    let said = problem["detail"].as_str().expect("words");
    assert!(
        said.contains("rounding or comparing") && said.contains("export the network without rounding inside"),
        "{said}"
    );
    assert_eq!(app.get("/v1/models").await.json()["data"], json!([]));
}
