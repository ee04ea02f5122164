//! Shape inference and constant folding, one operator at a time: the awkward forms of each.
//!
//! Sizes and values are what the operator pages of the ONNX specification define.

use std::sync::Arc;

use practised::graph::{
    Attribute, DataType, Dim, Graph, InputShapes, Node, TensorData, ValueInfo, ValueType, check, fold,
};

/// An input of the node under test.
#[derive(Clone, Copy)]
enum In<'a> {
    /// A float graph input; letters are free sizes.
    Value(&'a str),
    /// A float weight of this shape.
    Weight(&'a [usize]),
    Ints(&'a [i64]),
    Int(i64),
    Floats(&'a [f32]),
    Absent,
}
use In::*;

#[test]
fn windows_slide_as_the_specification_says() {
    let x = Value("2 4 9 7");
    let free = Value("N 4 H W");
    let w = Weight(&[6, 4, 3, 3]);
    expect("Conv", &[x, w], "2 6 7 5");
    expect("Conv pads=1,0,2,1", &[x, w], "2 6 10 6");
    expect("Conv strides=2,3 pads=1,1,1,1", &[x, w], "2 6 5 3");
    expect("Conv auto_pad=SAME_UPPER strides=2,2", &[x, w], "2 6 5 4");
    expect("Conv auto_pad=VALID strides=2,1", &[x, w], "2 6 4 5");
    expect("Conv dilations=2,2 pads=2,2,2,2", &[x, w], "2 6 9 7");
    expect("Conv group=2", &[x, Weight(&[6, 2, 3, 3])], "2 6 7 5");
    expect("Conv pads=1,1,1,1", &[free, w], "N 6 H W");
    expect("Conv", &[free, w], "N 6 H-2 W-2");
    expect("Conv strides=2,2 pads=1,1,1,1", &[free, w], "N 6 ceil(H/2) ceil(W/2)");
    expect("ConvTranspose strides=2,2 pads=1,1,1,1 output_padding=1,1", &[x, Weight(&[4, 3, 3, 3])], "2 3 18 14");
    expect("ConvTranspose strides=2,2", &[free, Weight(&[4, 3, 2, 2])], "N 3 2*H 2*W");
    expect("MaxPool kernel_shape=3,3 strides=2,2 ceil_mode=1", &[x], "2 4 4 3");
    expect("AveragePool kernel_shape=2,2 strides=2,2 pads=1,1,0,0 ceil_mode=1", &[x], "2 4 5 4");
    expect("GlobalAveragePool", &[free], "N 4 1 1");
}

#[test]
fn arrangements_follow_free_sizes() {
    let x = Value("N 4 9 7");
    expect("Flatten", &[x], "N 252");
    expect("Flatten axis=0", &[Value("2 4 9 7")], "1 504");
    expect("Flatten axis=-2", &[x], "4*N 63");
    expect("Reshape", &[x, Ints(&[0, -1])], "N 252");
    expect("Reshape", &[x, Ints(&[-1, 7])], "36*N 7");
    expect("Reshape", &[x, Ints(&[-1, 2, 2, 9, 7])], "N 2 2 9 7");
    expect("Reshape allowzero=1", &[Value("0 3"), Ints(&[3, 0])], "3 0");
    expect("Squeeze", &[Value("N 1 7 1"), Ints(&[1, -1])], "N 7");
    expect("Squeeze", &[Value("1 4 1 7")], "4 7");
    expect("Unsqueeze", &[x, Ints(&[0, -1])], "1 N 4 9 7 1");
    expect("Transpose perm=0,2,3,1", &[x], "N 9 7 4");
    expect("Transpose", &[x], "7 9 4 N");
    expect("DepthToSpace blocksize=2", &[Value("N 4 H 7")], "N 1 2*H 14");
    expect("SpaceToDepth blocksize=2", &[Value("N 4 6 8")], "N 16 3 4");
}

#[test]
fn parts_joins_and_repeats() {
    let x = Value("N 4 9 W");
    expect("Concat axis=-1", &[x, Value("N 4 9 2")], "N 4 9 W+2");
    expect("Concat axis=1", &[Value("N 4 9"), Value("? 3 9")], "N 7 9");
    expect("Slice", &[x, Ints(&[1]), Ints(&[i64::MAX]), Ints(&[3]), Ints(&[2])], "N 4 9 ceil((W-1)/2)");
    expect("Slice", &[x, Ints(&[-1]), Ints(&[-i64::MAX]), Ints(&[2]), Ints(&[-1])], "N 4 9 W");
    expect("Slice", &[x, Ints(&[-3, 0]), Ints(&[i64::MAX, 2]), Ints(&[2, 1])], "N 2 3 W");
    expect("Slice", &[x, Ints(&[100]), Ints(&[200]), Ints(&[2])], "N 4 0 W");
    expect("Gather axis=1", &[x, Ints(&[0, -1])], "N 2 9 W");
    expect("Gather axis=2", &[x, Int(1)], "N 4 W");
    expect("Pad", &[x, Ints(&[0, 1, 0, 2, 0, 0, 1, 0])], "N 5 10 W+2");
    expect("Pad", &[x, Ints(&[1, 0]), Absent, Ints(&[-2])], "N 4 10 W");
    expect("Expand", &[Value("N 1"), Ints(&[1, 4])], "N 4");
    expect("Tile", &[Value("N 3"), Ints(&[2, 2])], "2*N 6");
    expect("Resize", &[x, Absent, Floats(&[1.0, 1.0, 1.7, 2.0])], "N 4 15 2*W");
    expect("Resize", &[x, Absent, Absent, Ints(&[2, 4, 5, 20])], "2 4 5 20");
}

#[test]
fn sums_products_and_means() {
    let x = Value("N 4 9 7");
    expect("Add", &[x, Weight(&[4, 1, 7])], "N 4 9 7");
    expect("Mul", &[Value("N 4 1 1"), x], "N 4 9 7");
    expect("ReduceMean keepdims=0", &[x, Ints(&[-1, -2])], "N 4");
    expect("ReduceMean", &[x, Ints(&[2, 3])], "N 4 1 1");
    expect("ReduceMax", &[x], "1 1 1 1");
    expect("Gemm transB=1", &[Value("N 4"), Weight(&[5, 4]), Weight(&[5])], "N 5");
    expect("MatMul", &[Value("N 1 3 4"), Weight(&[5, 4, 6])], "N 5 3 6");
    expect("MatMul", &[Value("4"), Weight(&[4, 5])], "5");
    expect("MatMul", &[Value("N 4"), Weight(&[4])], "N");
}

#[test]
fn what_does_not_fit_is_refused_with_its_shapes() {
    let x = Value("N 4 9 7");
    refuse("Conv", &[x, Weight(&[6, 3, 3, 3])], "(N, 4, 9, 7) does not have the (3) channels");
    refuse("Conv", &[x, Weight(&[6, 4, 10, 3])], "the kernel reaches over 10 positions, but the input has 9");
    refuse("Conv strides=0,1", &[x, Weight(&[6, 4, 3, 3])], "stride 0");
    refuse("Add", &[x, Weight(&[3, 1, 1])], "shapes (N, 4, 9, 7) and (3, 1, 1) do not broadcast");
    refuse("Concat axis=1", &[x, Value("N 4 8 7")], "cannot join (N, 4, 9, 7) and (N, 4, 8, 7) along axis 1");
    refuse("Reshape", &[Value("2 3"), Ints(&[4, -1])], "cannot reshape (2, 3)");
    refuse("Reshape", &[Value("2 3"), Ints(&[-1, -1])], "more than one size open");
    refuse("Transpose perm=0,1,1,2", &[x], "perm [0, 1, 1, 2]");
    refuse("Softmax axis=4", &[x], "axis 4 does not exist in a tensor of 4 dimensions");
    refuse("Squeeze", &[x, Ints(&[1])], "which is not 1");
    refuse("MatMul", &[Value("N 4"), Weight(&[5, 6])], "do not multiply");
    refuse("Unsqueeze", &[x, Ints(&[0; 2])], "twice");
    refuse("Unsqueeze", &[x, Ints(&(0..40).collect::<Vec<_>>())], "more than 16 dimensions");
    refuse("Pad", &[Floats(&[1.0; 8]), Ints(&[i64::MIN, i64::MAX])], "cannot pad by -9223372036854775808");
    refuse("Pad", &[Floats(&[1.0; 8]), Ints(&[0, 1 << 41])], "cannot pad by 2199023255552");
}

#[test]
fn constants_are_computed() {
    let m = Ints(&[7, -7, 7]);
    computes("Mod", &[m, Ints(&[3, 3, -3])], &[1.0, 2.0, -2.0]);
    computes("Div", &[m, Ints(&[2, 2, -2])], &[3.0, -3.0, -3.0]);
    computes("Slice", &[m, Ints(&[-1]), Ints(&[-i64::MAX]), Ints(&[0]), Ints(&[-2])], &[7.0, 7.0]);
    computes("Gather", &[m, Ints(&[-2, 0])], &[-7.0, 7.0]);
    computes("Concat axis=0", &[Ints(&[1]), Ints(&[2, 3])], &[1.0, 2.0, 3.0]);
    computes("Pad", &[Floats(&[1.0, 2.0]), Ints(&[2, -1]), Floats(&[9.0])], &[9.0, 9.0, 1.0]);
    computes("Range", &[Int(10), Int(0), Int(-4)], &[10.0, 6.0, 2.0]);
    computes("Cast to=7", &[Floats(&[1.9, -1.9])], &[1.0, -1.0]);
    computes("Cast to=9", &[Floats(&[0.4, 0.0])], &[1.0, 0.0]);
    computes("Cast to=10", &[Floats(&[1.5, 65504.0])], &[1.5, 65504.0]);
    computes("Where", &[Ints(&[1, 0]), Floats(&[1.0, 2.0]), Floats(&[3.0, 4.0])], &[1.0, 4.0]);
    computes("ReduceProd keepdims=0", &[Floats(&[2.0, 3.0, 4.0])], &[24.0]);
    computes("Sqrt", &[Floats(&[2.0, 9.0])], &[std::f64::consts::SQRT_2, 3.0]);
    computes("ConstantOfShape", &[Ints(&[2])], &[0.0, 0.0]);
    computes("Shape start=1", &[Weight(&[2, 3, 4])], &[3.0, 4.0]);
    computes("Tile", &[Ints(&[1, 2]), Ints(&[2])], &[1.0, 2.0, 1.0, 2.0]);
    computes("Greater", &[Ints(&[1, 2]), Ints(&[1, 1])], &[0.0, 1.0]);
}

#[test]
fn a_computed_target_with_a_free_batch_is_followed_to_the_end() {
    // shape = Shape(x); y = Expand(w, Where(shape[:1] == -1, 1, shape[:1] · 1) ++ [4])
    let mut graph = network(&[Value("N 3"), Weight(&[1, 4])]);
    let ints = [("first", vec![0]), ("minus", vec![-1]), ("one", vec![1]), ("four", vec![4])];
    for (name, values) in &ints {
        graph.initializers.insert((*name).into(), Arc::new(TensorData::from_i64(&[values.len()], values)));
    }
    for (text, inputs, output) in [
        ("Shape", vec!["in0"], "shape"),
        ("Gather axis=0", vec!["shape", "first"], "batch"),
        ("Equal", vec!["batch", "minus"], "is_free"),
        ("Mul", vec!["batch", "one"], "product"),
        ("Where", vec!["is_free", "one", "product"], "size"),
        ("Concat axis=0", vec!["size", "four"], "target"),
        ("Expand", vec!["in1", "target"], "out"),
    ] {
        graph.nodes.push(node(text, &inputs, output));
    }
    assert_eq!(shown(&fold(&graph, &InputShapes::new()).expect("folds")), "N 4");
}

fn expect(text: &str, inputs: &[In], shape: &str) {
    let graph = with_node(text, inputs);
    let folded = fold(&graph, &InputShapes::new()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(shown(&folded), shape, "{text}");
    check(&folded).unwrap_or_else(|error| panic!("{text}, folded: {error}"));
}

fn refuse(text: &str, inputs: &[In], part: &str) {
    let error = fold(&with_node(text, inputs), &InputShapes::new()).expect_err(text).to_string();
    assert!(error.contains(part) && error.contains("`out`"), "{text}: {error}");
}

fn computes(text: &str, inputs: &[In], values: &[f64]) {
    let folded = fold(&with_node(text, inputs), &InputShapes::new()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(folded.nodes.is_empty(), "{text} is folded");
    let tensor = &folded.initializers["out"];
    let found: Vec<f64> = match tensor.dtype {
        DataType::Float32 => tensor.to_f32().expect("floats").into_iter().map(f64::from).collect(),
        DataType::Float16 => tensor.bytes.chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        _ => tensor.to_i64().expect("integers").into_iter().map(|v| v as f64).collect(),
    };
    let wanted: Vec<f64> =
        values.iter().map(|v| if tensor.dtype.is_float() { f64::from(*v as f32) } else { *v }).collect();
    assert_eq!(found, wanted, "{text}");
}

fn shown(graph: &Graph) -> String {
    let sizes = graph.shape("out").expect("a known rank").into_iter().map(|dim| match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Symbol(name) => name,
        Dim::Unknown => "?".to_owned(),
    });
    sizes.collect::<Vec<_>>().join(" ")
}

fn with_node(text: &str, inputs: &[In]) -> Graph {
    let mut graph = network(inputs);
    let names: Vec<String> =
        (0..inputs.len()).map(|i| if matches!(inputs[i], Absent) { String::new() } else { format!("in{i}") }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    graph.nodes.push(node(text, &names, "out"));
    graph
}

/// A graph with the inputs `in0`, `in1`, … and the output `out`, whose type is not declared.
fn network(inputs: &[In]) -> Graph {
    let unknown = ValueType { dtype: DataType::Other(0), shape: None };
    let mut graph = Graph {
        name: "test".into(),
        opsets: [(String::new(), 19)].into(),
        outputs: vec![ValueInfo { name: "out".into(), ty: unknown }],
        ..Graph::default()
    };
    for (i, input) in inputs.iter().enumerate() {
        let data = match input {
            Value(sizes) => {
                let shape = Some(sizes.split(' ').map(dim).collect());
                let ty = ValueType { dtype: DataType::Float32, shape };
                graph.inputs.push(ValueInfo { name: format!("in{i}"), ty });
                continue;
            }
            Weight(dims) => TensorData::from_f32(dims, &vec![0.5; dims.iter().product()]),
            Ints(values) => TensorData::from_i64(&[values.len()], values),
            Int(value) => TensorData::from_i64(&[], &[*value]),
            Floats(values) => TensorData::from_f32(&[values.len()], values),
            Absent => continue,
        };
        graph.initializers.insert(format!("in{i}"), Arc::new(data));
    }
    graph
}

fn dim(text: &str) -> Dim {
    match text.parse() {
        Ok(size) => Dim::Known(size),
        Err(_) if text == "?" => Dim::Unknown,
        Err(_) => Dim::Symbol(text.to_owned()),
    }
}

/// `Conv group=2 pads=1,1,1,1`: an operator and its attributes.
fn node(text: &str, inputs: &[&str], output: &str) -> Node {
    let mut words = text.split(' ');
    let mut node = Node {
        op: words.next().expect("an operator").to_owned(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        outputs: vec![output.to_owned()],
        ..Node::default()
    };
    for (name, value) in words.map(|word| word.split_once('=').expect("name=value")) {
        let ints: Result<Vec<i64>, _> = value.split(',').map(str::parse).collect();
        node.attrs.set(
            name,
            match ints {
                Ok(ints) if value.contains(',') => Attribute::Ints(ints),
                Ok(ints) => Attribute::Int(ints[0]),
                Err(_) => Attribute::String(value.as_bytes().to_vec()),
            },
        );
    }
    node
}
