//! What the input that takes the images may look like: bytes that the network normalises itself, channels that are left free.

use std::sync::Arc;

use practised::compress::file::verify;
use practised::exec::Device;
use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::network::Network;
use practised::onnx;
use serde_json::json;

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::noise;

/// A free size of this name.
pub fn named(name: &str) -> Dim {
    Dim::Symbol(name.to_owned())
}

/// Bytes in, normalised inside, as deployed detectors have it.
pub fn of_bytes(channels_last: bool) -> Vec<u8> {
    let mut graph: Graph = TinyResNet::default().graph();
    let shape = graph.inputs[0].ty.shape.clone().expect("a shape");
    let shape = if channels_last { [0, 2, 3, 1].map(|axis: usize| shape[axis].clone()).to_vec() } else { shape };
    graph.inputs[0] = ValueInfo { name: "bytes".into(), ty: ValueType { dtype: DataType::Uint8, shape: Some(shape) } };
    let node = |op: &str, inputs: &[&str], output: &str, attr: Option<(&str, Attribute)>| {
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        let mut node = Node { op: op.into(), inputs, outputs: vec![output.into()], ..Node::default() };
        attr.into_iter().for_each(|(name, value)| node.attrs.set(name, value));
        node
    };
    let numbers = |value: f32| Arc::new(TensorData::from_f32(&[1, 3, 1, 1], &[value; 3]));
    graph.initializers.insert("mean".into(), numbers(120.0));
    graph.initializers.insert("std".into(), numbers(60.0));
    let first = if channels_last { "turned" } else { "bytes" };
    let mut head = vec![
        node("Cast", &[first], "floats", Some(("to", Attribute::Int(1)))),
        node("Sub", &["floats", "mean"], "centred", None),
        node("Div", &["centred", "std"], "input", None),
    ];
    if channels_last {
        head.insert(0, node("Transpose", &["bytes"], "turned", Some(("perm", Attribute::Ints(vec![0, 3, 1, 2])))));
    }
    graph.nodes.splice(0..0, head);
    onnx::encode_graph(&graph, 10).expect("encodes")
}

#[test]
fn a_network_of_bytes_normalises_them_itself() {
    for channels_last in [false, true] {
        let file = of_bytes(channels_last);
        let network = Network::load(&file).expect("loads");
        assert_eq!(network.input.dtype, DataType::Uint8);
        let pixels = (noise(&[3, 3, 8, 8], 1) * 60.0 + 120.0).clamp(0.0, 255.0);
        verify(&network, &file, &pixels, None, Device::Cpu).expect("both feed the same");
        let desk = Desk::new(&TinyResNet::default());
        desk.put("model.onnx", &file);
        let report = desk.json(&COMPRESS);
        assert_eq!(report["reproduce"]["config"]["preprocess"]["divide_by"], 1.0, "{report}");
        let student = std::fs::read(desk.path().join("out/student.onnx")).expect("a student");
        assert_eq!(onnx::decode(&student).expect("decodes").graph.inputs[0].ty.dtype, DataType::Uint8);
        let evaluation = desk.json(&["evaluate", "model.onnx", "out/student.onnx", "--images", "images.zip", "--json"]);
        assert!(evaluation["output_mse"].as_f64().expect("a number").is_finite());
        desk.put("job.json", json!({"preprocess": {"mean": [0.5]}}).to_string().as_bytes());
        let (code, said) = desk.refused(&COMPRESS);
        assert!(code == 2 && said.contains("remove divide_by, mean and std"), "{said}");
    }
}

/// As Optimum exports networks of vision: batch, channels, height and width are free.
#[test]
fn the_first_convolution_tells_how_many_channels_are_free() {
    let freed = |edit: &dyn Fn(&mut Graph)| {
        let mut graph: Graph = TinyResNet::default().graph();
        graph.inputs[0].ty.shape = Some(["batch", "channels", "height", "width"].map(named).to_vec());
        edit(&mut graph);
        let file = onnx::encode_graph(&graph, 10).expect("encodes");
        (Network::load(&file).map_err(|error| error.to_string()), file)
    };
    let (network, file) = freed(&|_| {});
    let network = network.expect("loads");
    assert_eq!((network.input.channels, network.blocks.len()), (3, 4));
    verify(&network, &file, &noise(&[2, 3, 224, 224], 1), None, Device::Cpu).expect("runs");

    let (disagree, _) = freed(&|graph| {
        let kernel = TensorData::from_f32(&[1, 1, 1, 1], &[0.1]);
        graph.initializers.insert("other".into(), Arc::new(kernel));
        let inputs = vec!["input".into(), "other".into()];
        graph.nodes.insert(0, Node { op: "Conv".into(), inputs, outputs: vec!["aside".into()], ..Node::default() });
        let ty = ValueType { dtype: DataType::Float32, shape: None };
        graph.outputs.push(ValueInfo { name: "aside".into(), ty });
    });
    let said = disagree.err().expect("refused");
    assert!(said.contains("disagree (1 and 3)") && said.contains("export it with 1 or 3 fixed channels"), "{said}");
    let (five, _) = freed(&|graph| {
        let first = graph.nodes.iter().find(|node| node.inputs.contains(&"input".to_owned())).expect("a stem");
        let kernel = TensorData::from_f32(&[8, 5, 3, 3], &[0.1; 360]);
        graph.initializers.insert(first.inputs[1].clone(), Arc::new(kernel));
    });
    let said = five.err().expect("refused");
    assert!(said.contains("read by a convolution of 5"), "{said}");
}
