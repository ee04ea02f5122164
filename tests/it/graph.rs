//! Graphs as customers' files bring them: folded to a plain form, cut by patches, freed of a fixed batch, or refused
//! with everything that is wrong with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use practised::graph::{
    Attribute, DataType, Dim, Graph, InputShapes, Node, Patch, TensorData, ValueInfo, ValueType, check, fold,
    free_batch,
};

use crate::support::networks::*;

fn n() -> Dim {
    Dim::Symbol("N".into())
}

fn every_form() -> Vec<TinyResNet> {
    let mut forms = Vec::new();
    for style in [Style::Basic, Style::MbConv] {
        for (bn, opset) in [(BatchNorm::Kept, 17), (BatchNorm::Folded, 18)] {
            for constants in [Constants::Initializers, Constants::Nodes] {
                for shapes in [Shapes::Constant, Shapes::Computed] {
                    for (shortcut, head) in
                        [(Shortcut::Conv, Head::GapFlattenGemm), (Shortcut::SlicePad, Head::ReduceMean)]
                    {
                        let form =
                            TinyResNet { style, bn, opset, constants, shapes, shortcut, head, ..Default::default() };
                        forms.push(form);
                    }
                }
            }
        }
    }
    forms
}

#[test]
fn every_form_of_a_network_folds_to_convolutions_and_little_else() {
    let plain: BTreeSet<&str> =
        "Conv BatchNormalization Relu Clip Add Pad Slice GlobalAveragePool ReduceMean Flatten Reshape Gemm"
            .split(' ')
            .collect();
    for form in every_form() {
        let folded = fold(&form.graph(), &InputShapes::new()).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let left: Vec<&str> = folded.nodes.iter().map(|n| n.op.as_str()).filter(|op| !plain.contains(op)).collect();
        assert!(left.is_empty(), "{form:?} keeps {left:?}");
        for node in &folded.nodes {
            let shape = folded.shape(node.output()).unwrap_or_else(|| panic!("{} has a shape", node.label()));
            assert_eq!(shape[0], n(), "{} of {form:?}", node.label());
            assert!(!shape.contains(&Dim::Unknown), "{}: {shape:?}", node.label());
        }
        assert_eq!(folded.shape("logits"), Some(vec![n(), Dim::Known(10)]));
        check(&folded).expect("a folded graph is a good graph");
    }
}

#[test]
fn the_target_of_a_flatten_that_follows_the_batch_becomes_a_copy() {
    let form = TinyResNet { shapes: Shapes::Computed, ..Default::default() };
    let folded = fold(&form.graph(), &InputShapes::new()).expect("folds");
    let reshape = folded.nodes.iter().find(|node| node.op == "Reshape").expect("the flatten is a Reshape");
    assert_eq!(folded.initializers[reshape.input(1).expect("has a target")].to_i64(), Some(vec![0, 16]));
}

#[test]
fn sizes_that_a_file_leaves_free_come_from_the_caller() {
    let mut graph = TinyResNet::default().graph();
    let free = ["H", "W"].map(|name| Dim::Symbol(name.into()));
    graph.inputs[0].ty.shape = Some([vec![n(), Dim::Known(3)], free.to_vec()].concat());

    let symbolic = fold(&graph, &InputShapes::new()).expect("folds with free sizes");
    let (add, shortcut) = ("layer2.0.add_output_0", "layer2.0.shortcut.bn_output_0");
    assert_eq!(symbolic.shape(add), symbolic.shape(shortcut), "branch and shortcut halve alike");
    assert_eq!(symbolic.shape(add).expect("known")[2], Dim::Symbol("ceil(H/2)".into()));

    let shape = vec![n(), Dim::Known(3), Dim::Known(12), Dim::Known(10)];
    let fixed = fold(&graph, &[("input".to_owned(), shape)].into()).expect("folds with the job's sizes");
    assert_eq!(fixed.shape(add), Some(vec![n(), Dim::Known(16), Dim::Known(6), Dim::Known(5)]));

    let wrong = [("input".to_owned(), vec![n(), Dim::Known(4), Dim::Known(8), Dim::Known(8)])].into();
    let error = fold(&graph, &wrong).expect_err("three channels, not four").to_string();
    assert!(error.contains("has shape (N, 3, H, W), not (N, 4, 8, 8)"), "{error}");
}

#[test]
fn a_block_found_on_the_folded_graph_is_dropped_from_the_file() {
    for form in every_form() {
        let graph = form.graph();
        let last = if form.style == Style::Basic { "layer1.1.act2.relu" } else { "layer1.1.add" };
        let before = if form.style == Style::Basic { "layer1.0.act2.relu" } else { "layer1.0.add" };
        let mut patch = Patch::new();
        patch.replace_value(&format!("{last}_output_0"), &format!("{before}_output_0"));
        let student = patch.apply(&graph).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let gone = |graph: &Graph| {
            let nodes = graph.nodes.iter().map(|node| node.name.clone());
            nodes.chain(graph.initializers.keys().cloned()).filter(|name| name.starts_with("layer1.1")).count()
        };
        assert!(gone(&graph) > 4 && gone(&student) == 0, "{form:?}");
        let expected: Vec<&Node> = graph.nodes.iter().filter(|node| !node.name.starts_with("layer1.1")).collect();
        assert_eq!(student.nodes.len(), expected.len());
        let mut moved =
            student.nodes.iter().zip(expected).filter(|(student, teacher)| student.inputs != teacher.inputs);
        assert!(moved.all(|(student, _)| student.inputs.contains(&format!("{before}_output_0"))));
        fold(&student, &InputShapes::new()).expect("the student folds");
    }
}

#[test]
fn an_output_of_the_network_keeps_its_name_when_what_wrote_it_is_dropped() {
    let graph = two_outputs();
    let mut patch = Patch::new();
    patch.replace_value("b", "a");
    let cut = patch.apply(&graph).expect("applies");
    assert_eq!(cut.outputs, graph.outputs);
    let writer = cut.nodes.iter().find(|node| node.output() == "b").expect("b is still written");
    assert_eq!((writer.op.as_str(), writer.inputs.as_slice()), ("Identity", ["a".to_owned()].as_slice()));
    assert!(!cut.nodes.iter().any(|node| node.op == "Sigmoid"), "nothing needs the old writer");
}

#[test]
fn a_node_inserted_before_an_output_leaves_the_name_in_place() {
    let mut patch = Patch::new();
    patch.insert_node_after("b", node("Tanh", &["b"], "new"));
    let graph = patch.apply(&two_outputs()).expect("applies");
    let written: Vec<String> =
        graph.nodes.iter().map(|n| format!("{} {} {}", n.op, n.inputs.join(","), n.output())).collect();
    assert_eq!(written, ["Relu x a", "Sigmoid a b_before", "Tanh b_before new", "Neg new c", "Identity new b"]);
}

#[test]
fn a_weight_is_set_however_the_file_holds_it() {
    let value = |graph: &Graph| {
        let folded = fold(graph, &InputShapes::new()).expect("folds");
        folded.initializers["w"].to_f32().expect("floats")
    };
    let new = TensorData::from_f32(&[2, 1], &[5.0, 6.0]);
    for (kind, graph) in [("initializer", initializer()), ("Constant", constant_node()), ("Transpose", transposed())] {
        assert_eq!(value(&graph), [1.0, 2.0], "{kind}");
        let mut patch = Patch::new();
        patch.set_tensor("w", new.clone());
        let set = patch.apply(&graph).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(value(&set), [5.0, 6.0], "{kind}");
        assert_eq!(set.nodes.iter().any(|node| node.op == "Constant"), kind == "Constant");
        assert!(!set.nodes.iter().any(|node| node.op == "Transpose"), "{kind}");
        assert!(!set.initializers.contains_key("w_t"), "nothing reads it any more");
    }
}

#[test]
fn a_weight_that_another_shares_through_an_identity_is_set_alone() {
    let mut graph = initializer();
    graph.nodes.push(node("Identity", &["w"], "shared"));
    graph.nodes.push(node("MatMul", &["x", "shared"], "z"));
    graph.outputs.push(value("z", &[1, 1]));
    let mut patch = Patch::new();
    patch.set_tensor("w", TensorData::from_f32(&[2, 1], &[5.0, 6.0]));
    let set = fold(&patch.apply(&graph).expect("applies"), &InputShapes::new()).expect("folds");
    assert_eq!(set.initializers["w"].to_f32(), Some(vec![5.0, 6.0]));
    assert_eq!(set.initializers["shared"].to_f32(), Some(vec![1.0, 2.0]));
}

#[test]
fn what_the_input_decides_cannot_be_set() {
    let mut patch = Patch::new();
    patch.set_tensor("y", TensorData::from_f32(&[1, 1], &[0.0]));
    let error = patch.apply(&initializer()).expect_err("y is computed").to_string();
    assert!(error.contains("`y`") && error.contains("depends on the network's input"), "{error}");
}

#[test]
fn a_convolution_gains_a_bias() {
    let graph = TinyResNet::default().graph();
    let name = graph.free_name("stem.bias");
    let mut patch = Patch::new();
    patch.add_initializer(&name, TensorData::from_f32(&[8], &[0.5; 8])).set_input("stem_output_0", 2, &name);
    let wider = patch.apply(&graph).expect("applies");
    assert_eq!(wider.nodes[0].inputs, ["input", "stem.weight", "stem.bias"]);
    let mut wrong = Patch::new();
    wrong.add_initializer(&name, TensorData::from_f32(&[7], &[0.5; 7])).set_input("stem_output_0", 2, &name);
    let error = wrong.apply(&graph).expect_err("seven biases for eight channels").to_string();
    assert!(error.contains("Conv `stem`") && error.contains("the bias has shape (7), not (8)"), "{error}");
}

#[test]
fn what_nothing_needed_before_a_patch_stays() {
    let mut graph = two_outputs();
    graph.nodes.push(node("Abs", &["a"], "unused"));
    graph.initializers.insert("spare".into(), Arc::new(TensorData::from_f32(&[1], &[1.0])));
    let mut patch = Patch::new();
    patch.replace_value("b", "a");
    let cut = patch.apply(&graph).expect("applies");
    assert!(cut.nodes.iter().any(|node| node.output() == "unused"));
    assert!(cut.initializers.contains_key("spare"));
}

#[test]
fn a_fixed_batch_is_freed_through_every_target_that_spells_it_out() {
    for shapes in [Shapes::Constant, Shapes::Computed] {
        let form = TinyResNet { batch: Batch::Fixed(4), shapes, ..Default::default() };
        let mut graph = form.graph();
        spell_out_the_batch(&mut graph, 4);
        let folded = fold(&free_batch(&graph), &InputShapes::new()).expect("folds");
        assert_eq!(folded.shape("input").expect("known")[0], n());
        assert_eq!(folded.shape("logits"), Some(vec![n(), Dim::Known(10)]), "{shapes:?}");
    }
}

/// As Swin's windows are cut out of the images of a batch and put back.
#[test]
fn a_fixed_batch_is_freed_where_it_is_joined_with_other_sizes() {
    let sizes = [2, 4, 6, 3];
    let mut graph = Graph { inputs: vec![value("x", &sizes)], outputs: vec![value("y", &sizes)], ..opset(18) };
    let ints = |values: &[i64]| Arc::new(TensorData::from_i64(&[values.len()], values));
    for (name, target) in
        [("apart", vec![2, 2, 2, 2, 3, 3]), ("windows", vec![8, 6, 3]), ("back", vec![2, 2, 2, 2, 3, 3])]
    {
        graph.initializers.insert(name.into(), ints(&target));
    }
    graph.initializers.insert("whole".into(), ints(&sizes.map(|size| size as i64)));
    let mut order = node("Transpose", &["a"], "b");
    order.attrs.set("perm", Attribute::Ints(vec![0, 1, 3, 2, 4, 5]));
    let again = Node { inputs: vec!["d".into()], outputs: vec!["e".into()], ..order.clone() };
    graph.nodes = vec![
        node("Reshape", &["x", "apart"], "a"),
        order,
        node("Reshape", &["b", "windows"], "c"),
        node("Reshape", &["c", "back"], "d"),
        again,
        node("Reshape", &["e", "whole"], "y"),
    ];
    let folded = fold(&free_batch(&graph), &InputShapes::new()).expect("folds");
    assert_eq!(folded.shape("c"), Some(vec![Dim::Symbol("4*N".into()), Dim::Known(6), Dim::Known(3)]));
    assert_eq!(folded.shape("y"), Some(vec![n(), Dim::Known(4), Dim::Known(6), Dim::Known(3)]));
}

/// The class token of a vision transformer: exported for one image it is there once, for four images four times.
#[test]
fn what_is_there_for_each_image_alike_is_spread_over_all() {
    for (batch, alike) in [(1, true), (4, true), (4, false)] {
        let mut graph =
            Graph { inputs: vec![value("x", &[batch, 9, 3])], outputs: vec![value("y", &[batch, 10, 3])], ..opset(18) };
        let mut token = [0.5, 1.0, 2.0].repeat(batch);
        token[3 * batch - 1] += if alike { 0.0 } else { 1.0 };
        graph.initializers.insert("token".into(), Arc::new(TensorData::from_f32(&[batch, 1, 3], &token)));
        let mut joined = node("Concat", &["token", "x"], "y");
        joined.attrs.set("axis", Attribute::Int(1));
        graph.nodes.push(joined);
        let freed = free_batch(&graph);
        assert_eq!(freed.inputs[0].ty.shape.as_ref().expect("known")[0] == n(), alike);
        let folded = fold(&freed, &InputShapes::new()).expect("folds");
        assert_eq!(folded.shape("y"), Some(freed.outputs[0].ty.shape.clone().expect("known")));
    }
}

#[test]
fn what_is_added_to_each_image_alike_is_added_once() {
    for last in [2.0, 3.0] {
        let mut graph = Graph { inputs: vec![value("x", &[2, 3])], outputs: vec![value("y", &[2, 3])], ..opset(18) };
        let shift = TensorData::from_f32(&[2, 3], &[0.5, 1.0, 2.0, 0.5, 1.0, last]);
        graph.initializers.insert("shift".into(), Arc::new(shift));
        graph.initializers.insert("sizes".into(), Arc::new(TensorData::from_i64(&[2], &[2, 3])));
        graph.nodes.push(node("Add", &["x", "shift"], "z"));
        graph.nodes.push(node("Expand", &["z", "sizes"], "y"));
        assert_eq!(free_batch(&graph).inputs[0].ty.shape.as_ref().expect("known")[0] == n(), last == 2.0);
    }
}

#[test]
fn a_network_that_cannot_do_with_another_batch_comes_back_as_it_is() {
    let mut graph = Graph { inputs: vec![value("x", &[2, 3])], outputs: vec![value("y", &[2, 3])], ..opset(18) };
    graph
        .initializers
        .insert("per_image".into(), Arc::new(TensorData::from_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])));
    graph.nodes.push(node("Add", &["x", "per_image"], "y"));
    assert_eq!(free_batch(&graph).inputs, graph.inputs);
    let free = TinyResNet::default().graph();
    assert_eq!(free_batch(&free).inputs, free.inputs);
}

#[test]
fn everything_wrong_with_the_structure_is_listed_at_once() {
    let mut graph = TinyResNet::default().graph();
    graph.initializers.shift_remove("layer1.0.conv1.weight");
    graph.initializers.shift_remove("fc.bias");
    graph.outputs.push(value("nowhere", &[1]));
    let error = check(&graph).expect_err("three faults");
    let text = error.to_string();
    for part in ["Conv `layer1.0.conv1`", "`layer1.0.conv1.weight`, which nothing writes", "Gemm `fc`", "`nowhere`"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(error.problems.len(), 3, "{text}");
}

#[test]
fn a_cycle_and_a_name_written_twice_are_refused() {
    let mut graph = two_outputs();
    graph.nodes[0].inputs = vec!["b".into()];
    let error = check(&graph).expect_err("a cycle").to_string();
    assert!(error.contains("cycle") && error.contains('→'), "{error}");
    let mut graph = two_outputs();
    graph.nodes.push(node("Abs", &["x"], "a"));
    let error = check(&graph).expect_err("a is written twice").to_string();
    assert!(error.contains("writes `a`, which is already written"), "{error}");
}

#[test]
fn shapes_that_do_not_fit_are_all_named() {
    let mut graph = TinyResNet::default().graph();
    let weight = |dims: &[usize]| Arc::new(TensorData::from_f32(dims, &vec![0.0; dims.iter().product()]));
    graph.initializers.insert("layer1.0.conv1.weight".into(), weight(&[8, 9, 3, 3]));
    graph.initializers.insert("layer1.1.conv1.bn.bias".into(), weight(&[5]));
    graph.initializers.insert("fc.weight".into(), weight(&[10, 15]));
    let error = check(&graph).expect_err("three faults").to_string();
    for part in [
        "Conv `layer1.0.conv1`: the input of shape (N, 8, 8, 8) does not have the (9) channels",
        "BatchNormalization `layer1.1.conv1.bn`: `layer1.1.conv1.bn.bias` has shape (5)",
        "Gemm `fc`: matrices of shapes (N, 16) and (10, 15) do not multiply",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(error.matches("export the network again").count(), 1, "the way out is said once: {error}");

    let mut graph = TinyResNet { bn: BatchNorm::Folded, ..Default::default() }.graph();
    graph.initializers.insert("layer1.1.conv2.weight".into(), weight(&[6, 8, 3, 3]));
    graph.initializers.insert("layer1.1.conv2.bias".into(), weight(&[6]));
    let error = check(&graph).expect_err("6 channels do not add to 8").to_string();
    assert!(error.contains("Add `layer1.1.add`: shapes (N, 6, 8, 8) and (N, 8, 8, 8) do not broadcast"), "{error}");
}

#[test]
fn a_made_up_tensor_of_a_hundred_gigabytes_is_refused_unallocated() {
    let size = [100usize << 10, 1 << 20];
    let ints = |values: &[i64]| Arc::new(TensorData::from_i64(&[values.len()], values));
    for (op, inputs) in
        [("ConstantOfShape", vec!["size"]), ("Expand", vec!["one", "size"]), ("Tile", vec!["one", "size"])]
    {
        let mut graph = Graph { inputs: vec![value("x", &[1])], outputs: vec![value("y", &[1, 1])], ..opset(18) };
        graph.initializers.insert("size".into(), ints(&size.map(|s| s as i64)));
        graph.initializers.insert("one".into(), Arc::new(TensorData::from_f32(&[1, 1], &[1.0])));
        graph.nodes.push(node(op, &inputs, "huge"));
        graph.nodes.push(node("Add", &["x", "huge"], "y"));
        let error = fold(&graph, &InputShapes::new()).expect_err("too large").to_string();
        assert!(error.contains(&format!("{op} `huge`")) && error.contains("429496729600 bytes"), "{error}");
    }
}

#[test]
fn many_tensors_that_are_large_together_are_refused_as_well() {
    let mut graph = Graph { inputs: vec![value("x", &[1])], outputs: vec![value("y", &[4096])], ..opset(18) };
    graph.initializers.insert("size".into(), Arc::new(TensorData::from_i64(&[1], &[4096])));
    let names: Vec<String> = (0..5000).map(|i| format!("zeros_{i}")).collect();
    graph.nodes = names.iter().map(|name| node("ConstantOfShape", &["size"], name)).collect();
    let all: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    graph.nodes.push(node("Sum", &all, "y"));
    check(&graph).expect("the shapes agree");
    let error = fold(&graph, &InputShapes::new()).expect_err("80 MB from 8 bytes").to_string();
    assert!(error.contains("`zeros_4999`: computes 16384 bytes from constants alone"), "{error}");
}

#[test]
fn operators_that_nobody_knows_keep_the_types_that_the_file_declares() {
    let mut graph = Graph { inputs: vec![value("x", &[1, 4])], outputs: vec![value("y", &[1, 4])], ..opset(18) };
    graph.nodes.push(Node { domain: "com.acme".into(), ..node("Magic", &["x"], "m") });
    graph.nodes.push(node("Relu", &["m"], "y"));
    assert_eq!(fold(&graph, &InputShapes::new()).expect("folds").shape("y"), Some(vec![Dim::Known(1), Dim::Known(4)]));
    graph.values.insert("m".into(), value("m", &[1, 7]).ty);
    let folded = fold(&graph, &InputShapes::new()).expect("folds");
    assert_eq!(folded.values["m"].shape, Some(vec![Dim::Known(1), Dim::Known(7)]));
}

fn opset(version: i64) -> Graph {
    Graph { name: "test".into(), opsets: [(String::new(), version)].into(), ..Graph::default() }
}

fn value(name: &str, dims: &[usize]) -> ValueInfo {
    let shape = Some(dims.iter().copied().map(Dim::Known).collect());
    ValueInfo { name: name.into(), ty: ValueType { dtype: DataType::Float32, shape } }
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    Node { op: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
}

/// x → Relu → a → Sigmoid → b → Neg → c, with b and c as outputs.
fn two_outputs() -> Graph {
    let nodes = vec![node("Relu", &["x"], "a"), node("Sigmoid", &["a"], "b"), node("Neg", &["b"], "c")];
    Graph {
        inputs: vec![value("x", &[1, 2])],
        outputs: vec![value("b", &[1, 2]), value("c", &[1, 2])],
        nodes,
        ..opset(17)
    }
}

/// y = x · w with w = (1, 2) as an initializer.
fn initializer() -> Graph {
    let mut graph = Graph { inputs: vec![value("x", &[1, 2])], outputs: vec![value("y", &[1, 1])], ..opset(17) };
    graph.initializers.insert("w".into(), Arc::new(TensorData::from_f32(&[2, 1], &[1.0, 2.0])));
    graph.nodes.push(node("MatMul", &["x", "w"], "y"));
    graph
}

/// The same with w from a `Constant` node.
fn constant_node() -> Graph {
    let mut graph = initializer();
    let data = graph.initializers.shift_remove("w").expect("was there");
    let mut constant = node("Constant", &[], "w");
    constant.attrs.set("value", Attribute::Tensor(data));
    graph.nodes.insert(0, constant);
    graph
}

/// The same with w as the transpose of an initializer.
fn transposed() -> Graph {
    let mut graph = initializer();
    let data = graph.initializers.shift_remove("w").expect("was there");
    graph.initializers.insert("w_t".into(), Arc::new(TensorData { dims: vec![1, 2], ..TensorData::clone(&data) }));
    graph.nodes.insert(0, node("Transpose", &["w_t"], "w"));
    graph
}

/// Replaces the flatten by a Reshape whose constant target has the batch in it, and adds another such pair before it.
fn spell_out_the_batch(graph: &mut Graph, batch: i64) {
    let at = graph.nodes.iter().position(|node| node.name == "flatten").expect("has a flatten");
    let pooled = graph.nodes[at].inputs[0].clone();
    let ints = |values: &[i64]| Arc::new(TensorData::from_i64(&[values.len()], values));
    graph.initializers.insert("there".into(), ints(&[batch, 4, -1]));
    graph.initializers.insert("back".into(), ints(&[batch, 16]));
    graph.nodes[at] = Node { name: "flatten".into(), ..node("Reshape", &["there_output", "back"], "flatten_output_0") };
    graph.nodes.insert(at, node("Reshape", &[&pooled, "there"], "there_output"));
}
