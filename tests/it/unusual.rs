//! Networks that are unusual and legal: features that do not end in a linear head, weights with several jobs, parameters that
//! are computed, outputs of other kinds. Each goes the whole way, or is refused with the reason.

use practised::compress::CompressError;
use practised::compress::file::{outputs, to_onnx, verify};
use practised::compress::student::batchnorm;
use practised::exec::Device;
use practised::graph::{Attribute, DataType, Dim, TensorData};
use practised::network::Network;
use practised::network::blocks::Block;
use practised::onnx;

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::noise;
use crate::support::scene::Scene;
use crate::support::tokens::{Sketch, WIDTH, value};

/// Maps in, maps out, by two convolutions of 1 × 1.
fn block(net: &mut Sketch, name: &str, x: &str) -> String {
    let a = net.pointwise(&format!("{name}.a"), x, WIDTH, WIDTH);
    let bent = net.node("Relu", &format!("{name}.relu"), &[&a], &[]);
    let b = net.pointwise(&format!("{name}.b"), &bent, WIDTH, WIDTH);
    net.add(&format!("{name}.sum"), x, &b)
}

/// The same on tokens of this width.
fn mlp(net: &mut Sketch, name: &str, x: &str, width: usize) -> String {
    let a = net.linear(&format!("{name}.a"), x, width, width);
    let bent = net.node("Relu", &format!("{name}.relu"), &[&a], &[]);
    let b = net.linear(&format!("{name}.b"), &bent, width, width);
    net.add(&format!("{name}.sum"), x, &b)
}

fn blocks(net: &mut Sketch, count: usize, x: &str) -> String {
    (0..count).fold(x.to_owned(), |x, index| block(net, &format!("b.{index}"), &x))
}

fn file(mut net: Sketch, output: &[usize]) -> Vec<u8> {
    net.end(output);
    onnx::encode_graph(&net.graph, 10).expect("written")
}

/// Every block scored, one dropped and recovered, the file compared with the student in memory. The names of the droppable
/// blocks.
fn whole_way(file: &[u8]) -> Vec<String> {
    let scene = Scene::seeing(file, noise(&[24, 3, 8, 8], 5), 8);
    let droppable: Vec<&Block> = scene.network.blocks.iter().filter(|block| block.droppable()).collect();
    for block in &droppable {
        let fitted = scene.score(block);
        assert!(fitted.plain.deciding() > 0.0, "{}: the tap ({}) sees it go", block.name, scene.network.tap.reason);
    }
    let block = droppable[0];
    let (_, recovered) = scene.recover(&[&block.name], 4);
    let network = &scene.network;
    let exported = to_onnx(network, &[block], &recovered.student, &[]).expect("exports");
    let images = noise(&[3, 3, 8, 8], 1);
    let in_memory = outputs(network, &recovered.student, &images).expect("runs");
    verify(network, &exported, &images, Some(&in_memory), Device::Cpu).expect("the file is the student");
    droppable.iter().map(|block| block.name.clone()).collect()
}

/// Two blocks, patches merged by a linear layer, two blocks, the mean over the tokens: an embedding without a head.
#[test]
fn blocks_behind_the_last_linear_layer_are_seen_by_the_output() {
    let mut net = Sketch::new();
    let maps = net.patches();
    let mut x = net.tokens(&maps);
    x = mlp(&mut net, "first.0", &x, WIDTH);
    x = net.reshape("four", &x, &[0, 4, 4 * WIDTH as i64]);
    x = net.linear("merge", &x, 4 * WIDTH, WIDTH);
    x = mlp(&mut net, "second.0", &x, WIDTH);
    x = mlp(&mut net, "second.1", &x, WIDTH);
    let axes = net.ints("axes", &[1]);
    net.node("ReduceMean", "mean", &[&x, &axes], &[("keepdims", Attribute::Int(0))]);
    assert_eq!(whole_way(&file(net, &[WIDTH])), ["first.0", "second.0", "second.1"]);
}

#[test]
fn blocks_behind_global_pooling_are_seen_by_the_output() {
    let mut net = Sketch::new();
    let x = net.patches();
    let pooled = net.node("GlobalAveragePool", "pool", &[&x], &[]);
    let size = net.ints("size", &[1, WIDTH as i64, 4, 4]);
    let spread = net.node("Expand", "spread", &[&pooled, &size], &[]);
    let decoded = net.pointwise("decode", &spread, WIDTH, WIDTH);
    blocks(&mut net, 2, &decoded);
    assert_eq!(whole_way(&file(net, &[WIDTH, 4, 4])), ["b.0", "b.1"]);
}

/// Attention over places: the last product has two operands, and the blocks are on the second.
#[test]
fn both_operands_of_the_last_product_are_features() {
    let mut net = Sketch::new();
    let x = net.patches();
    let parts = net.pointwise("parts", &x, WIDTH, 4);
    let parts = net.reshape("parts.flat", &parts, &[0, 4, 16]);
    let parts = net.node("Softmax", "parts.softmax", &[&parts], &[]);
    let values = blocks(&mut net, 2, &x);
    let values = net.tokens(&values);
    net.node("MatMul", "product", &[&parts, &values], &[]);
    let file = file(net, &[4, WIDTH]);
    assert_eq!(whole_way(&file), ["b.0", "b.1"]);
    assert_eq!(Network::load(&file).expect("loads").tap.values, ["parts.softmax", "to_tokens"]);
}

/// One tensor for scale and variance, one for shift and mean, and other nodes read them too.
#[test]
fn a_tensor_that_a_normalisation_reads_twice_is_two_once_it_is_renewed() {
    let mut net = Sketch::new();
    let ones = net.constant("ones", &[WIDTH], &[1.0; WIDTH]);
    let zeros = net.constant("zeros", &[WIDTH], &[0.0; WIDTH]);
    let mut x = net.patches();
    for name in ["first", "second"] {
        x = net.node("BatchNormalization", name, &[&x, &ones, &zeros, &zeros, &ones], &[]);
        x = block(&mut net, &format!("{name}.block"), &x);
    }
    let file = net.head_of_maps(&x);
    whole_way(&file);
    let scene = Scene::seeing(&file, noise(&[24, 3, 8, 8], 5), 8);
    let mut student = scene.teacher.copy().expect("copies");
    let before = scene.outputs(&student);
    batchnorm::renew(&scene.network, &mut student, &scene.samples, 0, &[]).expect("renews");
    let difference = practised::compress::quality::difference::relative_difference(&before, &scene.outputs(&student));
    assert!(difference.expect("same shape") < 1e-4);
}

/// Kernels called `k` beside constants called `k_bias`, as a bias that is added apart is called.
#[test]
fn a_name_that_is_taken_is_not_taken_again() {
    let mut net = Sketch::new();
    let mut x = net.patches();
    for name in ["one", "two", "three"] {
        let kernel = net.weight(name, &[WIDTH, WIDTH, 1, 1]);
        let bias = net.weight(&format!("{name}_bias"), &[1, WIDTH, 1, 1]);
        let product = net.node("Conv", &format!("{name}.conv"), &[&x, &kernel], &[]);
        let shifted = net.add(&format!("{name}.shifted"), &product, &bias);
        x = net.add(&format!("{name}.sum"), &x, &shifted);
    }
    whole_way(&net.head_of_maps(&x));
}

#[test]
fn what_is_spread_over_all_places_is_no_branch_to_refit() {
    let mut net = Sketch::new();
    let mut x = net.patches();
    let pooled = net.node("GlobalAveragePool", "context", &[&x], &[]);
    let context = net.pointwise("context.conv", &pooled, WIDTH, WIDTH);
    x = net.add("context.sum", &x, &context);
    x = blocks(&mut net, 2, &x);
    assert_eq!(whole_way(&net.head_of_maps(&x)), ["b.0", "b.1"]);

    let mut net = Sketch::new();
    let maps = net.patches();
    let mut x = net.tokens(&maps);
    let axes = net.ints("axes", &[1]);
    let mean = net.node("ReduceMean", "mean", &[&x, &axes], &[]);
    let token = net.product("token", &mean, WIDTH, WIDTH);
    x = net.add("token.sum", &x, &token);
    x = mlp(&mut net, "b.0", &x, WIDTH);
    assert_eq!(whole_way(&net.head_of_tokens(&x)), ["b.0"]);
}

#[test]
fn outputs_that_no_image_changes_are_left_alone() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 2, &x);
    let anchors = net.weight("anchors.half", &[100, 4]);
    let two = net.constant("two", &[1], &[2.0]);
    net.node("Mul", "anchors", &[&anchors, &two], &[]);
    net.graph.outputs.push(value("anchors", &[4]));
    net.graph.outputs.push(value("b.0.a.weight", &[WIDTH, 1, 1]));
    let file = net.head_of_maps(&x);
    whole_way(&file);
    let network = Network::load(&file).expect("loads");
    assert_eq!(network.answers.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["logits"]);
    assert_eq!(network.tap.values, ["b.1.sum"]);
}

/// A recogniser of text: (T, N, C), as its loss takes it.
#[test]
fn an_output_without_a_row_for_each_image_is_refused() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 1, &x);
    let axes = net.ints("axes", &[2]);
    let columns = net.node("ReduceMean", "columns", &[&x, &axes], &[("keepdims", Attribute::Int(0))]);
    let steps = net.transpose("steps", &columns, &[2, 0, 1]);
    net.linear("letters", &steps, WIDTH, 5);
    let refused = Network::load(&file(net, &[5])).err().expect("refused").to_string();
    assert!(refused.contains("output \"logits\" has shape (4, N, 5)") && refused.contains("export"), "{refused}");
}

/// A dense head over all places of all images at once.
#[test]
fn a_head_over_all_rows_together_is_behind_the_features() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 2, &x);
    let last = net.transpose("last", &x, &[0, 2, 3, 1]);
    let rows = net.reshape("rows", &last, &[-1, WIDTH as i64]);
    let scores = net.linear("head", &rows, WIDTH, 5);
    net.reshape("scores", &scores, &[-1, 16, 5]);
    assert_eq!(whole_way(&file(net, &[16, 5])), ["b.0", "b.1"]);
}

#[test]
fn parameters_that_are_computed_are_left_alone() {
    let mut net = Sketch::new();
    let x = net.patches();
    let mut x = blocks(&mut net, 1, &x);
    let axes = net.ints("axes", &[0, 2, 3]);
    let mean = net.node("ReduceMean", "mean", &[&x, &axes], &[("keepdims", Attribute::Int(0))]);
    let row = net.reshape("row", &mean, &[1, WIDTH as i64]);
    let kernel = net.product("kernel", &row, WIDTH, WIDTH * WIDTH);
    let kernel = net.reshape("kernel.as", &kernel, &[WIDTH as i64, WIDTH as i64, 1, 1]);
    x = net.node("Conv", "dynamic", &[&x, &kernel], &[]);
    let parameters = ["shift", "mean.kept", "variance"].map(|name| net.scale(name, &[WIDTH]));
    let [shift, kept, variance] = parameters.each_ref().map(String::as_str);
    x = net.node("BatchNormalization", "conditional", &[&x, &mean, shift, kept, variance], &[]);
    let a = block(&mut net, "c.0", &x);
    assert_eq!(whole_way(&net.head_of_maps(&a)), ["b.0", "c.0"]);
}

#[test]
fn layers_in_float64_are_run_and_not_refitted() {
    let mut net = Sketch::new();
    let maps = net.patches();
    let tokens = net.tokens(&maps);
    let mut x = net.node("Cast", "wide", &[&tokens], &[("to", Attribute::Int(11))]);
    for index in 0..2 {
        let name = format!("b.{index}");
        let kernel = format!("{name}.weight");
        let product = net.product(&name, &x, WIDTH, WIDTH);
        let narrow = net.graph.initializers[&kernel].to_f32().expect("f32");
        let bytes: Vec<u8> = narrow.iter().flat_map(|number| f64::from(*number).to_le_bytes()).collect();
        let wide = TensorData { dtype: DataType::Float64, dims: vec![WIDTH, WIDTH], bytes };
        net.graph.initializers.insert(kernel, wide.into());
        x = net.add(&format!("{name}.sum"), &x, &product);
    }
    let x = net.node("Cast", "narrow", &[&x], &[("to", Attribute::Int(1))]);
    assert_eq!(whole_way(&net.head_of_tokens(&x)).len(), 2);
}

/// A constant that is added in the same operator would go with the branch.
#[test]
fn a_sum_of_three_is_no_residual_addition() {
    let mut net = Sketch::new();
    let x = net.patches();
    let branch = net.pointwise("branch", &x, WIDTH, WIDTH);
    let shift = net.weight("shift", &[1, WIDTH, 1, 1]);
    let sum = net.node("Sum", "sum", &[&x, &branch, &shift], &[]);
    let x = block(&mut net, "b.0", &sum);
    assert_eq!(whole_way(&net.head_of_maps(&x)), ["b.0"]);
}

#[test]
fn what_changes_nothing_may_stand_anywhere() {
    let mut net = Sketch::new();
    let mut x = net.patches();
    for (name, op) in [("first", "Identity"), ("second", "Dropout")] {
        let branch = net.pointwise(&format!("{name}.conv"), &x, WIDTH, WIDTH);
        let branch = net.node(op, &format!("{name}.nothing"), &[&branch], &[]);
        let past = net.node("Identity", &format!("{name}.past"), &[&x], &[]);
        x = net.add(&format!("{name}.sum"), &past, &branch);
    }
    assert_eq!(whole_way(&net.head_of_maps(&x)).len(), 2);
}

/// An export for one image, as PyTorch makes it unless told otherwise: the class token is there once.
#[test]
fn an_export_for_one_image_with_a_class_token_is_run_on_many() {
    let mut net = Sketch::new();
    let maps = net.patches();
    let patches = net.tokens(&maps);
    let token = net.weight("token", &[1, 1, WIDTH]);
    let mut x = net.node("Concat", "joined", &[&token, &patches], &[("axis", Attribute::Int(1))]);
    x = mlp(&mut net, "b.0", &x, WIDTH);
    x = mlp(&mut net, "b.1", &x, WIDTH);
    let zero = net.ints("zero", &[0]);
    let first = net.node("Gather", "first", &[&x, &zero], &[("axis", Attribute::Int(1))]);
    let flat = net.reshape("flat", &first, &[1, WIDTH as i64]);
    net.linear("head", &flat, WIDTH, 5);
    net.end(&[5]);
    for info in net.graph.inputs.iter_mut().chain(&mut net.graph.outputs) {
        info.ty.shape.as_mut().expect("known")[0] = Dim::Known(1);
    }
    assert_eq!(whole_way(&onnx::encode_graph(&net.graph, 10).expect("written")), ["b.0", "b.1"]);
}

#[test]
fn a_network_that_needs_its_batch_is_refused() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 1, &x);
    let each = net.weight("each", &[2, WIDTH, 1, 1]);
    let x = net.add("own", &x, &each);
    net.pointwise("last", &x, WIDTH, 5);
    net.end(&[5, 4, 4]);
    for info in net.graph.inputs.iter_mut().chain(&mut net.graph.outputs) {
        info.ty.shape.as_mut().expect("known")[0] = Dim::Known(2);
    }
    let file = onnx::encode_graph(&net.graph, 10).expect("written");
    let refused = Network::load(&file).err().expect("refused").to_string();
    assert!(refused.contains("only with a batch of 2") && refused.contains("dynamic_axes"), "{refused}");
}

#[test]
fn a_network_that_mixes_the_images_of_a_batch_is_refused_by_its_job() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 2, &x);
    let axes = net.ints("axes", &[0, 2, 3]);
    let mean = net.node("ReduceMean", "mean", &[&x, &axes], &[]);
    let x = net.node("Sub", "centred", &[&x, &mean], &[]);
    let desk = Desk::new(&TinyResNet::default());
    desk.put("model.onnx", &net.head_of_maps(&x));
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("depends on the other images of its batch"), "{said}");
}

/// What is no number on one side only is a difference; what is none on both is not.
#[test]
fn a_file_that_answers_with_no_numbers_is_not_taken_for_the_same() {
    use practised::compress::quality::difference::relative_difference;
    use tch::Tensor;
    let [nan, infinite] = [f32::NAN, f32::INFINITY];
    let of = |values: &[f32]| Tensor::from_slice(values);
    let difference = |a: &[f32], b: &[f32]| relative_difference(&of(a), &of(b)).expect("same shape");
    assert_eq!(difference(&[1.0, nan, -infinite], &[1.0, nan, -infinite]), 0.0);
    assert!((difference(&[2.0, infinite], &[1.0, infinite]) - 0.5).abs() < 1e-12);
    assert!(difference(&[1.0, nan], &[1.0, 0.0]).is_nan() && difference(&[1.0, 0.0], &[1.0, nan]).is_nan());
    assert!(difference(&[1.0, infinite], &[1.0, 0.0]).is_infinite());

    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 1, &x);
    net.node("Sqrt", "root", &[&x], &[]);
    let rooted = file(net, &[WIDTH, 4, 4]);
    let network = Network::load(&rooted).expect("loads");
    let images = noise(&[3, 3, 8, 8], 1);
    verify(&network, &rooted, &images, None, Device::Cpu).expect("no numbers in the same places");
    let zeros = [Tensor::zeros([3, WIDTH as i64, 4, 4], (tch::Kind::Float, tch::Device::Cpu))];
    let differs = verify(&network, &rooted, &images, Some(&zeros), Device::Cpu);
    assert!(matches!(differs, Err(CompressError::ExportDiffers { .. })), "{differs:?}");
}

/// A network whose file tells neither height nor width, and that computes with images of one size alone: behind its last maps
/// stands a pool of half that size, and a linear layer.
fn of_one_size(side: usize, height: Dim, width: Dim) -> Vec<u8> {
    let mut graph = TinyResNet::default().graph();
    graph.inputs[0].ty.shape = Some(vec![Dim::Symbol("N".into()), Dim::Known(3), height, width]);
    let pool = graph.nodes.iter_mut().find(|node| node.op == "GlobalAveragePool").expect("a head");
    pool.op = "AveragePool".into();
    pool.attrs.0.insert("kernel_shape".into(), Attribute::Ints(vec![side as i64 / 2; 2]));
    onnx::encode_graph(&graph, 10).expect("written")
}

fn free(name: &str) -> Dim {
    Dim::Symbol(name.into())
}

#[test]
fn the_one_size_that_a_network_computes_with_is_found_where_its_file_leaves_it_free() {
    for (side, height, width) in
        [(32, free("H"), free("W")), (32, Dim::Known(32), free("W")), (44, Dim::Known(44), Dim::Known(44))]
    {
        let network = Network::load(&of_one_size(side, height, width)).expect("loads");
        assert_eq!((network.size, network.blocks.len()), ((side, side), 4));
    }
    let error =
        Network::load(&of_one_size(44, free("H"), free("W"))).err().expect("none of the usual sizes").to_string();
    assert!(error.contains("height or width of the input is dynamic") && error.contains("224×224, 32×32"), "{error}");
    assert!(error.contains("export it with that size"), "{error}");
}

#[test]
fn images_of_a_size_that_a_network_does_not_compute_with_are_refused_by_the_one_that_it_does() {
    let desk = Desk::new(&TinyResNet::default());
    for (side, wants) in [(32, "32×32"), (44, "preprocess.resize")] {
        desk.put("model.onnx", &of_one_size(side, free("H"), free("W")));
        let (code, said) = desk.refused(&COMPRESS);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("cannot run on") && said.contains("8×8") && said.contains(wants), "{said}");
    }
    desk.put("model.onnx", &of_one_size(32, free("H"), free("W")));
    let mut job = desk.job();
    job["preprocess"] = serde_json::json!({"resize": [32, 32]});
    desk.put("job.json", job.to_string().as_bytes());
    assert_eq!(desk.json(&COMPRESS)["outcome"], "target_met");
}

/// A detector that finds nothing answers next to zero everywhere, and its file is still the student; a wrong one is still none.
#[test]
fn a_file_that_answers_next_to_nothing_is_held_to_what_engines_round_alike() {
    let mut net = Sketch::new();
    let x = net.patches();
    let x = blocks(&mut net, 2, &x);
    let far = net.constant("far", &[1], &[-25.0]);
    let x = net.add("shifted", &x, &far);
    net.node("Sigmoid", "found", &[&x], &[]);
    let file = file(net, &[WIDTH, 4, 4]);
    let network = Network::load(&file).expect("loads");
    let images = noise(&[3, 3, 8, 8], 1);
    verify(&network, &file, &images, None, Device::Cpu).expect("the same but for rounding");
    let student = practised::compress::student::Student::teacher(&network, Device::Cpu).expect("runs");
    let answers = outputs(&network, &student, &images).expect("runs");
    assert!(answers[0].max().double_value(&[]) < 1e-2, "next to nothing");
    let off = [&answers[0] + 1e-5];
    let differs = verify(&network, &file, &images, Some(&off), Device::Cpu);
    assert!(matches!(differs, Err(CompressError::ExportDiffers { .. })), "{differs:?}");
}
