//! Every operator against ONNX Runtime, on tiny networks of one node: the awkward variants above all.
//!
//! Outputs must agree to 1e-5 of their scale.

use std::collections::BTreeSet;
use std::ops::Range;

use practised::exec::{self, Device, Executor, Params, RunOptions};
use practised::graph::{Attribute, DataType, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::network::elements;
use practised::onnx;
use practised::onnxruntime::{Elements, Feed, Output, Session};
use tch::Tensor;

use crate::support::noise;

mod cases;

const TOLERANCE: f64 = 1e-5;

/// A node, what it is fed, and what it is given as constants.
struct Case {
    node: Node,
    opset: i64,
    feeds: Vec<Tensor>,
    constants: Vec<(String, TensorData)>,
    /// Element type of the outputs.
    gives: DataType,
    /// Which of the outputs are the network's.
    read: Range<usize>,
}

/// A case whose node reads these float tensors first.
fn case(op: &str, feeds: &[Tensor]) -> Case {
    let inputs = (0..feeds.len()).map(|index| format!("x{index}")).collect();
    let node =
        Node { name: op.to_lowercase(), op: op.to_owned(), inputs, outputs: vec!["y0".to_owned()], ..Node::default() };
    let feeds = feeds.iter().map(Tensor::shallow_clone).collect();
    Case { node, opset: 17, feeds, constants: Vec::new(), gives: DataType::Float32, read: 0..usize::MAX }
}

impl Case {
    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    fn int(mut self, name: &str, value: i64) -> Self {
        self.node.attrs.set(name, Attribute::Int(value));
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.node.attrs.set(name, Attribute::Ints(values.to_vec()));
        self
    }

    fn float(mut self, name: &str, value: f32) -> Self {
        self.node.attrs.set(name, Attribute::Float(value));
        self
    }

    fn text(mut self, name: &str, value: &str) -> Self {
        self.node.attrs.set(name, Attribute::String(value.as_bytes().to_vec()));
        self
    }

    /// One more input: a constant.
    fn constant(mut self, data: TensorData) -> Self {
        let name = format!("c{}", self.constants.len());
        self.node.inputs.push(name.clone());
        self.constants.push((name, data));
        self
    }

    fn whole(self, values: &[i64]) -> Self {
        self.constant(TensorData::from_i64(&[values.len()], values))
    }

    fn numbers(self, values: &[f32]) -> Self {
        self.constant(TensorData::from_f32(&[values.len()], values))
    }

    fn scalar(self, value: f32) -> Self {
        self.constant(TensorData::from_f32(&[], &[value]))
    }

    /// One more input: a float tensor of this shape as a weight.
    fn weight(self, size: &[i64], seed: u64) -> Self {
        self.constant(exec::from_tensor("weight", &noise(size, seed), DataType::Float32).unwrap())
    }

    /// One more input: a positive weight.
    fn positive(self, size: &[i64], seed: u64) -> Self {
        let weight = noise(size, seed).abs() + 0.5;
        self.constant(exec::from_tensor("weight", &weight, DataType::Float32).unwrap())
    }

    /// An optional input left out.
    fn skip(mut self) -> Self {
        self.node.inputs.push(String::new());
        self
    }

    fn outputs(mut self, count: usize) -> Self {
        self.node.outputs = (0..count).map(|index| format!("y{index}")).collect();
        self
    }

    /// Only some of the outputs are the network's.
    fn reads(mut self, read: Range<usize>) -> Self {
        self.read = read;
        self
    }

    /// Names of the network's outputs.
    fn wanted(&self) -> &[String] {
        &self.node.outputs[self.read.start..self.read.end.min(self.node.outputs.len())]
    }

    fn gives(mut self, dtype: DataType) -> Self {
        self.gives = dtype;
        self
    }

    fn graph(&self) -> Graph {
        let info = |name: &str, dtype, shape| ValueInfo { name: name.to_owned(), ty: ValueType { dtype, shape } };
        let input = |(index, feed): (usize, &Tensor)| {
            let shape = feed.size().iter().map(|size| practised::graph::Dim::Known(*size as usize)).collect();
            info(&format!("x{index}"), DataType::Float32, Some(shape))
        };
        Graph {
            name: "one".to_owned(),
            opsets: [(String::new(), self.opset)].into(),
            inputs: self.feeds.iter().enumerate().map(input).collect(),
            outputs: self.wanted().iter().map(|name| info(name, self.gives, None)).collect(),
            nodes: vec![self.node.clone()],
            initializers: self.constants.iter().map(|(name, data)| (name.clone(), data.clone().into())).collect(),
            ..Graph::default()
        }
    }

    fn describe(&self) -> String {
        format!("{} (opset {}) {:?} on {:?}", self.node.op, self.opset, self.node.attrs.0, self.feeds)
    }
}

/// Compares all cases and lists every one that differs.
fn compare(cases: &[Case]) {
    let problems: Vec<String> = cases
        .iter()
        .filter_map(|case| difference(case).err().map(|problem| format!("{}\n    {problem}", case.describe())))
        .collect();
    assert!(problems.is_empty(), "{} of {} differ:\n{}", problems.len(), cases.len(), problems.join("\n"));
}

fn difference(case: &Case) -> Result<(), String> {
    let graph = case.graph();
    let theirs = in_onnx_runtime(case, &graph)?;
    let ours = in_executor(case, &graph)?;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let size: Vec<usize> = ours.size().iter().map(|size| *size as usize).collect();
        if size != theirs.shape {
            return Err(format!("{}: shape {size:?}, ONNX Runtime has {:?}", theirs.name, theirs.shape));
        }
        let ours = Vec::<f32>::try_from(ours.reshape([-1]).to_kind(tch::Kind::Float)).unwrap();
        let scale = theirs.data.iter().fold(1e-3f64, |scale, value| scale.max(f64::from(value.abs())));
        let worst = ours.iter().zip(&theirs.data).map(|(a, b)| if a == b { 0.0 } else { f64::from((a - b).abs()) });
        let worst = worst.fold(0.0, |worst: f64, next| if next.is_nan() { f64::INFINITY } else { worst.max(next) });
        if worst > TOLERANCE * scale {
            return Err(format!("{}: off by {worst:.2e} at a scale of {scale:.2e}", theirs.name));
        }
    }
    Ok(())
}

fn in_onnx_runtime(case: &Case, graph: &Graph) -> Result<Vec<Output>, String> {
    let bytes = onnx::encode_graph(graph, 8).map_err(|error| error.to_string())?;
    let mut session = Session::open(&bytes, 1).map_err(|error| error.to_string())?;
    let data: Vec<(String, Vec<usize>, Elements)> = case
        .feeds
        .iter()
        .enumerate()
        .map(|(index, feed)| {
            let size = feed.size().iter().map(|size| *size as usize).collect();
            (format!("x{index}"), size, elements(feed).unwrap())
        })
        .collect();
    let feeds: Vec<Feed> = data.iter().map(|(name, shape, data)| Feed { name, shape, data }).collect();
    session.run(&feeds).map_err(|error| error.to_string())
}

fn in_executor(case: &Case, graph: &Graph) -> Result<Vec<Tensor>, String> {
    let names: Vec<String> = (0..case.feeds.len()).map(|index| format!("x{index}")).collect();
    let from: Vec<&str> = names.iter().map(String::as_str).collect();
    let to: Vec<&str> = case.wanted().iter().map(String::as_str).collect();
    let executor = Executor::new(graph, &from, &to).map_err(|error| error.to_string())?;
    let params = Params::from_graph(graph, Device::Cpu).map_err(|error| error.to_string())?;
    let feeds: Vec<(&str, &Tensor)> = from.iter().copied().zip(&case.feeds).collect();
    executor.run(&params, &feeds, &RunOptions::default()).map_err(|error| error.to_string())
}

/// A test for each family of cases, and all of them in one list.
macro_rules! families {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                compare(&cases::$name());
            }
        )*

        fn all() -> Vec<Case> {
            [$(cases::$name()),*].into_iter().flatten().collect()
        }
    };
}

families!(
    convolutions,
    a_convolution_whose_weight_is_computed,
    transposed_convolutions,
    normalizations,
    activations,
    clips_with_bounds_as_attributes_and_as_inputs,
    pools,
    averages_over_padding_where_the_size_is_rounded_up,
    linear_layers,
    arithmetic_with_broadcasting,
    comparisons_and_logic,
    reductions_with_axes_as_attribute_and_as_input,
    views,
    slices,
    joins_splits_and_repeats,
    elements_by_place,
    orders_along_an_axis,
    pads,
    shapes_types_and_constants,
    integer_arithmetic_of_shapes,
    resizes
);

#[test]
fn no_operator_goes_uncompared() {
    let compared: BTreeSet<String> = all().into_iter().map(|case| case.node.op).collect();
    let known: BTreeSet<String> = exec::operators().into_iter().map(str::to_owned).collect();
    assert_eq!(known.difference(&compared).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn resizes_that_are_not_supported_say_so() {
    let x = noise(&[1, 2, 5, 6], 152);
    let resize = || case("Resize", &[x.shallow_clone()]).skip().numbers(&[1.0, 1.0, 2.0, 2.0]);
    let reason = |case: Case| exec::unsupported(&case.graph()).remove(0).reason;
    assert!(reason(resize().text("mode", "cubic")).contains("cubic"));
    assert!(reason(resize().int("antialias", 1).opset(18)).contains("antialias"));
    assert!(
        reason(resize().text("coordinate_transformation_mode", "tf_crop_and_resize")).contains("tf_crop_and_resize")
    );
}

#[test]
fn windows_that_onnx_runtime_computes_otherwise_are_refused_by_name() {
    let reasons =
        |case: Case| exec::unsupported(&case.graph()).iter().map(|node| node.reason.clone()).collect::<String>();
    let image = noise(&[1, 4, 7, 6], 160);
    for op in ["MaxPool", "AveragePool"] {
        let pool = || case(op, &[image.shallow_clone()]).ints("kernel_shape", &[3, 3]).opset(19);
        let dilated = pool().ints("dilations", &[1, 2]);
        assert!(reasons(dilated.text("auto_pad", "SAME_LOWER")).contains("with dilations"), "{op}");
        assert_eq!(reasons(pool().ints("dilations", &[1, 2])), "");
        assert_eq!(reasons(pool().text("auto_pad", "SAME_UPPER")), "");
    }
    let deconv = || case("ConvTranspose", &[image.shallow_clone()]).weight(&[4, 3, 2, 2], 161).ints("strides", &[3, 3]);
    for side in ["SAME_UPPER", "SAME_LOWER"] {
        assert!(reasons(deconv().text("auto_pad", side)).contains("smaller than the stride"), "{side}");
        assert_eq!(reasons(deconv().text("auto_pad", side).ints("dilations", &[2, 2])), "");
    }
}

#[test]
fn windows_beyond_any_input_are_refused_before_they_run() {
    let huge = (1 << 31) + 1;
    let pool = || case("MaxPool", &[noise(&[1, 1, 4], 162)]).ints("kernel_shape", &[2]);
    let deconv = || case("ConvTranspose", &[noise(&[1, 1, 4], 163)]).weight(&[1, 1, 2], 164);
    for case in [
        pool().ints("kernel_shape", &[huge]),
        pool().ints("strides", &[huge]),
        pool().ints("dilations", &[huge]),
        pool().ints("dilations", &[1 << 31]).ints("kernel_shape", &[1 << 31]),
        pool().ints("pads", &[0, i64::MAX]),
        deconv().ints("output_padding", &[i64::MAX]),
        deconv().ints("output_shape", &[i64::MIN]),
    ] {
        let found = exec::unsupported(&case.graph());
        assert!(found.first().is_some_and(|node| node.reason.contains("limit of 2147483648")), "{}", case.describe());
    }
}
