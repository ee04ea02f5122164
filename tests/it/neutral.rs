//! What changes nothing on a shortcut does not hide its block; what changes a little does.

use practised::compress::file::{outputs, to_onnx, verify};
use practised::compress::quality::difference::relative_difference;
use practised::compress::student::Student;
use practised::exec::Device;
use practised::graph::{Attribute, DataType, Graph, Node, TensorData};
use practised::network::Network;
use practised::network::blocks::Block;
use practised::onnx;

use crate::support::noise;
use crate::support::tokens::{Sketch, WIDTH};

/// What stands on a shortcut: the value behind it.
type Past = fn(&mut Sketch, &str, &str) -> String;

fn int(value: i64) -> Attribute {
    Attribute::Int(value)
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

/// One node with constants behind its first input.
fn node(net: &mut Sketch, op: &str, name: &str, x: &str, rest: &[&str], attrs: &[(&str, Attribute)]) -> String {
    let inputs: Vec<&str> = std::iter::once(x).chain(rest.iter().copied()).collect();
    net.node(op, name, &inputs, attrs)
}

fn number(net: &mut Sketch, name: &str, value: f32) -> String {
    net.constant(&format!("{name}.number"), &[], &[value])
}

fn pool(net: &mut Sketch, op: &str, name: &str, x: &str, kernel: i64) -> String {
    let pad = kernel / 2;
    let attrs = [("kernel_shape", ints(&[kernel, kernel])), ("strides", ints(&[1, 1])), ("pads", ints(&[pad; 4]))];
    net.node(op, name, &[x], &attrs)
}

fn slice(net: &mut Sketch, name: &str, x: &str, cut: [i64; 4]) -> String {
    let [from, to, axis, step] = cut;
    let names = [("from", from), ("to", to), ("axes", axis), ("steps", step)]
        .map(|(what, value)| net.ints(&format!("{name}.{what}"), &[value]));
    node(net, "Slice", name, x, &names.each_ref().map(String::as_str), &[])
}

/// Channels in two halves, joined in this order.
fn halves(net: &mut Sketch, name: &str, x: &str, order: [usize; 2]) -> String {
    let parts = [format!("{name}.a"), format!("{name}.b")];
    let split = Node {
        op: "Split".into(),
        inputs: vec![x.into()],
        outputs: parts.to_vec(),
        attrs: [("axis", int(1)), ("num_outputs", int(2))].into_iter().fold(Default::default(), set),
        ..Node::default()
    };
    net.graph.nodes.push(split);
    net.node("Concat", name, &order.map(|part| parts[part].as_str()), &[("axis", int(1))])
}

fn set(mut attrs: practised::graph::Attributes, (name, value): (&str, Attribute)) -> practised::graph::Attributes {
    attrs.set(name, value);
    attrs
}

fn identity_kernel(net: &mut Sketch, name: &str, side: usize, one: f32) -> String {
    let window = side * side;
    let mut values = vec![0.0; WIDTH * WIDTH * window];
    (0..WIDTH).for_each(|channel| values[(channel * WIDTH + channel) * window + window / 2] = one);
    net.constant(&format!("{name}.kernel"), &[WIDTH, WIDTH, side, side], &values)
}

fn norm(net: &mut Sketch, name: &str, x: &str, variance: f32) -> String {
    let given = [("s", 1.0), ("b", 0.0), ("m", 0.0), ("v", variance)]
        .map(|(what, value)| net.constant(&format!("{name}.{what}"), &[WIDTH], &[value; WIDTH]));
    node(
        net,
        "BatchNormalization",
        name,
        x,
        &given.each_ref().map(String::as_str),
        &[("epsilon", Attribute::Float(1e-5))],
    )
}

fn cast(net: &mut Sketch, name: &str, x: &str, to: i64) -> String {
    net.node("Cast", name, &[x], &[("to", int(to))])
}

fn turned(net: &mut Sketch, name: &str, x: &str, order: [i64; 4]) -> String {
    net.transpose(name, x, &order)
}

const TO_LAST: [i64; 4] = [0, 2, 3, 1];
const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// Each changes nothing.
const NEUTRAL: &[(&str, Past)] = &[
    ("Identity", |net, name, x| net.node("Identity", name, &[x], &[])),
    ("MaxPool 1×1", |net, name, x| pool(net, "MaxPool", name, x, 1)),
    ("AveragePool 1×1", |net, name, x| pool(net, "AveragePool", name, x, 1)),
    ("Cast to its own type", |net, name, x| cast(net, name, x, 1)),
    ("Cast to double and back", |net, name, x| {
        let wide = cast(net, &format!("{name}.wide"), x, 11);
        cast(net, name, &wide, 1)
    }),
    ("CastLike", |net, name, x| {
        let like = number(net, name, 3.0);
        node(net, "CastLike", name, x, &[&like], &[])
    }),
    ("Mul 1", |net, name, x| {
        let one = number(net, name, 1.0);
        net.node("Mul", name, &[&one, x], &[])
    }),
    ("Mul ones for each channel", |net, name, x| {
        let ones = net.constant(&format!("{name}.ones"), &[1, WIDTH, 1, 1], &[1.0; WIDTH]);
        node(net, "Mul", name, x, &[&ones], &[])
    }),
    ("Div 1", |net, name, x| {
        let one = number(net, name, 1.0);
        node(net, "Div", name, x, &[&one], &[])
    }),
    ("Mul 2, Div 2", |net, name, x| {
        let two = number(net, name, 2.0);
        let double = node(net, "Mul", &format!("{name}.double"), x, &[&two], &[]);
        node(net, "Div", name, &double, &[&two], &[])
    }),
    ("Neg, Neg", |net, name, x| {
        let minus = net.node("Neg", &format!("{name}.minus"), &[x], &[]);
        net.node("Neg", name, &[&minus], &[])
    }),
    ("Add 0", |net, name, x| {
        let zero = number(net, name, 0.0);
        node(net, "Add", name, x, &[&zero], &[])
    }),
    ("Add zeros made by the shape", |net, name, x| {
        let shape = net.node("Shape", &format!("{name}.shape"), &[x], &[]);
        let zeros = net.node("ConstantOfShape", &format!("{name}.zeros"), &[&shape], &[]);
        node(net, "Add", name, x, &[&zeros], &[])
    }),
    ("Sub 0", |net, name, x| {
        let zero = number(net, name, 0.0);
        node(net, "Sub", name, x, &[&zero], &[])
    }),
    ("Pow 1", |net, name, x| {
        let one = number(net, name, 1.0);
        node(net, "Pow", name, x, &[&one], &[])
    }),
    ("Sum of one", |net, name, x| net.node("Sum", name, &[x], &[])),
    ("Max of minus infinity", |net, name, x| {
        let least = number(net, name, f32::NEG_INFINITY);
        node(net, "Max", name, x, &[&least], &[])
    }),
    ("Where true", |net, name, x| {
        let yes = TensorData { dtype: DataType::Bool, dims: vec![1], bytes: vec![1] };
        net.graph.initializers.insert(format!("{name}.yes"), yes.into());
        let zero = number(net, name, 0.0);
        net.node("Where", name, &[&format!("{name}.yes"), x, &zero], &[])
    }),
    ("Pad 0", |net, name, x| {
        let pads = net.ints(&format!("{name}.pads"), &[0; 8]);
        node(net, "Pad", name, x, &[&pads], &[])
    }),
    ("Pad 1, cut off again", |net, name, x| {
        let pads = net.ints(&format!("{name}.pads"), &[0, 0, 1, 0, 0, 0, 1, 0]);
        let padded = node(net, "Pad", &format!("{name}.padded"), x, &[&pads], &[]);
        slice(net, name, &padded, [1, -1, 2, 1])
    }),
    ("Transpose and back", |net, name, x| {
        let last = turned(net, &format!("{name}.last"), x, TO_LAST);
        turned(net, name, &last, TO_FIRST)
    }),
    ("Transpose that moves nothing", |net, name, x| turned(net, name, x, [0, 1, 2, 3])),
    ("Reshape to itself", |net, name, x| net.reshape(name, x, &[0, WIDTH as i64, 4, 4])),
    ("Reshape by its own shape", |net, name, x| {
        let shape = net.node("Shape", &format!("{name}.shape"), &[x], &[]);
        node(net, "Reshape", name, x, &[&shape], &[])
    }),
    ("Flatten and Reshape", |net, name, x| {
        let flat = net.node("Flatten", &format!("{name}.flat"), &[x], &[]);
        net.reshape(name, &flat, &[-1, WIDTH as i64, 4, 4])
    }),
    ("Unsqueeze, Squeeze", |net, name, x| {
        let axes = net.ints(&format!("{name}.axes"), &[2]);
        let long = node(net, "Unsqueeze", &format!("{name}.long"), x, &[&axes], &[]);
        node(net, "Squeeze", name, &long, &[&axes], &[])
    }),
    ("Concat of one", |net, name, x| net.node("Concat", name, &[x], &[("axis", int(1))])),
    ("Split and Concat", |net, name, x| halves(net, name, x, [0, 1])),
    ("Concat swapped twice", |net, name, x| {
        let swapped = halves(net, &format!("{name}.once"), x, [1, 0]);
        halves(net, name, &swapped, [1, 0])
    }),
    ("Expand to itself", |net, name, x| {
        let size = net.ints(&format!("{name}.size"), &[1, WIDTH as i64, 4, 4]);
        node(net, "Expand", name, x, &[&size], &[])
    }),
    ("Tile once", |net, name, x| {
        let once = net.ints(&format!("{name}.once"), &[1; 4]);
        node(net, "Tile", name, x, &[&once], &[])
    }),
    ("Slice of everything", |net, name, x| slice(net, name, x, [0, i64::MAX, 1, 1])),
    ("Slice turned round twice", |net, name, x| {
        let back = slice(net, &format!("{name}.back"), x, [-1, i64::MIN, 3, -1]);
        slice(net, name, &back, [-1, i64::MIN, 3, -1])
    }),
    ("Gather in order", |net, name, x| {
        let order: Vec<i64> = (0..WIDTH as i64).collect();
        let order = net.ints(&format!("{name}.order"), &order);
        node(net, "Gather", name, x, &[&order], &[("axis", int(1))])
    }),
    ("SpaceToDepth, DepthToSpace", |net, name, x| {
        let deep = net.node("SpaceToDepth", &format!("{name}.deep"), &[x], &[("blocksize", int(2))]);
        net.node("DepthToSpace", name, &[&deep], &[("blocksize", int(2))])
    }),
    ("Resize by 1", |net, name, x| {
        let scales = net.constant(&format!("{name}.scales"), &[4], &[1.0; 4]);
        let mode = Attribute::String(b"linear".to_vec());
        net.node("Resize", name, &[x, "", &scales], &[("mode", mode)])
    }),
    ("open Clip", |net, name, x| net.node("Clip", name, &[x], &[])),
    ("Clip as far as float32 goes", |net, name, x| {
        let (low, high) = (
            net.constant(&format!("{name}.low"), &[], &[f32::MIN]),
            net.constant(&format!("{name}.high"), &[], &[f32::MAX]),
        );
        node(net, "Clip", name, x, &[&low, &high], &[])
    }),
    ("PRelu of slope 1", |net, name, x| {
        let slope = net.constant(&format!("{name}.slope"), &[WIDTH, 1, 1], &[1.0; WIDTH]);
        node(net, "PRelu", name, x, &[&slope], &[])
    }),
    ("ReduceMean over nothing", |net, name, x| {
        let axes = net.ints(&format!("{name}.axes"), &[2]);
        let long = node(net, "Unsqueeze", &format!("{name}.long"), x, &[&axes], &[]);
        node(net, "ReduceMean", name, &long, &[&axes], &[("keepdims", int(0))])
    }),
    ("BatchNormalization that normalises nothing", |net, name, x| norm(net, name, x, 1.0 - 1e-5)),
    ("Conv 1×1 of ones", |net, name, x| {
        let kernel = identity_kernel(net, name, 1, 1.0);
        node(net, "Conv", name, x, &[&kernel], &[])
    }),
    ("Conv 3×3 of one", |net, name, x| {
        let kernel = identity_kernel(net, name, 3, 1.0);
        node(net, "Conv", name, x, &[&kernel], &[("pads", ints(&[1; 4]))])
    }),
    ("depthwise Conv of ones", |net, name, x| {
        let kernel = net.constant(&format!("{name}.kernel"), &[WIDTH, 1, 1, 1], &[1.0; WIDTH]);
        node(net, "Conv", name, x, &[&kernel], &[("group", int(WIDTH as i64))])
    }),
];

/// Each changes something, of the same shape.
const CHANGES: &[(&str, Past)] = &[
    ("Mul 1.001", |net, name, x| {
        let more = number(net, name, 1.001);
        node(net, "Mul", name, x, &[&more], &[])
    }),
    ("Mul 2", |net, name, x| {
        let two = number(net, name, 2.0);
        node(net, "Mul", name, x, &[&two], &[])
    }),
    ("1 / x", |net, name, x| {
        let one = number(net, name, 1.0);
        net.node("Div", name, &[&one, x], &[])
    }),
    ("0 - x", |net, name, x| {
        let zero = number(net, name, 0.0);
        net.node("Sub", name, &[&zero, x], &[])
    }),
    ("Add 0.001", |net, name, x| {
        let little = number(net, name, 0.001);
        node(net, "Add", name, x, &[&little], &[])
    }),
    ("Cast through 16 bits", |net, name, x| {
        let half = cast(net, &format!("{name}.half"), x, 10);
        cast(net, name, &half, 1)
    }),
    ("height and width swapped", |net, name, x| turned(net, name, x, [0, 1, 3, 2])),
    ("Transpose and not back", |net, name, x| {
        let last = turned(net, &format!("{name}.last"), x, TO_LAST);
        turned(net, name, &last, [0, 3, 2, 1])
    }),
    ("Reshape that mixes places", |net, name, x| {
        let last = turned(net, &format!("{name}.last"), x, TO_LAST);
        net.reshape(name, &last, &[0, WIDTH as i64, 4, 4])
    }),
    ("halves swapped", |net, name, x| halves(net, name, x, [1, 0])),
    ("one half twice", |net, name, x| halves(net, name, x, [0, 0])),
    ("Slice turned round", |net, name, x| slice(net, name, x, [-1, i64::MIN, 3, -1])),
    ("Pad 1, cut off at the other end", |net, name, x| {
        let pads = net.ints(&format!("{name}.pads"), &[0, 0, 1, 0, 0, 0, 1, 0]);
        let padded = node(net, "Pad", &format!("{name}.padded"), x, &[&pads], &[]);
        slice(net, name, &padded, [2, i64::MAX, 2, 1])
    }),
    ("Gather in another order", |net, name, x| {
        let order: Vec<i64> = (0..WIDTH as i64).rev().collect();
        let order = net.ints(&format!("{name}.order"), &order);
        node(net, "Gather", name, x, &[&order], &[("axis", int(1))])
    }),
    ("SpaceToDepth, DepthToSpace of the other mode", |net, name, x| {
        let deep = net.node("SpaceToDepth", &format!("{name}.deep"), &[x], &[("blocksize", int(2))]);
        let mode = Attribute::String(b"CRD".to_vec());
        net.node("DepthToSpace", name, &[&deep], &[("blocksize", int(2)), ("mode", mode)])
    }),
    ("MaxPool 3×3", |net, name, x| pool(net, "MaxPool", name, x, 3)),
    ("AveragePool 3×3", |net, name, x| pool(net, "AveragePool", name, x, 3)),
    ("Relu", |net, name, x| net.node("Relu", name, &[x], &[])),
    ("Abs", |net, name, x| net.node("Abs", name, &[x], &[])),
    ("Clip to 6", |net, name, x| {
        let high = number(net, name, 6.0);
        net.node("Clip", name, &[x, "", &high], &[])
    }),
    ("Max 0", |net, name, x| {
        let zero = number(net, name, 0.0);
        node(net, "Max", name, x, &[&zero], &[])
    }),
    ("BatchNormalization of variance 0.9", |net, name, x| norm(net, name, x, 0.9)),
    ("Conv 1×1 of 0.99", |net, name, x| {
        let kernel = identity_kernel(net, name, 1, 0.99);
        node(net, "Conv", name, x, &[&kernel], &[])
    }),
    ("Conv 3×3 of one, a place off", |net, name, x| {
        let kernel = identity_kernel(net, name, 3, 1.0);
        node(net, "Conv", name, x, &[&kernel], &[("pads", ints(&[0, 1, 2, 1]))])
    }),
    ("Round", |net, name, x| net.node("Round", name, &[x], &[])),
];

/// Two blocks with this on their shortcuts; a signed stream.
fn network(past: Past) -> Vec<u8> {
    let mut net = Sketch::new();
    let mut x = net.patches();
    for name in ["b.0", "b.1"] {
        let shortcut = past(&mut net, &format!("{name}.past"), &x);
        let a = net.pointwise(&format!("{name}.a"), &x, WIDTH, WIDTH);
        let bent = net.node("Relu", &format!("{name}.relu"), &[&a], &[]);
        let b = net.pointwise(&format!("{name}.b"), &bent, WIDTH, WIDTH);
        x = net.add(&format!("{name}.sum"), &b, &shortcut);
    }
    net.head_of_maps(&x)
}

fn droppable(network: &Network) -> Vec<&Block> {
    network.blocks.iter().filter(|block| block.droppable()).collect()
}

/// The network with this block's branch times zero.
fn silenced(network: &Network, block: &Block) -> Graph {
    let mut graph = network.graph.clone();
    let add = graph.nodes.iter().position(|node| node.output() == block.sum).expect("the addition");
    let silent = format!("{}/silent", block.branch);
    graph.nodes[add]
        .inputs
        .iter_mut()
        .filter(|input| **input == block.branch)
        .for_each(|input| input.clone_from(&silent));
    graph.initializers.insert("nothing".into(), TensorData::from_f32(&[], &[0.0]).into());
    let inputs = vec![block.branch.clone(), "nothing".into()];
    graph.nodes.insert(add, Node { op: "Mul".into(), inputs, outputs: vec![silent], ..Node::default() });
    graph
}

/// Every droppable block dropped once: in memory and in the file as the network with its branch times zero.
pub fn dropping_is_exact(file: &[u8], images: &tch::Tensor, what: &str) -> usize {
    let network =
        Network::load_for(file, &Default::default(), |_| Ok((images.size()[2] as usize, images.size()[3] as usize)));
    let network = network.expect(what);
    for block in droppable(&network) {
        let dropped = Student::dropped(&network, &[block], Device::Cpu).expect("drops");
        let silent = Student::of(silenced(&network, block), Vec::new(), Device::Cpu).expect("runs");
        let [dropped_says, silent_says] =
            [&dropped, &silent].map(|student| outputs(&network, student, images).expect("runs"));
        for (a, b) in dropped_says.iter().zip(&silent_says) {
            let difference = relative_difference(a, b).expect("one shape");
            assert!(difference < 1e-5, "{what}, {}: {difference:e}", block.name);
        }
        let exported = to_onnx(&network, &[block], &dropped, &[]).expect("exports");
        verify(&network, &exported, images, Some(&silent_says), Device::Cpu).expect(what);
        assert!(exported.len() < file.len(), "{what}, {}: the branch is gone", block.name);
    }
    droppable(&network).len()
}

#[test]
fn what_changes_nothing_on_a_shortcut_does_not_hide_its_block() {
    for (what, past) in NEUTRAL {
        assert_eq!(dropping_is_exact(&network(*past), &noise(&[3, 3, 8, 8], 5), what), 2, "{what}");
    }
}

#[test]
fn what_stands_on_the_shortcut_stays_in_the_file() {
    let (_, past) = NEUTRAL.iter().find(|(what, _)| *what == "MaxPool 1×1").expect("in the list");
    let network = Network::load(&network(*past)).expect("loads");
    let blocks = droppable(&network);
    let student = Student::dropped(&network, &blocks, Device::Cpu).expect("drops");
    let left = onnx::decode(&to_onnx(&network, &blocks, &student, &[]).expect("exports")).expect("decodes").graph;
    assert_eq!(left.nodes.iter().filter(|node| node.is("MaxPool")).count(), 2);
}

#[test]
fn what_changes_a_shortcut_keeps_its_block() {
    for (what, past) in CHANGES {
        let network = Network::load(&network(*past)).expect(what);
        assert_eq!(droppable(&network).len(), 0, "{what}");
        assert_eq!(network.blocks.len(), 2, "{what}: the additions are found");
    }
}

/// The stream is not negative there, so a second activation bends nothing; one that cuts it off does.
#[test]
fn a_bound_that_never_binds_is_none() {
    let bounded = |op: &'static str, high: f32| {
        let mut net = Sketch::new();
        let mut x = net.patches();
        x = net.node("Sigmoid", "stem", &[&x], &[]);
        let high = net.constant("high", &[], &[high]);
        let inputs = if op == "Relu" { vec![x.as_str()] } else { vec![x.as_str(), "", high.as_str()] };
        let past = net.node(op, "past", &inputs, &[]);
        let branch = net.pointwise("branch", &x, WIDTH, WIDTH);
        let sum = net.add("sum", &past, &branch);
        dropping_is_exact(&net.head_of_maps(&sum), &noise(&[3, 3, 8, 8], 5), op)
    };
    assert_eq!([bounded("Relu", 0.0), bounded("Clip", 1.0), bounded("Clip", 0.5)], [1, 1, 0]);
}

/// The branch reads what two moves that undo each other have between them, as networks of TensorFlow do.
#[test]
fn a_branch_inside_two_moves_is_dropped_and_the_moves_stay() {
    let mut net = Sketch::new();
    let mut x = net.patches();
    for name in ["b.0", "b.1"] {
        let last = turned(&mut net, &format!("{name}.last"), &x, TO_LAST);
        let first = turned(&mut net, &format!("{name}.first"), &last, TO_FIRST);
        let inside = net.linear(&format!("{name}.linear"), &last, WIDTH, WIDTH);
        let branch = turned(&mut net, &format!("{name}.back"), &inside, TO_FIRST);
        x = net.add(&format!("{name}.sum"), &first, &branch);
    }
    assert_eq!(dropping_is_exact(&net.head_of_maps(&x), &noise(&[3, 3, 8, 8], 5), "two moves"), 2);
}

#[test]
fn a_value_added_to_itself_is_no_block() {
    let mut net = Sketch::new();
    let x = net.patches();
    let pooled = pool(&mut net, "MaxPool", "pooled", &x, 1);
    let twice = net.add("twice", &x, &pooled);
    assert_eq!(Network::load(&net.head_of_maps(&twice)).expect("loads").blocks.len(), 0);
}
