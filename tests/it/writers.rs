//! Refits of the layers that write the residual stream in transformers and ConvNeXt: found through what exporters put behind
//! them, exact where they can be, and left alone where they cannot.

use practised::compress::file;
use practised::compress::observer::Unobserved;
use practised::compress::refit::start::{self, Refitted};
use practised::compress::refit::{Frontier, RefitTarget, ahead_of_gap, of_sum};
use practised::compress::student::Student;
use practised::exec::Device;
use practised::graph::Attribute;
use practised::network::blocks::Block;
use tch::Tensor;

use crate::support::noise;
use crate::support::scene::Scene;
use crate::support::tokens::{Sketch, WIDTH};

/// Hidden channels of the first branch: more than the stream has, so that they tell all about it.
const HIDDEN: usize = 12;

/// What a branch adds to the stream that it is given.
type Branch = fn(&mut Sketch, &str) -> String;

/// Two blocks on tokens, (N, 16, WIDTH): the branch, whose writer is `a.fc2`, and a linear map. Without the second, what is
/// missing is a linear function of what the writer sees, since the first branch bends nothing.
fn on_tokens(branch: Branch) -> Vec<u8> {
    let mut net = Sketch::new();
    let maps = net.patches();
    let stream = net.tokens(&maps);
    let added = branch(&mut net, &stream);
    let stream = net.add("a.sum", &stream, &added);
    let added = net.linear("b.fc", &stream, WIDTH, WIDTH);
    let stream = net.add("b.sum", &added, &stream);
    net.head_of_tokens(&stream)
}

/// The same on maps, (N, WIDTH, 4, 4).
fn on_maps(branch: Branch) -> Vec<u8> {
    let mut net = Sketch::new();
    let stream = net.patches();
    let added = branch(&mut net, &stream);
    let stream = net.add("a.sum", &added, &stream);
    let added = net.pointwise("b.fc", &stream, WIDTH, WIDTH);
    let stream = net.add("b.sum", &added, &stream);
    net.head_of_maps(&stream)
}

fn scene(file: &[u8]) -> Scene {
    Scene::seeing(file, noise(&[48, 3, 8, 8], 5), 12)
}

/// The student without the second block, and the problem that closing the gap is.
fn gap(scene: &Scene) -> (Student, Option<RefitTarget>) {
    let block = &scene.network.blocks[1];
    let student = Student::dropped(&scene.network, &[block], Device::Cpu).expect("drops");
    let problem = ahead_of_gap(&student.graph, &scene.network.graph, block, block);
    (student, problem)
}

fn hidden(net: &mut Sketch, x: &str) -> String {
    net.linear("a.fc1", x, WIDTH, HIDDEN)
}

fn plain(net: &mut Sketch, x: &str) -> String {
    let hidden = hidden(net, x);
    net.linear("a.fc2", &hidden, HIDDEN, WIDTH)
}

fn bias_behind(net: &mut Sketch, x: &str) -> String {
    let hidden = hidden(net, x);
    let product = net.product("a.fc2", &hidden, HIDDEN, WIDTH);
    let bias = net.weight("a.fc2.bias", &[1, 1, WIDTH]);
    net.add("a.fc2.add", &product, &bias)
}

fn layer_scale(net: &mut Sketch, x: &str) -> String {
    let (written, scale) = (plain(net, x), net.scale("a.scale", &[WIDTH]));
    let kept = net.node("Dropout", "a.drop", &[&written], &[]);
    net.node("Mul", "a.scaled", &[&kept, &scale], &[])
}

fn layer_scale_in_front(net: &mut Sketch, x: &str) -> String {
    let (written, scale) = (plain(net, x), net.scale("a.scale", &[1, 1, WIDTH]));
    let scaled = net.node("Mul", "a.scaled", &[&scale, &written], &[]);
    net.node("Identity", "a.same", &[&scaled], &[])
}

fn scale_ahead_of_the_bias(net: &mut Sketch, x: &str) -> String {
    let hidden = hidden(net, x);
    let product = net.product("a.fc2", &hidden, HIDDEN, WIDTH);
    let half = net.constant("a.half", &[], &[0.5]);
    let halved = net.node("Mul", "a.halved", &[&product, &half], &[]);
    let bias = net.weight("a.fc2.bias", &[WIDTH]);
    let shifted = net.add("a.fc2.add", &halved, &bias);
    let scale = net.scale("a.scale", &[WIDTH]);
    net.node("Mul", "a.scaled", &[&shifted, &scale], &[])
}

/// Exporters keep equal constants once: another layer has this bias too, and must keep it.
fn shared_bias(net: &mut Sketch, x: &str) -> String {
    let hidden = hidden(net, x);
    let product = net.product("a.fc2", &hidden, HIDDEN, WIDTH);
    net.add("a.fc2.add", &product, "patches.bias")
}

/// `Gemm` takes matrices only.
fn gemm(net: &mut Sketch, x: &str, by_rows: bool, bias: bool) -> String {
    let hidden = hidden(net, x);
    let flat = net.reshape("a.flat", &hidden, &[-1, HIDDEN as i64]);
    let dims = if by_rows { [WIDTH, HIDDEN] } else { [HIDDEN, WIDTH] };
    let weight = net.weight("a.fc2.weight", &dims);
    let mut inputs = vec![flat, weight];
    if bias {
        inputs.push(net.weight("a.fc2.bias", &[WIDTH]));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let written = net.node("Gemm", "a.fc2", &inputs, &[("transB", Attribute::Int(by_rows.into()))]);
    net.reshape("a.tokens", &written, &[-1, 16, WIDTH as i64])
}

/// Windows of 2 × 2 as Swin cuts them: the writer sees (4·N, 4, …).
fn windows(net: &mut Sketch, x: &str) -> String {
    let width = WIDTH as i64;
    let apart = net.reshape("a.apart", x, &[-1, 2, 2, 2, 2, width]);
    let apart = net.transpose("a.cut", &apart, &[0, 1, 3, 2, 4, 5]);
    let windows = net.reshape("a.windows", &apart, &[-1, 4, width]);
    let written = plain(net, &windows);
    let apart = net.reshape("a.written", &written, &[-1, 2, 2, 2, 2, width]);
    let together = net.transpose("a.joined", &apart, &[0, 1, 3, 2, 4, 5]);
    let maps = net.reshape("a.maps", &together, &[-1, 4, 4, width]);
    let bounds = [("starts", 0), ("ends", 4), ("axes", 1), ("steps", 1)];
    let bounds = bounds.map(|(what, value)| net.ints(&format!("a.cut.{what}"), &[value]));
    let whole = net.node("Slice", "a.whole", &[&maps, &bounds[0], &bounds[1], &bounds[2], &bounds[3]], &[]);
    net.reshape("a.back", &whole, &[-1, 16, width])
}

/// The same, shifted along both sides of the maps and back again.
fn shifted_windows(net: &mut Sketch, x: &str) -> String {
    let width = WIDTH as i64;
    let maps = net.reshape("a.spread", x, &[-1, 4, 4, width]);
    let maps = roll(net, "a.shift1", &maps, 1, 1);
    let maps = roll(net, "a.shift2", &maps, 2, 3);
    let written = windows(net, &maps);
    let maps = net.reshape("a.shifted", &written, &[-1, 4, 4, width]);
    let maps = roll(net, "a.unshift1", &maps, 1, 3);
    let maps = roll(net, "a.unshift2", &maps, 2, 1);
    net.reshape("a.flat", &maps, &[-1, 16, width])
}

/// As `torch.roll` is exported: what stands from `at` on, and then what stood ahead of it.
fn roll(net: &mut Sketch, name: &str, x: &str, axis: i64, at: i64) -> String {
    let axes = net.ints(&format!("{name}.axes"), &[axis]);
    let place = net.ints(&format!("{name}.at"), &[at]);
    let [first, last] = [("first", 0), ("last", i64::MAX)].map(|(what, at)| net.ints(&format!("{name}.{what}"), &[at]));
    let back = net.node("Slice", &format!("{name}.back"), &[x, &place, &last, &axes], &[]);
    let front = net.node("Slice", &format!("{name}.front"), &[x, &first, &place, &axes], &[]);
    net.node("Concat", name, &[&back, &front], &[("axis", Attribute::Int(axis))])
}

/// ConvNeXt: linear layers with the channels last, then layer scale with the channels first.
fn channels_last(net: &mut Sketch, x: &str) -> String {
    let last = net.transpose("a.last", x, &[0, 2, 3, 1]);
    let written = plain(net, &last);
    let first = net.transpose("a.first", &written, &[0, 3, 1, 2]);
    let scale = net.scale("a.scale", &[1, WIDTH, 1, 1]);
    net.node("Mul", "a.scaled", &[&first, &scale], &[])
}

fn scale_ahead_of_the_transpose(net: &mut Sketch, x: &str) -> String {
    let last = net.transpose("a.last", x, &[0, 2, 3, 1]);
    let (written, scale) = (plain(net, &last), net.scale("a.scale", &[WIDTH]));
    let scaled = net.node("Mul", "a.scaled", &[&written, &scale], &[]);
    net.transpose("a.first", &scaled, &[0, 3, 1, 2])
}

fn scaled_convolution(net: &mut Sketch, x: &str) -> String {
    let hidden = net.pointwise("a.fc1", x, WIDTH, HIDDEN);
    let written = net.pointwise("a.fc2", &hidden, HIDDEN, WIDTH);
    let scale = net.scale("a.scale", &[WIDTH, 1, 1]);
    net.node("Mul", "a.scaled", &[&written, &scale], &[])
}

/// Squeeze-and-excitation of `maps` by what `from` says: one number from 0 to 1 per image and channel.
fn excited(net: &mut Sketch, maps: &str, from: &str, [squeezed, channels]: [usize; 2]) -> String {
    let pooled = net.node("GlobalAveragePool", "a.se.pool", &[from], &[]);
    let written = net.pointwise("a.se.fc", &pooled, squeezed, channels);
    let gate = net.node("Sigmoid", "a.se.gate", &[&written], &[]);
    net.node("Mul", "a.se.mul", &[&gate, maps], &[])
}

fn convolutions(net: &mut Sketch, x: &str) -> String {
    let hidden = net.pointwise("a.fc1", x, WIDTH, HIDDEN);
    net.pointwise("a.fc2", &hidden, HIDDEN, WIDTH)
}

/// As in SE-ResNet: the excitation follows from what the writer puts out.
fn excited_writer(net: &mut Sketch, x: &str) -> String {
    let written = convolutions(net, x);
    excited(net, &written, &written, [WIDTH, WIDTH])
}

/// The excitation does not follow from what the writer puts out, so it stays as it is.
fn excited_by_the_stream(net: &mut Sketch, x: &str) -> String {
    let written = convolutions(net, x);
    excited(net, &written, x, [WIDTH, WIDTH])
}

/// As in MobileNetV3 and EfficientNet: the writer sees what has been excited.
fn excited_ahead(net: &mut Sketch, x: &str) -> String {
    let hidden = net.pointwise("a.fc1", x, WIDTH, HIDDEN);
    let excited = excited(net, &hidden, &hidden, [HIDDEN, HIDDEN]);
    net.pointwise("a.fc2", &excited, HIDDEN, WIDTH)
}

/// Every form that can be refitted, with its network.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MatMul and Add", on_tokens(plain)),
        ("the bias behind", on_tokens(bias_behind)),
        ("a bias that another layer has too", on_tokens(shared_bias)),
        ("layer scale", on_tokens(layer_scale)),
        ("layer scale in front", on_tokens(layer_scale_in_front)),
        ("a scale ahead of the bias", on_tokens(scale_ahead_of_the_bias)),
        ("Gemm", on_tokens(|net, x| gemm(net, x, false, true))),
        ("Gemm, transB", on_tokens(|net, x| gemm(net, x, true, true))),
        ("Gemm without a bias", on_tokens(|net, x| gemm(net, x, true, false))),
        ("windows", on_tokens(windows)),
        ("shifted windows", on_tokens(shifted_windows)),
        ("channels last", on_maps(channels_last)),
        ("a scale ahead of the Transpose", on_maps(scale_ahead_of_the_transpose)),
        ("a convolution with layer scale", on_maps(scaled_convolution)),
    ]
}

/// The student with the gaps of these blocks refitted.
fn closed(scene: &Scene, student: Student, blocks: &[&Block]) -> Refitted {
    start::around_gaps(&scene.setting(), student, blocks, &mut Frontier::default(), &Unobserved).expect("solves")
}

#[test]
fn a_writer_takes_over_a_block_that_is_linear_in_what_it_sees() {
    for (what, file) in forms() {
        let scene = scene(&file);
        let (_, problem) = gap(&scene);
        assert_eq!(problem.expect(what).layer.output, "a.fc2", "{what}");
        let fitted = scene.score(&scene.network.blocks[1]);
        let (recovered, plain) = (fitted.recovered.deciding(), fitted.plain.deciding());
        assert!(plain > 0.01 && recovered < 1e-4 * plain, "{what}: {plain} → {recovered}");
    }
}

#[test]
fn a_refitted_writer_leaves_as_the_student_has_it() {
    for (what, file) in forms() {
        let scene = scene(&file);
        let blocks = [&scene.network.blocks[1]];
        let (student, _) = gap(&scene);
        let closed = closed(&scene, student, &blocks);
        assert_eq!(closed.refitted, ["a.fc2"], "{what}");
        let file = file::to_onnx(&scene.network, &blocks, &closed.student, &[]).expect(what);
        let images = scene.samples.images.narrow(0, 0, 4);
        let reference = file::outputs(&scene.network, &closed.student, &images).expect(what);
        file::verify(&scene.network, &file, &images, Some(&reference), Device::Cpu).expect(what);
    }
}

#[test]
fn a_spoilt_writer_is_brought_back_whatever_stands_behind_it() {
    for (what, file) in forms() {
        spoilt_is_brought_back(what, &file);
    }
}

fn spoilt_is_brought_back(what: &str, file: &[u8]) {
    let scene = scene(file);
    let mut spoilt = Student::teacher(&scene.network, Device::Cpu).expect("runs");
    let problem = of_sum(&spoilt.graph, &scene.network.blocks[0]).expect(what);
    let moved = spoilt.params.get("a.fc2.weight").expect("a kernel") * 0.2;
    spoilt.params.set("a.fc2.weight", moved);
    let before = scene.loss(&spoilt);
    let mended = scene.refit(&spoilt, &problem);
    let (_, loss) = mended.expect("there is much to gain");
    assert!(loss < 1e-3 * before, "{what}: {before} → {loss}");
}

/// Exporters transpose weights of linear layers, and number what they made; biases keep their names.
#[test]
fn blocks_of_numbered_weights_are_named_by_their_biases() {
    let file = on_tokens(|net, x| {
        let added = layer_scale(net, x);
        for (number, old) in ["a.fc1.weight", "a.fc2.weight"].into_iter().enumerate() {
            let new = format!("val_{number}");
            let data = net.graph.initializers.shift_remove(old).expect("a kernel");
            net.graph.initializers.insert(new.clone(), data);
            let inputs = net.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
            inputs.filter(|input| *input == old).for_each(|input| input.clone_from(&new));
        }
        added
    });
    assert_eq!(scene(&file).network.blocks[0].name, "a");
}

/// An excitation is taken for fixed, which is not exact: what it brings decides.
#[test]
fn writers_are_refitted_ahead_of_squeeze_and_excitation_and_behind_it() {
    let forms: [(&str, Branch, f64); 3] = [
        ("SE-ResNet", excited_writer, 0.5),
        ("an excitation from elsewhere", excited_by_the_stream, 0.5),
        ("MobileNetV3", excited_ahead, 0.1),
    ];
    for (what, branch, share) in forms {
        let scene = scene(&on_maps(branch));
        assert_eq!(gap(&scene).1.expect(what).layer.output, "a.fc2", "{what}");
        let fitted = scene.score(&scene.network.blocks[1]);
        let (recovered, plain) = (fitted.recovered.deciding(), fitted.plain.deciding());
        assert!(recovered < share * plain, "{what}: {plain} → {recovered}");
    }
}

#[test]
fn an_excitation_that_stays_as_it_is_is_undone_exactly() {
    spoilt_is_brought_back("an excitation from elsewhere", &on_maps(excited_by_the_stream));
}

/// Without a place for a bias, what a linear function without one can bring is found.
#[test]
fn a_product_without_a_bias_is_refitted_without_one() {
    let file = on_tokens(|net, x| {
        let hidden = hidden(net, x);
        net.product("a.fc2", &hidden, HIDDEN, WIDTH)
    });
    let scene = scene(&file);
    let block = &scene.network.blocks[1];
    let (student, _) = gap(&scene);
    let closed = closed(&scene, student, &[block]);
    assert_eq!(closed.refitted, ["a.fc2"]);
    let (plain, _) = gap(&scene);
    let (before, after) = (scene.loss(&plain), scene.loss(&closed.student));
    assert!(after < 0.1 * before, "{before} → {after}");
    assert_eq!(closed.student.graph.nodes.len(), plain.graph.nodes.len());
}

#[test]
fn a_channel_that_layer_scale_silences_is_left_alone() {
    let file = on_tokens(|net, x| {
        let written = plain(net, x);
        let mut values = [0.5; WIDTH];
        values[3] = 0.0;
        let scale = net.constant("a.scale", &[WIDTH], &values);
        net.node("Mul", "a.scaled", &[&written, &scale], &[])
    });
    let scene = scene(&file);
    let (student, _) = gap(&scene);
    let kept = |student: &Student, name: &str, dim: i64| student.params.get(name).expect("a weight").select(dim, 3);
    let before = [kept(&student, "a.fc2.weight", 1), kept(&student, "a.fc2.bias", 0)].map(|tensor| tensor.copy());
    let blocks = [&scene.network.blocks[1]];
    let closed = closed(&scene, student, &blocks);
    assert_eq!(closed.refitted, ["a.fc2"]);
    let after = [kept(&closed.student, "a.fc2.weight", 1), kept(&closed.student, "a.fc2.bias", 0)];
    assert!(before.iter().zip(&after).all(|(before, after): (&Tensor, &Tensor)| before.equal(after)));
}

/// A scale for every position is no gain of a channel.
fn scale_by_position(net: &mut Sketch, x: &str) -> String {
    let (written, scale) = (plain(net, x), net.scale("a.scale", &[16, 1]));
    net.node("Mul", "a.scaled", &[&written, &scale], &[])
}

/// As many positions as channels: the sizes fit, the axis does not.
fn scale_along_another_axis(net: &mut Sketch, x: &str) -> String {
    let written = plain(net, x);
    let width = WIDTH as i64;
    let split = net.reshape("a.split", &written, &[-1, 2, width, width]);
    let turned = net.transpose("a.turned", &split, &[0, 1, 3, 2]);
    let scale = net.scale("a.scale", &[WIDTH]);
    let scaled = net.node("Mul", "a.scaled", &[&turned, &scale], &[]);
    let back = net.transpose("a.back", &scaled, &[0, 1, 3, 2]);
    net.reshape("a.joined", &back, &[-1, 16, width])
}

/// From back to front: a `Slice` that keeps the shape and yet changes something.
fn reversed(net: &mut Sketch, x: &str) -> String {
    let written = plain(net, x);
    let bounds = [("starts", -1), ("ends", i64::MIN), ("axes", 1), ("steps", -1)];
    let bounds = bounds.map(|(what, value)| net.ints(&format!("a.back.{what}"), &[value]));
    net.node("Slice", "a.back", &[&written, &bounds[0], &bounds[1], &bounds[2], &bounds[3]], &[])
}

/// Two slices of one value that fill its shape, and yet are no roll: one token comes twice and the first is gone.
fn cut_and_joined(net: &mut Sketch, x: &str) -> String {
    let written = plain(net, x);
    let axes = net.ints("a.axes", &[1]);
    let [one, four, five, all] = [1, 4, 5, 16].map(|at| net.ints(&format!("a.at{at}"), &[at]));
    let back = net.node("Slice", "a.back", &[&written, &four, &all, &axes], &[]);
    let front = net.node("Slice", "a.front", &[&written, &one, &five, &axes], &[]);
    net.node("Concat", "a.joined", &[&back, &front], &[("axis", Attribute::Int(1))])
}

/// Half of the channels each: no number belongs to one channel any more.
fn scale_of_split_channels(net: &mut Sketch, x: &str) -> String {
    let written = plain(net, x);
    let half = WIDTH / 2;
    let split = net.reshape("a.split", &written, &[-1, 16, 2, half as i64]);
    let scale = net.scale("a.scale", &[half]);
    let scaled = net.node("Mul", "a.scaled", &[&split, &scale], &[]);
    net.reshape("a.joined", &scaled, &[-1, 16, WIDTH as i64])
}

fn doubled_gemm(net: &mut Sketch, x: &str) -> String {
    let joined = gemm(net, x, true, true);
    let gemm = net.graph.nodes.iter_mut().find(|node| node.op == "Gemm").expect("a Gemm");
    gemm.attrs.set("alpha", Attribute::Float(2.0));
    joined
}

/// What the layer wrote is read beside the path too.
fn read_twice(net: &mut Sketch, x: &str) -> String {
    let written = plain(net, x);
    let bent = net.node("Sigmoid", "a.bent", &[&written], &[]);
    let one = net.constant("a.one", &[], &[1.0]);
    let less = net.node("Sub", "a.less", &[&bent, &one], &[]);
    net.node("Mul", "a.product", &[&written, &less], &[])
}

#[test]
fn an_excitation_that_is_read_elsewhere_is_no_part_of_a_path() {
    let net = |leaks: bool| {
        let mut net = Sketch::new();
        let stream = net.patches();
        let added = excited_writer(&mut net, &stream);
        let mut stream = net.add("a.sum", &added, &stream);
        if leaks {
            stream = net.add("leak", &stream, "a.se.gate");
        }
        scene(&net.head_of_maps(&stream))
    };
    let problem = |scene: Scene| {
        let block = scene.network.blocks.iter().find(|block| block.sum == "a.sum").expect("the block");
        of_sum(&scene.network.graph, block)
    };
    assert!(problem(net(false)).is_some());
    assert_eq!(problem(net(true)), None);
}

#[test]
fn what_is_not_exact_keeps_its_plain_score() {
    let refused: [(&str, Branch); 7] = [
        ("a scale by position", scale_by_position),
        ("a scale along another axis", scale_along_another_axis),
        ("a scale of split channels", scale_of_split_channels),
        ("tokens from back to front", reversed),
        ("tokens cut and joined", cut_and_joined),
        ("a Gemm with a factor", doubled_gemm),
        ("a layer that is read twice", read_twice),
    ];
    for (what, branch) in refused {
        let scene = scene(&on_tokens(branch));
        assert_eq!(gap(&scene).1, None, "{what}");
        let fitted = scene.score(&scene.network.blocks[1]);
        assert_eq!(fitted.recovered, fitted.plain, "{what}");
    }
}
