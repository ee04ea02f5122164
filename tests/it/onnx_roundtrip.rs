//! ONNX files in and out: what is not touched comes back as it came, and no bytes, however hostile, do worse than an
//! error that says what to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffa::{Message, UnknownField, UnknownFieldData};
use practised::graph::{Attribute, DataType, Graph, InputShapes, Node, Patch, TensorData, ValueInfo, check, fold};
use practised::network::Origin;
use practised::network::analyse::analyse;
use practised::onnx::proto::{
    AttributeProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto, attribute_proto,
};
use practised::onnx::{OnnxError, decode, encode};
use proptest::prelude::*;

use crate::support::networks::*;

#[test]
fn a_decoded_file_is_encoded_to_the_same_bytes() {
    for constants in [Constants::Initializers, Constants::Nodes] {
        let bytes = ornate(TinyResNet { constants, ..Default::default() });
        let model = decode(&bytes).expect("decodes");
        assert!(encode(&model, &model.graph, &[]).expect("encodes") == bytes, "{constants:?}");
        assert_eq!(model.metadata(), [("author".to_owned(), "someone".to_owned())]);
    }
}

#[test]
fn what_a_patch_does_not_touch_stays_byte_for_byte() {
    let bytes = ornate(TinyResNet { constants: Constants::Nodes, ..Default::default() });
    let model = decode(&bytes).expect("decodes");
    let mut patch = Patch::new();
    patch.replace_value("layer1.1.act2.relu_output_0", "layer1.0.act2.relu_output_0");
    patch.set_tensor("layer2.1.conv1.weight_output_0", TensorData::from_f32(&[16, 16, 3, 3], &[0.25; 2304]));
    let student = patch.apply(&model.graph).expect("applies");
    let metadata = [("practised.dropped".to_owned(), "layer1.1".to_owned()), ("author".to_owned(), "us".to_owned())];
    let written = encode(&model, &student, &metadata).expect("encodes");

    let (old, new) = (proto(&bytes), proto(&written));
    let name = |node: &NodeProto| node.name.clone().unwrap_or_default();
    let expected: Vec<&NodeProto> = old.graph.node.iter().filter(|node| !name(node).starts_with("layer1.1")).collect();
    assert_eq!(new.graph.node.len(), expected.len());
    for (new, old) in new.graph.node.iter().zip(expected) {
        let edited = ["layer2.0.conv1", "layer2.0.shortcut", "layer2.1.conv1.weight"].contains(&name(new).as_str());
        assert_eq!(new == old, !edited, "{}", name(new));
        assert_eq!(new.metadata_props, old.metadata_props);
        assert_eq!(new.__buffa_unknown_fields, old.__buffa_unknown_fields);
        assert_eq!(new.doc_string, old.doc_string);
    }
    assert_eq!(new.graph.input, old.graph.input);
    assert_eq!(new.graph.output, old.graph.output);
    assert!(new.graph.value_info.len() < old.graph.value_info.len(), "types of dropped values are gone");
    assert_eq!((new.ir_version, &new.opset_import), (old.ir_version, &old.opset_import));
    let metadata = decode(&written).expect("decodes").metadata();
    assert_eq!(
        metadata,
        [("author", "us"), ("practised.dropped", "layer1.1")].map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
}

#[test]
fn a_changed_weight_changes_one_tensor() {
    let bytes = ornate(TinyResNet::default());
    let model = decode(&bytes).expect("decodes");
    let mut graph = model.graph.clone();
    graph.initializers.insert("fc.bias".into(), Arc::new(TensorData::from_f32(&[10], &[1.5; 10])));
    let (old, new) = (proto(&bytes), proto(&encode(&model, &graph, &[]).expect("encodes")));
    for (new, old) in new.graph.initializer.iter().zip(&old.graph.initializer) {
        assert_eq!(new.name, old.name);
        assert_eq!(new == old, new.name.as_deref() != Some("fc.bias"));
        assert_eq!(new.doc_string, old.doc_string);
    }
    let again = decode(&new.encode_to_vec()).expect("decodes");
    assert_eq!(again.graph.initializers["fc.bias"].to_f32(), Some(vec![1.5; 10]));
}

#[test]
fn tensors_arrive_the_same_in_raw_and_in_typed_fields() {
    let tensor = |number: i32, fill: fn(&mut TensorProto)| {
        let mut proto =
            TensorProto { name: Some("t".into()), dims: vec![2], data_type: Some(number), ..Default::default() };
        fill(&mut proto);
        let bytes = with_initializer(proto);
        let model = decode(&bytes).expect("decodes");
        assert!(encode(&model, &model.graph, &[]).expect("encodes") == bytes);
        TensorData::clone(&model.graph.initializers["t"])
    };
    assert_eq!(tensor(1, |t| t.float_data = vec![1.0, -2.5]).to_f32(), Some(vec![1.0, -2.5]));
    assert_eq!(
        tensor(1, |t| t.raw_data = Some([1.0f32, -2.5].map(f32::to_le_bytes).concat())).to_f32(),
        Some(vec![1.0, -2.5])
    );
    assert_eq!(tensor(7, |t| t.int64_data = vec![-1, i64::MAX]).to_i64(), Some(vec![-1, i64::MAX]));
    assert_eq!(tensor(6, |t| t.int32_data = vec![-1, 7]).to_i64(), Some(vec![-1, 7]));
    assert_eq!(tensor(3, |t| t.int32_data = vec![-1, 7]).to_i64(), Some(vec![-1, 7]));
    assert_eq!(tensor(9, |t| t.int32_data = vec![0, 1]).to_i64(), Some(vec![0, 1]));
    // 1.0 and -2.0 in half precision, bit for bit.
    let half = tensor(10, |t| t.int32_data = vec![0x3c00, 0xc000]);
    assert_eq!((half.dtype, half.bytes), (DataType::Float16, vec![0x00, 0x3c, 0x00, 0xc0]));
}

#[test]
fn initializers_that_old_exporters_list_as_inputs_are_no_inputs() {
    let mut message = proto(&TinyResNet::default().bytes());
    let listed = ValueInfoProto { name: Some("fc.bias".into()), ..Default::default() };
    message.graph.get_or_insert_default().input.push(listed);
    let bytes = message.encode_to_vec();
    let model = decode(&bytes).expect("decodes");
    assert_eq!(model.graph.inputs.len(), 1);
    assert!(encode(&model, &model.graph, &[]).expect("encodes") == bytes);
}

#[test]
fn every_other_kind_of_file_is_named() {
    let looks = |bytes: &[u8]| match decode(bytes) {
        Err(OnnxError::NotOnnx { looks_like }) => looks_like,
        other => panic!("{other:?}"),
    };
    assert_eq!(looks(b""), "an empty file");
    assert_eq!(looks(b"{\"model\": []}"), "a text file");
    assert_eq!(looks(b"<html><body>404</body></html>"), "a text file");
    assert_eq!(looks(b"PK\x03\x04\x14\x00\x00\x00images/1.png"), "a zip archive");
    assert_eq!(looks(b"\x89PNG\r\n\x1a\n0000"), "a PNG image");
    assert_eq!(looks(&[0xde, 0xad, 0xbe, 0xef].repeat(99)), "some other binary file");
    for pickle in [&b"\x80\x02}q\x00."[..], b"PK\x03\x04\x00\x00\x08\x08\x00\x00resnet18/data.pkl"] {
        let error = decode(pickle).expect_err("a pickle is never opened");
        assert!(matches!(error, OnnxError::Pickle { .. }), "{error:?}");
        assert!(error.to_string().contains("torch.onnx.export("), "{error}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_whole() {
    let bytes = ornate(TinyResNet { blocks: 1, ..Default::default() });
    let whole = decode(&bytes).expect("decodes").graph;
    let mut truncated = 0;
    for length in 0..bytes.len() {
        match decode(&bytes[..length]) {
            // Behind the graph and the operator sets only metadata can be missing, which nobody can tell.
            Ok(model) => assert_eq!(model.graph.nodes, whole.nodes, "cut to {length}"),
            Err(OnnxError::Truncated { bytes, .. }) => {
                assert_eq!(bytes, length);
                truncated += 1;
            }
            Err(OnnxError::NoGraph | OnnxError::NoOpset | OnnxError::NotOnnx { .. }) => {}
            Err(other) => panic!("cut to {length}: {other:?}"),
        }
    }
    assert!(truncated > bytes.len() * 9 / 10, "{truncated} of {}", bytes.len());
}

#[test]
fn weights_in_another_file_are_named_with_the_way_out() {
    let bytes = with_weight_elsewhere(&TinyResNet::default().bytes(), "../../etc/passwd");
    let error = decode(&bytes).expect_err("nothing is read from elsewhere");
    assert!(matches!(&error, OnnxError::ExternalData { tensor, count: 1, .. } if tensor == "fc.weight"), "{error:?}");
    assert!(error.to_string().contains("external_data=False"), "{error}");
}

#[test]
fn tensors_that_claim_what_they_do_not_hold_are_refused() {
    let refused = |dims: Vec<i64>, raw: usize| {
        let tensor = TensorProto {
            name: Some("t".into()),
            dims,
            data_type: Some(1),
            raw_data: Some(vec![0; raw]),
            ..Default::default()
        };
        match decode(&with_initializer(tensor)) {
            Err(OnnxError::BadTensor { tensor, detail }) => format!("{tensor}: {detail}"),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(vec![100 << 30], 20).contains("does not fit its 20 bytes"));
    assert!(refused(vec![2], 7).contains("does not fit its 7 bytes"));
    assert!(refused(vec![-1, 4], 16).contains("negative"));
    assert!(refused(vec![1 << 40, 1 << 40], 0).contains("is too large"));
    assert!(refused(vec![1 << 40, 1 << 40, 0], 0).contains("is too large"));
    let twice = TensorProto {
        name: Some("t".into()),
        dims: vec![1],
        data_type: Some(1),
        raw_data: Some(vec![0; 4]),
        float_data: vec![1.0],
        ..Default::default()
    };
    let error = decode(&with_initializer(twice)).expect_err("0 or 1").to_string();
    assert!(error.contains("twice"), "{error}");
    let strings = TensorProto {
        name: Some("t".into()),
        data_type: Some(8),
        string_data: vec![b"a".to_vec()],
        ..Default::default()
    };
    assert!(matches!(decode(&with_initializer(strings)), Err(OnnxError::UnsupportedTensor { .. })));
}

#[test]
fn an_empty_tensor_with_a_huge_size_beside_its_zero_costs_nothing() {
    let hollow =
        TensorProto { name: Some("t".into()), dims: vec![0, 1 << 50], data_type: Some(1), ..Default::default() };
    let mut model = decode(&with_initializer(hollow)).expect("an empty tensor is allowed");
    for op in ["Transpose", "Neg", "Identity", "Shape"] {
        let node =
            Node { op: op.into(), inputs: vec!["t".into()], outputs: vec![format!("{op}_out")], ..Node::default() };
        model.graph.nodes.insert(0, node);
    }
    let started = Instant::now();
    fold(&model.graph, &InputShapes::new()).expect("folds");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn control_flow_and_functions_are_named() {
    let mut message = proto(&TinyResNet::default().bytes());
    let branch = AttributeProto {
        name: Some("then_branch".into()),
        r#type: Some(attribute_proto::AttributeType::GRAPH),
        g: practised::onnx::proto::GraphProto::default().into(),
        ..Default::default()
    };
    let node = &mut message.graph.get_or_insert_default().node[3];
    node.op_type = Some("If".into());
    node.attribute.push(branch);
    let error = analyse(&message.encode_to_vec()).expect_err("subgraphs are not read");
    assert_eq!(error.code().as_str(), "control_flow_unsupported");
    assert!(error.faults()[0].hint.as_ref().is_some_and(|hint| hint.contains("control flow")), "{error:?}");

    let mut message = proto(&TinyResNet::default().bytes());
    message.functions.push(practised::onnx::proto::FunctionProto { name: Some("Block".into()), ..Default::default() });
    let error = decode(&message.encode_to_vec()).expect_err("functions are not read").to_string();
    assert!(error.contains("(Block)") && error.contains("inline_local_functions"), "{error}");
}

#[test]
fn a_bomb_of_empty_nodes_or_deep_nesting_is_refused_quickly() {
    // Twenty million empty nodes are 40 MB here and would be 10 GB of messages.
    let nodes = field(0x3a, &[0x0a, 0x00].repeat(20_000_000));
    // A graph in an attribute of a node of a graph in an attribute of a node …
    let graphs = (0..2_000).fold(Vec::new(), |graph, _| field(0x0a, &field(0x2a, &field(0x32, &graph))));
    let started = Instant::now();
    for (name, graph) in [("nodes", nodes), ("depth", field(0x3a, &graphs))] {
        let bytes = [vec![0x08, 0x0a], graph, field(0x42, &[0x10, 18])].concat();
        let error = decode(&bytes).expect_err("a bomb");
        assert!(matches!(error, OnnxError::TooComplex { .. }), "{name}: {error:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn more_of_anything_than_a_network_has_is_refused_with_its_number() {
    let made = |change: &dyn Fn(&mut Graph)| {
        let mut graph = TinyResNet::default().graph();
        change(&mut graph);
        practised::onnx::encode_graph(&graph, 8).expect("encodes")
    };
    let inputs = |count: usize| {
        made(&|graph| {
            let other = graph.inputs[0].clone();
            graph.inputs.extend((1..count).map(|at| ValueInfo { name: format!("other {at}"), ..other.clone() }));
        })
    };
    let reads = made(&|graph| graph.nodes[0].inputs.resize(1_000_000, String::new()));
    let writes = made(&|graph| graph.nodes[0].outputs.resize(1_000_000, String::new()));
    let list = |count: usize| made(&|graph| graph.nodes[0].attrs.set("list", Attribute::Ints(vec![1; count])));
    // All lists are counted together.
    let lists = made(&|graph| {
        graph.nodes[0].attrs.set("list", Attribute::Ints(vec![1; 1 << 19]));
        graph.nodes[1].attrs.set("list", Attribute::Floats(vec![1.0; 1 << 19]));
    });
    for (bytes, words) in [
        (inputs(1001), "1001 inputs, more than the limit of 1000"),
        (reads, "inputs and outputs of nodes, more than the limit of 1000000"),
        (writes, "inputs and outputs of nodes, more than the limit of 1000000"),
        (list(1 << 20), "store long lists as tensors), more than the limit of 1048576"),
        (lists, "store long lists as tensors), more than the limit of 1048576"),
    ] {
        let error = decode(&bytes).expect_err(words);
        assert!(error.code().as_str() == "model_too_complex" && error.to_string().contains(words), "{error}");
    }
    decode(&inputs(1000)).expect("a thousand inputs are read");
    decode(&list(1 << 19)).expect("so is a list of half a million");
}

#[test]
fn real_exports_come_back_byte_for_byte_and_fold_to_plain_graphs() {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    let Ok(entries) = std::fs::read_dir(&models) else { return println!("skipped: no ../shared") };
    let files = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"));
    for path in files {
        let bytes = std::fs::read(&path).expect("readable");
        let model = decode(&bytes).expect("decodes");
        assert!(encode(&model, &model.graph, &[]).expect("encodes") == bytes, "{path:?}");
        let folded = fold(&model.graph, &InputShapes::new()).expect("folds");
        for node in &folded.nodes {
            let computable = node.inputs.iter().all(|name| name.is_empty() || folded.initializers.contains_key(name));
            assert!(!computable, "{path:?} keeps {} {}, which is constant", node.op, node.label());
        }
        // Whatever it calls its sizes: it is looked at, or refused for what it is.
        if let Err(refused) = analyse(&bytes) {
            assert_eq!(refused.origin(), Origin::Input, "{path:?}: {refused}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Flipped, removed and inserted bytes: an error or a graph, which then folds or is refused, and never a panic.
    #[test]
    fn damaged_files_never_do_worse_than_an_error(
        form in 0..4usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
    ) {
        let (constants, shapes) = (
            [Constants::Initializers, Constants::Nodes][form % 2],
            [Shapes::Constant, Shapes::Computed][form / 2],
        );
        let shortcut = Shortcut::SlicePad;
        // Narrow, so that much of the file is structure rather than weights.
        let mut bytes = TinyResNet { width: 2, blocks: 1, constants, shapes, shortcut, ..Default::default() }.bytes();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        if let Ok(model) = decode(&bytes) {
            let _ = check(&model.graph);
            let _ = fold(&model.graph, &InputShapes::new());
            encode(&model, &model.graph, &[]).expect("what was decoded can be encoded");
        }
    }

    /// Integers where the network has sizes, pads and axes: arithmetic must not overflow.
    #[test]
    fn absurd_attributes_never_do_worse_than_an_error(
        node in any::<prop::sample::Index>(),
        values in prop::collection::vec(prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(0), Just(-1), any::<i64>(), -9..9i64], 0..9),
    ) {
        let (shapes, shortcut, constants) = (Shapes::Computed, Shortcut::SlicePad, Constants::Nodes);
        let mut graph = TinyResNet { width: 2, blocks: 1, shapes, shortcut, constants, ..Default::default() }.graph();
        let at = node.index(graph.nodes.len());
        let node = &mut graph.nodes[at];
        let ints = Arc::new(TensorData::from_i64(&[values.len()], &values));
        for attribute in node.attrs.0.values_mut() {
            match attribute {
                Attribute::Ints(old) => old.clone_from(&values),
                Attribute::Int(old) => *old = values.first().copied().unwrap_or_default(),
                Attribute::Tensor(old) if old.dtype == DataType::Int64 => *old = Arc::clone(&ints),
                _ => {}
            }
        }
        let _ = check(&graph);
        let _ = fold(&graph, &InputShapes::new());
    }
}

fn proto(bytes: &[u8]) -> ModelProto {
    ModelProto::decode_from_slice(bytes).expect("a message")
}

/// One length-delimited protobuf field.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes.as_slice(), content].concat()
}

/// A network with one more initializer.
fn with_initializer(tensor: TensorProto) -> Vec<u8> {
    let mut message = proto(&TinyResNet { blocks: 1, ..Default::default() }.bytes());
    message.graph.get_or_insert_default().initializer.push(tensor);
    message.encode_to_vec()
}

/// A network file with everything in it that a reader could lose: doc strings, metadata, types, unknown fields.
fn ornate(form: TinyResNet) -> Vec<u8> {
    let mut message = proto(&form.bytes());
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
        ..Default::default()
    };
    let unknown =
        |number| UnknownField { number, data: UnknownFieldData::LengthDelimited(b"from the future".to_vec()) };
    message.doc_string = Some("a network".into());
    message.metadata_props.push(entry("author", "someone"));
    message.__buffa_unknown_fields.push(unknown(99));
    let types: Graph = fold(&form.graph(), &InputShapes::new()).expect("folds");
    let graph = message.graph.get_or_insert_default();
    graph.__buffa_unknown_fields.push(unknown(98));
    for (i, node) in graph.node.iter_mut().enumerate() {
        node.doc_string = Some(format!("node {i}"));
        node.metadata_props.push(entry("pkg.torch.onnx.stack_trace", &format!("line {i}")));
        node.__buffa_unknown_fields.push(unknown(97));
        node.attribute.iter_mut().for_each(|attribute| attribute.doc_string = Some("an attribute".into()));
    }
    for tensor in &mut graph.initializer {
        tensor.doc_string = Some("a weight".into());
    }
    let typed = types.values.keys().map(|name| ValueInfoProto {
        name: Some(name.clone()),
        doc_string: Some("a value".into()),
        ..Default::default()
    });
    graph.value_info = typed.collect();
    message.encode_to_vec()
}
