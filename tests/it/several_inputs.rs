//! Networks with inputs beside the images: what those are fed, in the executor, in the file and in a whole job.

use std::collections::BTreeMap;
use std::sync::Arc;

use practised::compress::file::verify;
use practised::exec::Device;
use practised::graph::{Attribute, Attributes, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::network::Network;
use practised::onnx;
use practised::spec::inputs::{Given, Value as Number, Word};
use serde_json::{Value, json};

use crate::image_input::{named, of_bytes};
use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::noise;
use crate::support::service::TestApp;
use crate::support::uploads::image_zip;

/// Two pictures and two numbers.
fn fixture() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/several_inputs.onnx")).expect("a fixture")
}

fn desk(inputs: &Value) -> Desk {
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &fixture());
    desk.put("images.zip", &image_zip(24, 32));
    let job = json!({"target": {"blocks": 1}, "finetune": {"steps": 10}, "seed": 3, "inputs": inputs, "latency": {"rounds": 4}});
    desk.put("job.json", job.to_string().as_bytes());
    desk
}

#[test]
fn a_whole_job_feeds_what_it_was_told() {
    let desk = desk(&json!({"input_2": [0.5, -1.0]}));
    let report = desk.json(&COMPRESS);
    assert_eq!(report["dropped_blocks"].as_array().expect("a list").len(), 1);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("other_inputs") && warnings.contains("`input_1` the images, mirrored"), "{warnings}");
    let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
    let student = onnx::decode(&student).expect("decodes").graph;
    let names: Vec<&str> = student.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["input_0", "input_1", "input_2"]);

    let evaluate = |numbers: &str| {
        let input = format!("input_2={numbers}");
        let files =
            ["evaluate", "model.onnx", "out/student.onnx", "--images", "images.zip", "--json", "--input", &input];
        desk.json(&files)["output_mse"].as_f64().expect("a number")
    };
    assert_ne!(evaluate("0.5,-1.0"), evaluate("3"), "the numbers reach the network");
}

#[test]
fn a_job_that_says_nothing_or_something_else_is_told_what_is_missing() {
    for (inputs, words) in [
        (json!({}), ["input_2", "one number, or 2 numbers"]),
        (json!({"input_2": [1.0]}), ["gives 1 numbers", "or 2 numbers"]),
        (json!({"input_2": 1.0, "other": 1.0}), ["no other input \"other\"", "\"input_1\", \"input_2\""]),
    ] {
        let (code, said) = desk(&inputs).refused(&COMPRESS);
        assert!(code == 2 && words.iter().all(|word| said.contains(word)), "{code}: {said}");
    }
}

#[tokio::test]
async fn the_service_points_at_the_input() {
    let app = TestApp::without_workers().await;
    let model = app.post_bytes("/v1/models", "application/octet-stream", fixture()).await.json();
    assert_eq!(model["image_input"], "input_0", "{model}");
    let needs: BTreeMap<&str, bool> = (model["other_inputs"].as_array().expect("a list").iter())
        .map(|input| (input["name"].as_str().expect("a name"), input["needs_value"].as_bool().expect("a flag")))
        .collect();
    assert_eq!(needs, BTreeMap::from([("input_1", false), ("input_2", true)]));
    let images = app.post_bytes("/v1/image-sets", "application/zip", image_zip(24, 32)).await.json();
    let mut job = json!({"model": model["id"], "images": images["id"], "target": {"blocks": 1}});
    let problem = app.post_json("/v1/jobs", &job).await.problem(422, "model_interface_unsupported");
    assert_eq!(problem["errors"][0]["pointer"], "/inputs/input_2", "{problem}");
    job["inputs"] = json!({"input_2": 0.0});
    assert_eq!(app.post_json("/v1/jobs", &job).await.status, 202);
}

#[tokio::test]
async fn the_service_takes_the_images_where_the_job_says_and_bytes_as_they_are() {
    let app = TestApp::without_workers().await;
    let images = app.post_bytes("/v1/image-sets", "application/zip", image_zip(4, 8)).await.id();
    let upload = async |file| app.post_bytes("/v1/models", "application/octet-stream", file).await.json();
    let post = async |model: &Value, rest: Value| {
        let mut job = json!({"model": model["id"], "images": images, "target": {"blocks": 1}});
        job.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        app.post_json("/v1/jobs", &job).await
    };
    let two = upload(with_channels_last(1)).await;
    assert_eq!(
        (&two["image_input"], &two["other_inputs"][0]["may_take_images"]),
        (&json!("left"), &json!(true)),
        "{two}"
    );
    let problem = post(&two, json!({})).await.problem(422, "model_interface_unsupported");
    let hint = problem["errors"][0]["hint"].as_str().expect("a hint");
    assert!(hint.contains("{\"right\": 0.5}") && hint.contains("{\"right\": \"images\"}"), "{hint}");
    assert_eq!(post(&two, json!({"inputs": {"right": 0.5}})).await.status, 202);
    // The blocks are in the part that the other input feeds.
    let swapped = post(&two, json!({"inputs": {"right": "images", "left": 0.5}})).await;
    swapped.problem(422, "no_droppable_block");

    let bytes = upload(of_bytes(false)).await;
    assert_eq!(post(&bytes, json!({})).await.status, 202);
    let scaled = post(&bytes, json!({"preprocess": {"mean": [0.5]}})).await.problem(422, "model_interface_unsupported");
    assert!(scaled["detail"].as_str().expect("words").contains("remove divide_by, mean and std"), "{scaled}");
}

/// The default network times a whole number per class, one for all images, and plus a number for each image.
fn with_settings() -> Vec<u8> {
    let mut graph: Graph = TinyResNet::default().graph();
    let input = |name: &str, dtype, shape| ValueInfo { name: name.into(), ty: ValueType { dtype, shape: Some(shape) } };
    let batch = graph.inputs[0].ty.shape.as_ref().expect("a shape")[0].clone();
    graph.inputs.insert(0, input("level", DataType::Int64, vec![Dim::Known(10)]));
    graph.inputs.push(input("offset", DataType::Float32, vec![batch, Dim::Known(1)]));
    let logits = std::mem::replace(&mut graph.outputs[0].name, "shifted".into());
    let node = |op: &str, inputs: [&str; 2], output: &str| {
        let inputs = inputs.iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).collect();
        Node { op: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
    };
    let mut cast = node("Cast", ["level", ""], "gain");
    cast.attrs = Attributes::default();
    cast.attrs.set("to", Attribute::Int(1));
    graph.nodes.extend([cast, node("Mul", [&logits, "gain"], "scaled"), node("Add", ["scaled", "offset"], "shifted")]);
    graph.values.remove(&logits);
    onnx::encode_graph(&graph, 8).expect("encodes")
}

#[test]
fn whole_numbers_and_settings_without_a_batch_are_fed_as_constants() {
    let file = with_settings();
    let given = Given::from([
        ("level".to_owned(), Number::Each((0..10).map(f64::from).collect())),
        ("offset".to_owned(), Number::All(-2.5)),
    ]);
    let pixels = TinyResNet::default().pixels;
    let network = Network::load_for(&file, &given, |_| Ok((pixels, pixels))).expect("loads");
    assert_eq!(network.input.name, "input");
    let plain = Network::load(&TinyResNet::default().bytes()).expect("loads");
    assert_eq!(network.analysis().parameters, plain.analysis().parameters, "what inputs are fed are no weights");
    assert_eq!(network.blocks.len(), plain.blocks.len());
    // ONNX Runtime gets the three inputs, the executor one.
    let images = noise(&[3, 3, pixels as i64, pixels as i64], 1);
    verify(&network, &file, &images, None, Device::Cpu).expect("both feed the same");
}

/// The default network behind a `Transpose`, as TensorFlow exports it, and its image a second time beside its logits, in colour or in
/// one channel.
fn with_channels_last(channels: usize) -> Vec<u8> {
    with_channels_last_of(&TinyResNet::default(), channels)
}

fn with_channels_last_of(net: &TinyResNet, channels: usize) -> Vec<u8> {
    let mut graph: Graph = net.graph();
    let (dims, mean) = (graph.inputs[0].ty.shape.clone().expect("a shape"), "mean of right".to_owned());
    let nhwc = Some(vec![dims[0].clone(), dims[2].clone(), dims[3].clone(), dims[1].clone()]);
    let ty = ValueType { dtype: DataType::Float32, shape: nhwc };
    let first = std::mem::replace(&mut graph.inputs[0], ValueInfo { name: "left".into(), ty: ty.clone() });
    let mut right = ValueInfo { name: "right".into(), ty };
    right.ty.shape.as_mut().expect("a shape")[3] = Dim::Known(channels);
    graph.inputs.push(right);
    let mut turn =
        Node { op: "Transpose".into(), inputs: vec!["left".into()], outputs: vec![first.name], ..Node::default() };
    turn.attrs.set("perm", Attribute::Ints(vec![0, 3, 1, 2]));
    graph.nodes.insert(0, turn);
    let logits = std::mem::replace(&mut graph.outputs[0].name, "shifted".into());
    graph.values.remove(&logits);
    // Weighted by place, so that a mirrored image has another mean.
    let places: Vec<f32> = (0..TinyResNet::default().pixels).map(|place| place as f32).collect();
    graph.initializers.insert("places".into(), Arc::new(TensorData::from_f32(&[1, 1, places.len(), 1], &places)));
    let weighted = Node {
        op: "Mul".into(),
        inputs: vec!["right".into(), "places".into()],
        outputs: vec!["weighted".into()],
        ..Node::default()
    };
    graph.initializers.insert("places and channels".into(), Arc::new(TensorData::from_i64(&[3], &[1, 2, 3])));
    let mut reduce = Node {
        op: "ReduceMean".into(),
        inputs: vec!["weighted".into(), "places and channels".into()],
        outputs: vec![mean.clone()],
        ..Node::default()
    };
    reduce.attrs.set("keepdims", Attribute::Int(0));
    let sizes = Arc::new(TensorData::from_i64(&[2], &[-1, 1]));
    graph.initializers.insert("sizes".into(), sizes);
    let column = Node {
        op: "Reshape".into(),
        inputs: vec![mean, "sizes".into()],
        outputs: vec!["column".into()],
        ..Node::default()
    };
    let add = Node {
        op: "Add".into(),
        inputs: vec![logits, "column".into()],
        outputs: vec!["shifted".into()],
        ..Node::default()
    };
    graph.nodes.extend([weighted, reduce, column, add]);
    onnx::encode_graph(&graph, 8).expect("encodes")
}

/// ONNX Runtime, which gets both inputs, computes what the executor does, which gets one.
fn verified(file: &[u8], net: &TinyResNet) {
    let network = Network::load(file).expect("loads");
    assert_eq!((network.input.file_name.as_str(), network.size), ("left", (net.pixels, net.pixels)));
    let images = noise(&[3, net.channels as i64, net.pixels as i64, net.pixels as i64], 1);
    verify(&network, file, &images, None, Device::Cpu).expect("both feed the same");
}

#[test]
fn images_with_their_channels_last_are_fed_as_the_file_takes_them() {
    let net = TinyResNet::default();
    verified(&with_channels_last(3), &net);

    let (file, desk) = (with_channels_last(3), Desk::new(&net));
    desk.put("model.onnx", &file);
    let report = desk.json(&COMPRESS);
    assert_eq!(report["dropped_blocks"].as_array().expect("a list").len(), 1, "{report}");
    let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
    assert_eq!(
        onnx::decode(&student).expect("decodes").graph.inputs[0].ty,
        onnx::decode(&file).expect("decodes").graph.inputs[0].ty
    );
}

/// A map of another number of channels than the images is no picture of theirs: depth, noise, a mask.
#[test]
fn an_input_of_other_channels_asks_for_its_value_or_for_the_images() {
    let colour = TinyResNet::default();
    let grey = TinyResNet { channels: 1, ..colour.clone() };
    for (net, channels) in [(&colour, 1), (&grey, 3)] {
        let file = with_channels_last_of(net, channels);
        let network = Network::load(&file).expect("loads");
        let info = network.companions[0].info();
        assert!(info.needs_value && info.may_take_images && info.elements == 64 * channels, "{info:?}");
        let desk = Desk::new(net);
        desk.put("model.onnx", &file);
        let (code, said) = desk.refused(&COMPRESS);
        assert!(code == 2, "{code}: {said}");
        for words in ["another input \"right\"", "\"inputs\": {\"right\": 0.5}", "{\"right\": \"images\"}"] {
            assert!(said.contains(words), "{said}");
        }
        let given = Given::from([("right".to_owned(), Number::All(0.25))]);
        let network = Network::load_for(&file, &given, |_| Ok((8, 8))).expect("loads");
        verify(&network, &file, &noise(&[3, net.channels as i64, 8, 8], 1), None, Device::Cpu)
            .expect("both feed the same");
    }
}

#[test]
fn a_job_says_which_input_takes_the_images() {
    let file = with_channels_last(1);
    let given = Given::from([("right".to_owned(), Number::Word(Word::Images)), ("left".to_owned(), Number::All(0.5))]);
    let network = Network::load_for(&file, &given, |_| Ok((8, 8))).expect("loads");
    assert_eq!((network.input.file_name.as_str(), network.input.channels), ("right", 1));
    verify(&network, &file, &noise(&[3, 1, 8, 8], 1), None, Device::Cpu).expect("both feed the same");
    let analysis = practised::network::analyse::analyse(&file).expect("loads");
    assert_eq!(analysis.image_input, "left");
    assert_eq!(analysis.fed(&given).image_input, "right");
    assert_eq!(analysis.fed(&given).other_inputs[0].name, "left");

    for (inputs, words) in [
        (json!({"left": "images", "right": "images"}), "feed them to one only"),
        (json!({"middle": "images"}), "does not exist; the network has \"left\", \"right\""),
        (json!({"right": "pictures"}), "\"images\""),
        (json!({"right": 1.0, "left": 1.0}), "takes the images, so it cannot take numbers"),
    ] {
        let desk = Desk::new(&TinyResNet::default());
        desk.put("model.onnx", &file);
        let job = json!({"target": {"blocks": 1}, "inputs": inputs});
        desk.put("job.json", job.to_string().as_bytes());
        let (code, said) = desk.refused(&COMPRESS);
        assert!(code == 2 && said.contains(words), "{inputs}: {code}: {said}");
    }
}

/// A network that takes an image and a noise level for each pixel, of any size.
fn with_noise_map() -> Vec<u8> {
    let mut graph: Graph = TinyResNet::default().graph();
    let free = |channels| Some(vec![named("N"), Dim::Known(channels), named("h"), named("w")]);
    graph.inputs[0].ty.shape = free(3);
    let ty = ValueType { dtype: DataType::Float32, shape: free(1) };
    graph.inputs.push(ValueInfo { name: "noise".into(), ty });
    graph.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| *name == "input").for_each(|name| {
        *name = "noisy".into();
    });
    let inputs = vec!["input".into(), "noise".into()];
    let add = Node { op: "Add".into(), inputs, outputs: vec!["noisy".into()], ..Node::default() };
    graph.nodes.insert(0, add);
    onnx::encode_graph(&graph, 8).expect("encodes")
}

#[test]
fn one_number_fills_a_map_of_the_images_size() {
    let file = with_noise_map();
    let info = Network::load(&file).expect("loads").companions[0].info();
    assert!(info.needs_value && info.of_images_size && info.elements == 1, "{info:?}");
    let given = Given::from([("noise".to_owned(), Number::All(0.1))]);
    for (height, width) in [(8, 8), (12, 16)] {
        let network = Network::load_for(&file, &given, |_| Ok((height, width))).expect("loads");
        let images = noise(&[3, 3, height as i64, width as i64], 1);
        verify(&network, &file, &images, None, Device::Cpu).expect("both feed the same");
        assert_eq!(
            network.analysis().parameters,
            Network::load(&TinyResNet::default().bytes()).expect("loads").analysis().parameters
        );
    }
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &file);
    let (_, said) = desk.refused(&COMPRESS);
    assert!(said.contains("one number, used for all elements"), "{said}");
    let job =
        json!({"target": {"blocks": 1}, "finetune": {"steps": 5}, "inputs": {"noise": 0.1}, "latency": {"rounds": 4}});
    desk.put("job.json", job.to_string().as_bytes());
    assert!(desk.json(&COMPRESS)["warnings"].to_string().contains("`noise` 0.1"));
}

/// Of every type that can be fed; none of them is asked for, and the student keeps them.
#[test]
fn inputs_that_nothing_reads_are_fed_and_not_asked_for() {
    let mut graph: Graph = TinyResNet::default().graph();
    let n = graph.inputs[0].ty.shape.as_ref().expect("a shape")[0].clone();
    let mut unused = |at: usize, name: &str, dtype, shape: Vec<Dim>| {
        graph.inputs.insert(at, ValueInfo { name: name.into(), ty: ValueType { dtype, shape: Some(shape) } });
    };
    unused(0, "picture", DataType::Float32, vec![n.clone(), Dim::Known(3), Dim::Known(8), Dim::Known(8)]);
    unused(2, "flag", DataType::Bool, vec![]);
    unused(2, "size", DataType::Int32, vec![n, named("k")]);
    let file = onnx::encode_graph(&graph, 8).expect("encodes");
    let network = Network::load(&file).expect("loads");
    assert_eq!(network.input.file_name, "input");
    assert!(network.analysis().other_inputs.iter().all(|input| input.unused && !input.needs_value));
    verify(&network, &file, &noise(&[3, 3, 8, 8], 1), None, Device::Cpu).expect("runs");
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &file);
    let report = desk.json(&COMPRESS);
    assert!(!report["warnings"].to_string().contains("other_inputs"), "{report}");
    let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
    assert_eq!(onnx::decode(&student).expect("decodes").graph.inputs.len(), 4);
}

/// The default network with inputs of these sizes beside its own, whose batch has this name.
fn beside(batch: Dim, others: &[(&str, Vec<Dim>)]) -> Result<Network, String> {
    let mut graph: Graph = TinyResNet::default().graph();
    graph.inputs[0].ty.shape.as_mut().expect("a shape")[0] = batch;
    let of = |(name, shape): &(&str, Vec<Dim>)| ValueInfo {
        name: (*name).to_owned(),
        ty: ValueType { dtype: DataType::Float32, shape: Some(shape.clone()) },
    };
    graph.inputs.extend(others.iter().map(of));
    graph.nodes.extend(others.iter().map(|(name, _)| Node {
        op: "Identity".into(),
        inputs: vec![(*name).to_owned()],
        outputs: vec![format!("{name} is read")],
        ..Node::default()
    }));
    Network::load(&onnx::encode_graph(&graph, 8).expect("encodes")).map_err(|error| error.to_string())
}

#[test]
fn a_free_size_counts_as_the_batch_only_where_it_can_be_meant() {
    let (n, pixels) = (named("N"), Dim::Known(TinyResNet::default().pixels));
    let elements = |batch: Dim, first: Dim| {
        beside(batch, &[("k", vec![first, Dim::Known(4)])]).map(|net| net.analysis().other_inputs[0].elements)
    };
    for (batch, first) in [
        (n.clone(), n.clone()),
        (n.clone(), Dim::Unknown),
        (Dim::Unknown, named("T")),
        (named("unk__7"), named("unk__8")),
        (Dim::Known(1), Dim::Known(1)),
    ] {
        assert_eq!(elements(batch.clone(), first.clone()), Ok(4), "{batch:?}, {first:?}");
    }
    for (batch, first) in [(n.clone(), named("T")), (named("unk__7"), named("unk__T")), (Dim::Known(1), named("T"))] {
        let said = elements(batch, first).expect_err("refused");
        assert!(
            said.contains("\"k\" has the dynamic first dimension") && said.contains("the same name for both"),
            "{said}"
        );
    }
    let images = vec![named("other"), Dim::Known(3), pixels.clone(), pixels];
    assert!(!beside(n, &[("right", images)]).expect("loads").analysis().other_inputs[0].needs_value);
}

#[test]
fn inputs_that_claim_more_numbers_together_than_settings_have_are_refused() {
    let claims = |sizes: &[usize]| {
        let names: Vec<String> = (0..sizes.len()).map(|at| format!("k{at}")).collect();
        let others: Vec<(&str, Vec<Dim>)> =
            names.iter().zip(sizes).map(|(name, size)| (name.as_str(), vec![named("N"), Dim::Known(*size)])).collect();
        beside(named("N"), &others)
    };
    claims(&[1 << 19, 1 << 19]).expect("a million in all are taken");
    let said = claims(&[1 << 19, 1 << 19, 1]).err().expect("refused");
    assert!(said.contains("input \"k2\" and the other inputs") && said.contains("constants instead"), "{said}");
}

#[test]
fn an_input_that_cannot_be_fed_is_listed_with_every_operator_in_the_way() {
    let mut graph: Graph = TinyResNet::default().graph();
    graph.inputs[0].ty.dtype = DataType::Int8;
    graph.nodes[1].op = "Frobnicate".into();
    let half = Arc::new(TensorData { dtype: DataType::Float16, dims: vec![1], bytes: vec![0, 0] });
    graph.initializers.insert("half".into(), half);
    let last = graph.nodes.len() - 1;
    graph.nodes[last].op = "Loop".into();
    let error = Network::load(&onnx::encode_graph(&graph, 8).expect("encodes")).err().expect("refused");
    assert_eq!(error.code().as_str(), "model_interface_unsupported");
    let said = error.to_string();
    for word in [
        "Int8",
        "Frobnicate, this operator is not supported (export the network without it",
        "Loop, this",
        "control flow",
    ] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert_eq!(error.faults().len(), 3, "{said}");
}

#[test]
fn half_precision_is_refused_with_the_way_out() {
    let mut graph: Graph = TinyResNet::default().graph();
    for tensor in graph.initializers.values_mut().filter(|tensor| tensor.dtype == DataType::Float32) {
        let bytes = vec![0; 2 * tensor.len()];
        *tensor = Arc::new(TensorData { dtype: DataType::Float16, dims: tensor.dims.clone(), bytes });
    }
    graph.inputs[0].ty.dtype = DataType::Float16;
    let said = Network::load(&onnx::encode_graph(&graph, 8).expect("encodes")).err().expect("refused").to_string();
    assert!(said.contains("Float16; networks in float32") || said.contains("float32 input"), "{said}");
    assert!(said.contains("model.float()"), "{said}");
}
