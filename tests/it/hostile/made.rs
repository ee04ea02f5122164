//! Files of a few bytes, or of a few million, made to ask for as much as they can.

use std::sync::Arc;

use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::onnx;

use crate::support::uploads::zip;

const HUGE: i64 = 1 << 40;

/// Networks and other bytes, each with what it does.
pub fn networks() -> Vec<(String, Vec<u8>)> {
    let graphs = one_node().into_iter().chain(constants()).chain(long()).chain(tangled());
    let written = graphs.map(|(name, graph)| (name, onnx::encode_graph(&graph, 8).expect("a network is written")));
    written.chain(claims()).collect()
}

/// Twenty bytes or so that claim what they do not hold.
fn claims() -> Vec<(String, Vec<u8>)> {
    // 100 GiB as a varint.
    let size = [0x80, 0x80, 0x80, 0x80, 0x90, 0x03];
    let opset = [0x42, 0x02, 0x10, 18];
    let graph = |content: &[u8]| [&[0x3a, content.len() as u8], content, &opset].concat();
    let tensor = |content: &[u8]| graph(&[&[0x2a, content.len() as u8], content].concat());
    vec![
        ("the data of a tensor ends far behind the file".into(), tensor(&[&[0x10, 1, 0x4a][..], &size].concat())),
        ("a tensor of 100 GiB without data".into(), tensor(&[&[0x10, 1, 0x08][..], &size].concat())),
        ("a graph that ends far behind the file".into(), [&[0x3a][..], &size, &opset].concat()),
    ]
}

/// An operator with sizes that no memory holds, between two others.
#[rustfmt::skip]
fn one_node() -> Vec<(String, Graph)> {
    let ints = |name: &str, values: &[i64]| (name.to_owned(), Attribute::Ints(values.to_vec()));
    let int = |name: &str, value: i64| (name.to_owned(), Attribute::Int(value));
    let floats = |values: &[f32]| TensorData::from_f32(&[values.len()], values);
    let whole = |values: &[i64]| TensorData::from_i64(&[values.len()], values);
    let kernel = || TensorData::from_f32(&[3, 3, 1, 1], &[0.5; 9]);
    vec![
        made("Conv", vec![kernel()], vec![ints("pads", &[HUGE; 4])]),
        made("Conv", vec![kernel()], vec![ints("pads", &[i64::MAX; 4])]),
        made("Conv", vec![kernel()], vec![ints("pads", &[i64::MIN; 4])]),
        made("Conv", vec![kernel()], vec![ints("strides", &[i64::MAX, 0])]),
        made("Conv", vec![kernel()], vec![ints("dilations", &[i64::MAX, -1])]),
        made("Conv", vec![kernel()], vec![ints("kernel_shape", &[1 << 31, 1 << 31])]),
        made("Conv", vec![kernel()], vec![int("group", i64::MAX)]),
        made("Conv", vec![kernel()], vec![int("group", i64::MIN)]),
        made("Conv", vec![], vec![]),
        made("ConvTranspose", vec![kernel()], vec![ints("strides", &[HUGE, HUGE])]),
        made("ConvTranspose", vec![kernel()], vec![ints("output_shape", &[i64::MAX, i64::MAX])]),
        made("ConvTranspose", vec![kernel()], vec![ints("output_padding", &[i64::MAX, i64::MIN])]),
        made("MaxPool", vec![], vec![ints("kernel_shape", &[i64::MAX, 1]), ints("pads", &[i64::MAX; 4])]),
        made("AveragePool", vec![], vec![ints("kernel_shape", &[0, 0]), int("ceil_mode", 1)]),
        made("Pad", vec![whole(&[0, 0, HUGE, HUGE, 0, 0, HUGE, HUGE])], vec![]),
        made("Pad", vec![whole(&[i64::MIN; 8])], vec![]),
        made("Resize", vec![floats(&[]), floats(&[1e9, 1e9, 1e9, 1e9])], vec![]),
        made("Resize", vec![floats(&[]), floats(&[f32::NAN, -1.0, f32::INFINITY, 0.0])], vec![]),
        made("Resize", vec![floats(&[]), floats(&[]), whole(&[1, 3, HUGE, HUGE])], vec![]),
        made("Reshape", vec![whole(&[-1, 0, 0, 0])], vec![int("allowzero", 1)]),
        made("Reshape", vec![whole(&[-1, -1])], vec![]),
        made("Reshape", vec![whole(&[HUGE, HUGE, -1])], vec![]),
        made("Reshape", vec![whole(&[i64::MIN, 1])], vec![]),
        made("Expand", vec![whole(&[HUGE, 1, 1, 1, 1])], vec![]),
        made("Tile", vec![whole(&[HUGE, HUGE, HUGE, HUGE])], vec![]),
        made("Split", vec![whole(&[i64::MAX, i64::MAX])], vec![]),
        made("Slice", vec![whole(&[0, 0]), whole(&[HUGE, 1]), whole(&[1, 1])], vec![]),
        made("Slice", vec![whole(&[i64::MIN]), whole(&[i64::MAX]), whole(&[-1]), whole(&[i64::MIN])], vec![]),
        made("Gather", vec![whole(&[i64::MAX, i64::MIN])], vec![int("axis", i64::MIN)]),
        made("GatherND", vec![whole(&[i64::MAX])], vec![int("batch_dims", i64::MAX)]),
        made("Concat", vec![], vec![int("axis", i64::MIN)]),
        made("Transpose", vec![], vec![ints("perm", &[i64::MAX, 0, -1, 2])]),
        made("DepthToSpace", vec![], vec![int("blocksize", i64::MAX)]),
        made("SpaceToDepth", vec![], vec![int("blocksize", i64::MIN)]),
        made("TopK", vec![whole(&[i64::MAX])], vec![]),
        made("ReduceMean", vec![], vec![ints("axes", &[i64::MIN, 1, 1])]),
        made("Softmax", vec![], vec![int("axis", i64::MAX)]),
        made("Einsum", vec![], vec![("equation".into(), Attribute::String("i".repeat(4096).into_bytes()))]),
        made("GroupNormalization", vec![floats(&[1.0]), floats(&[1.0])], vec![int("num_groups", i64::MAX)]),
        made("Unsqueeze", vec![whole(&vec![0; 1 << 20])], vec![]),
        made("Unsqueeze", vec![], vec![ints("axes", &(0..1 << 20).collect::<Vec<_>>())]),
    ]
}

/// An operator that makes more of a small axis than any memory holds, in a way that the executor computes element by element.
pub fn growing() -> Vec<(String, Graph)> {
    let floats = |values: &[f32]| TensorData::from_f32(&[values.len()], values);
    let whole = |values: &[i64]| TensorData::from_i64(&[values.len()], values);
    let text = |name: &str, value: &str| (name.to_owned(), Attribute::String(value.as_bytes().to_vec()));
    let resized = |mode: &str, sizes: [i64; 4]| {
        made("Resize", vec![floats(&[]), floats(&[]), whole(&sizes)], vec![text("mode", mode)])
    };
    vec![
        resized("nearest", [1, 3, HUGE, 8]),
        resized("linear", [1, 3, 8, HUGE]),
        made("Resize", vec![floats(&[]), floats(&[1.0, 1.0, 3e10, 1.0])], vec![]),
        made("Pad", vec![whole(&[0, 0, HUGE, 0, 0, 0, HUGE, 0])], vec![text("mode", "edge")]),
        made("Pad", vec![whole(&[0, 0, 0, 0, 0, HUGE, 0, 0])], vec![text("mode", "wrap")]),
    ]
}

/// Amounts that a network is refused for, where something else has loaded it.
pub fn overflowing() -> Vec<(String, Graph)> {
    let edges = [(i64::MIN, i64::MAX), (i64::MIN, 0), (0, i64::MAX), (i64::MAX, i64::MAX), (-i64::MAX, -i64::MAX)];
    let padded = edges.map(|(before, after)| {
        let pads = TensorData::from_i64(&[8], &[0, 0, before, 0, 0, 0, after, 0]);
        made("Pad", vec![pads], vec![("mode".into(), Attribute::String(b"edge".to_vec()))])
    });
    padded.into()
}

/// Of as many nodes, reads and inputs as are taken.
pub fn large_networks() -> Vec<(String, Vec<u8>)> {
    const CHAIN: usize = 45_000;
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("v{at}") };
    let chain = (0..CHAIN).map(|at| node("Relu", &[&name(at)], &name(at + 1)));
    let last = name(CHAIN);
    let sums = (0..CHAIN).map(|at| node("Add", &[&last, "v1"], &format!("s{at}")));
    let far = graph(chain.clone().chain(sums).chain([node("Relu", &["s0"], "y")]).collect());
    let ends: Vec<&str> = [last.as_str(), "v1"].repeat(400_000);
    let read = graph(chain.chain([node("Sum", &ends, "s"), node("Relu", &["s"], "y")]).collect());
    let wide = node("Sum", &vec!["a"; 400_000], "b");
    let around = (0..800).map(|at| node("Add", &["b", "a"], &format!("s{at}")));
    let wide = [node("Relu", &["x"], "a"), wide].into_iter().chain(around);
    let wide = graph(wide.chain([node("Relu", &["s0"], "y")]).collect());
    let mut claims = graph(vec![node("Relu", &["x"], "y")]);
    let sizes = || Some(vec![Dim::Symbol("N".into()), Dim::Known(1 << 20)]);
    claims.inputs.extend((1..1_000).map(|at| value(&format!("k{at}"), sizes())));
    [
        ("sums of the two ends of a chain", far),
        ("one sum that reads the two ends of a chain over and over", read),
        ("branches that read one value over and over", wide),
        ("inputs of a million numbers each", claims),
    ]
    .map(|(name, graph)| (name.to_owned(), onnx::encode_graph(&graph, 8).expect("a network is written")))
    .into()
}

/// Constants that grow: from a shape, from one another, or again and again from the same large one.
fn constants() -> Vec<(String, Graph)> {
    let range = graph(vec![
        node("Range", &["zero", "huge", "one"], "r"),
        node("Cast", &["r"], "c"),
        node("Add", &["x", "c"], "y"),
    ]);
    // The filling value has an element type that is only carried, so that nothing has said how many bytes it has.
    let mut filled = node("ConstantOfShape", &["million"], "c");
    let value = TensorData { dtype: DataType::Other(12), dims: vec![1], bytes: vec![7; 1 << 20] };
    filled.attrs.set("value", Attribute::Tensor(Arc::new(value)));
    let filling = graph(vec![filled, node("Add", &["x", "c"], "y")]);
    let zeros = || node("ConstantOfShape", &["million"], "c");
    let many = vec!["c"; 100_000];
    let summed = graph(vec![zeros(), node("Sum", &many, "s"), node("Add", &["x", "s"], "y")]);
    let reduced = (0..10_000).map(|at| node("ReduceSum", &["c"], &format!("s{at}")));
    let reduced = graph(std::iter::once(zeros()).chain(reduced).chain([node("Add", &["x", "s1"], "y")]).collect());
    let doubled = (0..60).map(|at| node("Concat", &[&format!("c{at}"), &format!("c{at}")], &format!("c{}", at + 1)));
    let first = Node { outputs: vec!["c0".into()], ..zeros() };
    let doubled = graph(std::iter::once(first).chain(doubled).chain([node("Add", &["x", "c60"], "y")]).collect());
    [
        ("a range of 10¹²", range),
        ("a long filling value", filling),
        ("a sum of a hundred thousand", summed),
        ("one constant reduced again and again", reduced),
        ("a constant doubled sixty times", doubled),
    ]
    .map(|(name, graph)| (name.to_owned(), graph))
    .into()
}

/// So much of the same that what grows with its square has no end.
fn long() -> Vec<(String, Graph)> {
    const MANY: usize = 10_000;
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("v{at}") };
    let chain = |op: &str, second: fn(usize) -> &'static str| {
        let nodes = (0..MANY).map(|at| {
            let inputs: Vec<String> =
                [name(at), second(at).to_owned()].into_iter().filter(|name| !name.is_empty()).collect();
            Node { inputs, ..node(op, &[], &name(at + 1)) }
        });
        graph(nodes.chain([node("Relu", &[&name(MANY)], "y")]).collect())
    };
    // Every sum is of a branch that holds all sums before it.
    let branches = (0..MANY).flat_map(|at| {
        let (sum, relu) = (name(at + 1), format!("r{at}"));
        [node("Relu", &[&name(at)], &relu), node("Add", &[&relu, "x"], &sum)]
    });
    let branches = graph(branches.chain([node("Relu", &[&name(MANY)], "y")]).collect());
    let mut blocks = chain("Add", |_| "");
    for (at, node) in blocks.nodes.iter_mut().enumerate().filter(|(_, node)| node.op == "Add") {
        node.inputs.push(node.inputs[0].clone());
        if at % 2 == 0 {
            node.op = "Relu".into();
            node.inputs.pop();
        }
    }
    let mut reshaped = chain("Reshape", |_| "image");
    reshaped.inputs[0].ty.shape.as_mut().expect("a shape")[0] = Dim::Known(2);
    let mut names = chain("Relu", |_| "");
    names.nodes[0].name = "n".repeat(1 << 20);
    names.nodes[0].inputs = vec!["missing".to_owned(); 5_000];
    let pads = Arc::new(TensorData::from_i64(&[1 << 20], &vec![-9_000_000_000; 1 << 20]));
    let mut padded = graph(
        (0..2_000).map(|at| node("Pad", &["x", "pads"], &name(at + 1))).chain([node("Relu", &["v1"], "y")]).collect(),
    );
    padded.initializers.insert("pads".into(), pads);
    let mut outputs = chain("Relu", |_| "");
    outputs.outputs = (0..MANY).map(|at| value(&name(at + 1), None)).collect();
    [
        ("a chain", chain("Relu", |_| "")),
        ("a chain of names", chain("Identity", |_| "")),
        ("branches within branches", branches),
        ("sums of a value and itself", blocks),
        ("targets with a fixed batch", reshaped),
        ("a long name in every problem", names),
        ("long numbers in every problem", padded),
        ("as many outputs as nodes", outputs),
    ]
    .map(|(name, graph)| (name.to_owned(), graph))
    .into()
}

/// Names that lead back to themselves.
fn tangled() -> Vec<(String, Graph)> {
    let itself = graph(vec![node("Relu", &["y"], "y")]);
    let ring = graph(vec![
        node("Relu", &["c"], "a"),
        node("Relu", &["a"], "b"),
        node("Add", &["b", "x"], "c"),
        node("Relu", &["c"], "y"),
    ]);
    let twice = graph(vec![node("Relu", &["x"], "y"), node("Relu", &["y"], "y")]);
    let input = graph(vec![node("Relu", &["x"], "x"), node("Relu", &["x"], "y")]);
    let nameless = graph(vec![Node { inputs: vec![String::new(); 9], ..node("Conv", &[], "y") }]);
    [
        ("a node that reads itself", itself),
        ("a ring", ring),
        ("a value written twice", twice),
        ("a node that writes the input", input),
        ("inputs without a name", nameless),
    ]
    .map(|(name, graph)| (name.to_owned(), graph))
    .into()
}

/// The operator behind a convolution's worth of input, with these constants and attributes.
fn made(op: &str, constants: Vec<TensorData>, attributes: Vec<(String, Attribute)>) -> (String, Graph) {
    let name = format!("{op} {:.80}", format!("{attributes:?}"));
    let inputs: Vec<String> = (0..constants.len()).map(|at| format!("c{at}")).collect();
    let mut middle = node(op, &["a"], "b");
    middle.inputs.extend(inputs.iter().cloned());
    middle.attrs.0.extend(attributes);
    let mut graph =
        graph(vec![node("Relu", &["x"], "a"), middle, node("Add", &["b", "b"], "s"), node("Relu", &["s"], "y")]);
    graph.initializers.extend(inputs.into_iter().zip(constants.into_iter().map(Arc::new)));
    (name, graph)
}

/// From `x`, (N, 3, 8, 8), to `y`, with a few constants to read.
fn graph(nodes: Vec<Node>) -> Graph {
    let constants = [
        ("zero", vec![0]),
        ("one", vec![1]),
        ("huge", vec![HUGE]),
        ("million", vec![1 << 20]),
        ("image", vec![2, 3, 8, 8]),
    ];
    let constants =
        constants.map(|(name, values)| (name.to_owned(), Arc::new(TensorData::from_i64(&[values.len()], &values))));
    Graph {
        name: "hostile".into(),
        opsets: [(String::new(), 18)].into(),
        inputs: vec![value("x", Some(vec![Dim::Symbol("N".into()), Dim::Known(3), Dim::Known(8), Dim::Known(8)]))],
        outputs: vec![value("y", None)],
        nodes,
        initializers: constants.into_iter().collect(),
        ..Graph::default()
    }
}

fn value(name: &str, shape: Option<Vec<Dim>>) -> ValueInfo {
    ValueInfo { name: name.into(), ty: ValueType { dtype: DataType::Float32, shape } }
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    Node { op: op.into(), inputs, outputs: vec![output.into()], ..Node::default() }
}

/// Images that claim 4 × 10⁹ pixels in a few bytes.
pub fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let be = |side: u32| side.to_be_bytes();
    let le = |side: u32| side.to_le_bytes();
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &be(65_000)[..], &be(65_000), b"\x08\x06\0\0\0\0\0\0\0\0\0\0\0IDAT"]
        .concat();
    let bmp = |side: i32| {
        [
            b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
            &side.to_le_bytes()[..],
            &side.to_le_bytes(),
            b"\x01\0\x18\0",
            &[0; 24],
        ]
        .concat()
    };
    let jpeg = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0".to_vec();
    let webp = [b"RIFF", &le(64)[..], b"WEBPVP8L", &le(40), b"\x2f\xff\xff\xff\x0f", &[0; 40]].concat();
    // One strip of all rows: width, height, 8 bits, no compression, grey, where it is, rows in it, its bytes.
    let tags =
        [(256u16, 65_000), (257, 65_000), (258, 8), (259, 1), (262, 1), (273, 8), (278, 65_000), (279, u32::MAX)];
    let entries = tags.map(|(tag, value)| [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &le(1), &le(value)].concat());
    let tiff = [b"II*\0", &le(8)[..], &(tags.len() as u16).to_le_bytes(), &entries.concat(), &le(0)].concat();
    [
        ("a TIFF", tiff),
        ("a PNG", png),
        ("a BMP", bmp(i32::MAX)),
        ("a BMP upside down", bmp(i32::MIN)),
        ("a JPEG", jpeg),
        ("a WebP", webp),
    ]
    .map(|(name, image)| (name, zip(&[("image", image)])))
    .into()
}
