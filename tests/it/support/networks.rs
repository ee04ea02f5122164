//! Tiny seeded residual networks, in the forms that PyTorch's two exporters write them: what the other tests compress,
//! run, cut and upload. 8 to 16 channels and 8 to 16 pixels, so that a test takes milliseconds.
//!
//! Networks that differ only in form (`bn`, `constants`, `shapes`, `head`, `batch`) compute the same function.

// Not every test needs every form.
#![allow(dead_code)]

use std::sync::Arc;

use buffa::Message;
use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::onnx;
use practised::onnx::proto::{ModelProto, StringStringEntryProto};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A network of a stem, two network stages and a head. The second stage halves the resolution and doubles the width,
/// so its first block has a projection shortcut; every other block has an identity shortcut.
#[derive(Debug, Clone)]
pub struct TinyResNet {
    pub style: Style,
    /// Blocks per network stage; at least 1.
    pub blocks: usize,
    /// Channels of the first network stage; even.
    pub width: usize,
    /// Height and width of the input; even.
    pub pixels: usize,
    /// Input channels.
    pub channels: usize,
    pub classes: usize,
    pub bn: BatchNorm,
    pub constants: Constants,
    pub shapes: Shapes,
    pub batch: Batch,
    pub shortcut: Shortcut,
    pub head: Head,
    pub opset: i64,
    /// Factor on what each block's branch adds: the smaller, the less a network loses without a block.
    pub branch: f32,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Style {
    /// conv 3×3, ReLU, conv 3×3; ReLU after the `Add`.
    Basic,
    /// expand 1×1, depthwise 3×3, project 1×1, `Clip` as ReLU6; nothing after the `Add`. Its first block of the second
    /// network stage has no shortcut at all.
    MbConv,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BatchNorm {
    Kept,
    Folded,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Constants {
    Initializers,
    Nodes,
}

/// How pads and reshape targets arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shapes {
    Constant,
    /// By the arithmetic (`Shape`, `Gather`, `Concat`, …) that the old exporter leaves in the file.
    Computed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Batch {
    Free,
    Fixed(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shortcut {
    /// 1×1 convolution of stride 2.
    Conv,
    /// Every second pixel, zeros for the new channels.
    SlicePad,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head {
    /// GlobalAveragePool, Flatten (or Reshape where `shapes` are computed), Gemm.
    GapFlattenGemm,
    /// ReduceMean over H and W without keeping them, Gemm.
    ReduceMean,
}

impl Default for TinyResNet {
    fn default() -> Self {
        Self {
            style: Style::Basic,
            blocks: 2,
            width: 8,
            pixels: 8,
            channels: 3,
            classes: 10,
            bn: BatchNorm::Kept,
            constants: Constants::Initializers,
            shapes: Shapes::Constant,
            batch: Batch::Free,
            shortcut: Shortcut::Conv,
            head: Head::GapFlattenGemm,
            opset: 18,
            branch: 1.0,
            seed: 7,
        }
    }
}

impl TinyResNet {
    /// The network: input `input` (N, channels, pixels, pixels), output `logits` (N, classes).
    pub fn graph(&self) -> Graph {
        let mut b = Builder::new(self);
        let mut x =
            b.conv_bn("stem", "input", Conv { from: self.channels, to: self.width, kernel: 3, stride: 1, group: 1 });
        x = b.activation("stem", &x);
        let mut from = self.width;
        for (stage, width) in [(1, self.width), (2, 2 * self.width)] {
            for block in 0..self.blocks {
                let stride = if stage == 2 && block == 0 { 2 } else { 1 };
                x = b.block(&format!("layer{stage}.{block}"), &x, from, width, stride);
                from = width;
            }
        }
        b.head(&x, from);
        b.graph
    }

    /// The network as an ONNX file.
    pub fn bytes(&self) -> Vec<u8> {
        onnx::encode_graph(&self.graph(), if self.opset < 18 { 8 } else { 10 }).expect("a tiny network can be written")
    }

    /// Names of the blocks whose shortcut is the identity, in depth order.
    pub fn droppable(&self) -> Vec<String> {
        let names = [1, 2].into_iter().flat_map(|stage| (0..self.blocks).map(move |b| (stage, b)));
        names.filter(|place| *place != (2, 0)).map(|(stage, block)| format!("layer{stage}.{block}")).collect()
    }
}

/// The file as `torch.onnx.export(…, dynamo=True)` writes large networks: the last layer's weight lies in another file.
pub fn with_weight_elsewhere(file: &[u8], location: &str) -> Vec<u8> {
    let mut model = ModelProto::decode(&mut &file[..]).expect("a file of ours");
    let weights = &mut model.graph.get_or_insert_default().initializer;
    let weight = weights.iter_mut().find(|tensor| tensor.name.as_deref() == Some("fc.weight"));
    let weight = weight.expect("the head's weight");
    weight.raw_data = None;
    weight.external_data = vec![StringStringEntryProto {
        key: Some("location".into()),
        value: Some(location.to_owned()),
        ..Default::default()
    }];
    model.encode_to_vec()
}

/// The file as `torch.onnx.export` writes it by default since 2.9: every weight lies in another file, which is the second.
pub fn with_weights_elsewhere(file: &[u8], location: &str) -> (Vec<u8>, Vec<u8>) {
    let mut model = ModelProto::decode(&mut &file[..]).expect("a file of ours");
    let mut data: Vec<u8> = Vec::new();
    for tensor in &mut model.graph.get_or_insert_default().initializer {
        let raw = tensor.raw_data.take().expect("raw bytes");
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value),
            ..Default::default()
        };
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(practised::onnx::proto::tensor_proto::DataLocation::EXTERNAL);
        data.extend(raw);
    }
    (model.encode_to_vec(), data)
}

/// A network whose node `at` is the one of an `If` with this condition, whose other branch hands its input on. The condition is a
/// constant, or the first size of a value's shape being 1.
pub fn with_branch(graph: &Graph, at: usize, condition: Condition) -> Vec<u8> {
    let mut graph = graph.clone();
    let node = graph.nodes[at].clone();
    let (input, output) = (node.inputs[0].clone(), node.output().to_owned());
    // The branches use one name, and the taken one reads weights of the graph around it.
    let inside = |op: &str, node: Option<&Node>| {
        let mut inner = Graph { name: "branch".into(), ..Graph::default() };
        let mut taken =
            node.cloned().unwrap_or_else(|| Node { op: op.into(), inputs: vec![input.clone()], ..Node::default() });
        taken.outputs = vec!["inside".into()];
        inner.nodes.push(taken);
        inner
            .outputs
            .push(ValueInfo { name: "inside".into(), ty: ValueType { dtype: DataType::Float32, shape: None } });
        inner
    };
    let (then, other) = (inside("", Some(&node)), inside("Identity", None));
    let mut before = Vec::new();
    match condition {
        Condition::Constant(yes) => {
            let yes = TensorData { dtype: DataType::Bool, dims: vec![], bytes: vec![u8::from(yes)] };
            graph.initializers.insert("condition".into(), yes.into());
        }
        Condition::FirstSizeOf(value) => {
            graph.initializers.insert("first".into(), TensorData::from_i64(&[], &[0]).into());
            graph.initializers.insert("one".into(), TensorData::from_i64(&[], &[1]).into());
            let made = |op: &str, inputs: &[&str], output: &str| Node {
                op: op.into(),
                inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
                outputs: vec![output.into()],
                ..Node::default()
            };
            before = vec![
                made("Shape", &[value], "condition.shape"),
                made("Gather", &["condition.shape", "first"], "condition.size"),
                made("Equal", &["condition.size", "one"], "condition"),
            ];
        }
    }
    let name = node.name.clone();
    graph.nodes[at] =
        Node { name, op: "If".into(), inputs: vec!["condition".into()], outputs: vec![output], ..Node::default() };
    graph.nodes.splice(at..at, before);
    let file = onnx::encode_graph(&graph, 10).expect("written");
    let mut model = ModelProto::decode(&mut &file[..]).expect("a file of ours");
    let protos = [then, other].map(|graph| {
        let file = onnx::encode_graph(&graph, 10).expect("written");
        let mut model = ModelProto::decode(&mut &file[..]).expect("a file of ours");
        std::mem::take(model.graph.get_or_insert_default())
    });
    let place = model.graph.get_or_insert_default().node.iter_mut().find(|node| node.op_type.as_deref() == Some("If"));
    place.expect("the node").attribute = ["then_branch", "else_branch"]
        .into_iter()
        .zip(protos)
        .map(|(name, graph)| practised::onnx::proto::AttributeProto {
            name: Some(name.into()),
            r#type: Some(practised::onnx::proto::attribute_proto::AttributeType::GRAPH),
            g: graph.into(),
            ..Default::default()
        })
        .collect();
    model.encode_to_vec()
}

/// What decides an `If`.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    Constant(bool),
    /// Whether the first size of this value is 1.
    FirstSizeOf(&'a str),
}

#[derive(Clone, Copy)]
struct Conv {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    group: usize,
}

struct Builder<'a> {
    net: &'a TinyResNet,
    graph: Graph,
    rng: ChaCha8Rng,
}

impl<'a> Builder<'a> {
    fn new(net: &'a TinyResNet) -> Self {
        let batch = match net.batch {
            Batch::Free => Dim::Symbol("N".into()),
            Batch::Fixed(size) => Dim::Known(size),
        };
        let value = |name: &str, rest: &[usize]| ValueInfo {
            name: name.into(),
            ty: ValueType {
                dtype: DataType::Float32,
                shape: Some(std::iter::once(batch.clone()).chain(rest.iter().copied().map(Dim::Known)).collect()),
            },
        };
        let graph = Graph {
            name: "main_graph".into(),
            opsets: [(String::new(), net.opset)].into(),
            inputs: vec![value("input", &[net.channels, net.pixels, net.pixels])],
            outputs: vec![value("logits", &[net.classes])],
            ..Graph::default()
        };
        Self { net, graph, rng: ChaCha8Rng::seed_from_u64(net.seed) }
    }

    fn block(&mut self, name: &str, x: &str, from: usize, to: usize, stride: usize) -> String {
        let identity = stride == 1 && from == to;
        match self.net.style {
            Style::Basic => {
                let first = Conv { from, to, kernel: 3, stride, group: 1 };
                let a = self.conv_bn(&format!("{name}.conv1"), x, first);
                let a = self.activation(&format!("{name}.act1"), &a);
                let branch = self.conv_bn(&format!("{name}.conv2"), &a, Conv { from: to, stride: 1, ..first });
                let shortcut = if identity { x.to_owned() } else { self.projection(name, x, from, to) };
                let sum = self.node("Add", &format!("{name}.add"), &[&branch, &shortcut], &[]);
                self.activation(&format!("{name}.act2"), &sum)
            }
            Style::MbConv => {
                let wide = 2 * from;
                let expand = Conv { from, to: wide, kernel: 1, stride: 1, group: 1 };
                let a = self.conv_bn(&format!("{name}.expand"), x, expand);
                let a = self.activation(&format!("{name}.act1"), &a);
                let depthwise = Conv { from: wide, to: wide, kernel: 3, stride, group: wide };
                let a = self.conv_bn(&format!("{name}.depthwise"), &a, depthwise);
                let a = self.activation(&format!("{name}.act2"), &a);
                let project = Conv { from: wide, to, kernel: 1, stride: 1, group: 1 };
                let branch = self.conv_bn(&format!("{name}.project"), &a, project);
                if identity { self.node("Add", &format!("{name}.add"), &[&branch, x], &[]) } else { branch }
            }
        }
    }

    fn projection(&mut self, name: &str, x: &str, from: usize, to: usize) -> String {
        if self.net.shortcut == Shortcut::Conv {
            return self.conv_bn(&format!("{name}.shortcut"), x, Conv { from, to, kernel: 1, stride: 2, group: 1 });
        }
        let bounds = [("starts", vec![0, 0]), ("ends", vec![i64::MAX; 2]), ("axes", vec![2, 3]), ("steps", vec![2, 2])];
        let bounds = bounds.map(|(what, values)| self.ints(&format!("{name}.shortcut.{what}"), &values));
        let inputs = [x, &bounds[0], &bounds[1], &bounds[2], &bounds[3]];
        let sliced = self.node("Slice", &format!("{name}.shortcut.slice"), &inputs, &[]);
        let extra = ((to - from) / 2) as i64;
        let pads = match self.net.shapes {
            Shapes::Constant => self.ints(&format!("{name}.shortcut.pads"), &[0, extra, 0, 0, 0, extra, 0, 0]),
            // As torch.nn.functional.pad is written: last dimension first, begin and end in turn.
            Shapes::Computed => self.computed_pads(&format!("{name}.shortcut"), &[0, 0, 0, 0, extra, extra]),
        };
        let zero = self.constant(&format!("{name}.shortcut.zero"), TensorData::from_f32(&[], &[0.0]));
        let mode = Attribute::String(b"constant".to_vec());
        self.node("Pad", &format!("{name}.shortcut.pad"), &[&sliced, &pads, &zero], &[("mode", mode)])
    }

    fn computed_pads(&mut self, name: &str, torch_pads: &[i64]) -> String {
        let given = self.ints(&format!("{name}.torch_pads"), torch_pads);
        let shape = self.node("Shape", &format!("{name}.count"), &[&given], &[]);
        let first = self.ints(&format!("{name}.first"), &[0]);
        let count = self.node("Gather", &format!("{name}.gather"), &[&shape, &first], &[("axis", Attribute::Int(0))]);
        let (rank, two) = (self.scalar(&format!("{name}.rank"), 4), self.scalar(&format!("{name}.two"), 2));
        let all = self.node("Mul", &format!("{name}.mul"), &[&rank, &two], &[]);
        let missing = self.node("Sub", &format!("{name}.sub"), &[&all, &count], &[]);
        let zero = Attribute::Tensor(Arc::new(TensorData::from_i64(&[1], &[0])));
        let zeros = self.node("ConstantOfShape", &format!("{name}.zeros"), &[&missing], &[("value", zero)]);
        let int = Attribute::Int(7);
        let given = self.node("Cast", &format!("{name}.cast"), &[&given], &[("to", int.clone())]);
        let full = self.node("Concat", &format!("{name}.concat"), &[&given, &zeros], &[("axis", Attribute::Int(0))]);
        let pairs = self.ints(&format!("{name}.pairs"), &[-1, 2]);
        let full = self.node("Reshape", &format!("{name}.pair"), &[&full, &pairs], &[]);
        let bounds = [("last", -1), ("start", i64::MIN + 1), ("rows", 0), ("back", -1)];
        let bounds = bounds.map(|(what, value)| self.ints(&format!("{name}.{what}"), &[value]));
        let inputs = [full.as_str(), &bounds[0], &bounds[1], &bounds[2], &bounds[3]];
        let full = self.node("Slice", &format!("{name}.reverse"), &inputs, &[]);
        let perm = Attribute::Ints(vec![1, 0]);
        let full = self.node("Transpose", &format!("{name}.transpose"), &[&full], &[("perm", perm)]);
        let flat = self.ints(&format!("{name}.flat"), &[-1]);
        let full = self.node("Reshape", &format!("{name}.flatten"), &[&full, &flat], &[]);
        self.node("Cast", &format!("{name}.cast1"), &[&full], &[("to", int)])
    }

    fn head(&mut self, x: &str, width: usize) {
        let features = match self.net.head {
            Head::GapFlattenGemm => {
                let pooled = self.node("GlobalAveragePool", "pool", &[x], &[]);
                self.flatten(&pooled)
            }
            Head::ReduceMean => {
                let mut inputs = vec![x.to_owned()];
                let mut attrs = vec![("keepdims", Attribute::Int(0))];
                // Opset 18 made the axes an input.
                match self.net.opset < 18 {
                    true => attrs.push(("axes", Attribute::Ints(vec![-1, -2]))),
                    false => inputs.push(self.ints("pool.axes", &[-1, -2])),
                }
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                self.node("ReduceMean", "pool", &inputs, &attrs)
            }
        };
        let bound = (3.0 / width as f32).sqrt();
        let weight = self.uniform("fc.weight", &[self.net.classes, width], bound);
        let bias = self.uniform("fc.bias", &[self.net.classes], 0.1);
        self.node("Gemm", "fc", &[&features, &weight, &bias], &[("transB", Attribute::Int(1))]);
        self.graph.nodes.last_mut().expect("just added").outputs = vec!["logits".into()];
    }

    fn flatten(&mut self, pooled: &str) -> String {
        if self.net.shapes == Shapes::Constant {
            return self.node("Flatten", "flatten", &[pooled], &[("axis", Attribute::Int(1))]);
        }
        let shape = self.node("Shape", "flatten.shape", &[pooled], &[]);
        let first = self.scalar("flatten.first", 0);
        let batch = self.node("Gather", "flatten.gather", &[&shape, &first], &[("axis", Attribute::Int(0))]);
        let axes = self.ints("flatten.axes", &[0]);
        let batch = self.node("Unsqueeze", "flatten.unsqueeze", &[&batch, &axes], &[]);
        let rest = self.ints("flatten.rest", &[-1]);
        let target = self.node("Concat", "flatten.concat", &[&batch, &rest], &[("axis", Attribute::Int(0))]);
        self.node("Reshape", "flatten", &[pooled, &target], &[])
    }

    /// The same random numbers whether BatchNormalization is kept or folded, so that both compute the same.
    fn conv_bn(&mut self, name: &str, x: &str, conv: Conv) -> String {
        let Conv { from, to, kernel, stride, group } = conv;
        let dims = [to, from / group, kernel, kernel];
        let bound = (3.0 / (dims[1] * kernel * kernel) as f32).sqrt();
        let weight = self.random(dims.iter().product(), -bound, bound);
        let [mut gamma, var] = [(0.8, 1.2), (0.5, 1.5)].map(|(low, high)| self.random(to, low, high));
        let [mut beta, mean] = [0.2, 0.2].map(|bound| self.random(to, -bound, bound));
        if name.ends_with(".conv2") || name.ends_with(".project") {
            gamma.iter_mut().chain(&mut beta).for_each(|value| *value *= self.net.branch);
        }
        const EPSILON: f32 = 1e-5;
        let attrs = [
            ("dilations", Attribute::Ints(vec![1, 1])),
            ("group", Attribute::Int(group as i64)),
            ("kernel_shape", Attribute::Ints(vec![kernel as i64; 2])),
            ("pads", Attribute::Ints(vec![(kernel / 2) as i64; 4])),
            ("strides", Attribute::Ints(vec![stride as i64; 2])),
        ];
        if self.net.bn == BatchNorm::Kept {
            let weight = self.constant(&format!("{name}.weight"), TensorData::from_f32(&dims, &weight));
            let y = self.node("Conv", name, &[x, &weight], &attrs);
            let inputs = [("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", var)];
            let inputs =
                inputs.map(|(what, v)| self.constant(&format!("{name}.bn.{what}"), TensorData::from_f32(&[to], &v)));
            let inputs = [y.as_str(), &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
            let attrs = [("epsilon", Attribute::Float(EPSILON)), ("momentum", Attribute::Float(0.9))];
            return self.node("BatchNormalization", &format!("{name}.bn"), &inputs, &attrs);
        }
        let scale: Vec<f32> = gamma.iter().zip(&var).map(|(gamma, var)| gamma / (var + EPSILON).sqrt()).collect();
        let per_channel = weight.len() / to;
        let weight: Vec<f32> = weight.iter().enumerate().map(|(i, w)| w * scale[i / per_channel]).collect();
        let bias: Vec<f32> = (0..to).map(|c| beta[c] - mean[c] * scale[c]).collect();
        let weight = self.constant(&format!("{name}.weight"), TensorData::from_f32(&dims, &weight));
        let bias = self.constant(&format!("{name}.bias"), TensorData::from_f32(&[to], &bias));
        self.node("Conv", name, &[x, &weight, &bias], &attrs)
    }

    fn activation(&mut self, name: &str, x: &str) -> String {
        if self.net.style == Style::Basic {
            return self.node("Relu", &format!("{name}.relu"), &[x], &[]);
        }
        let [low, high] = [("min", 0.0), ("max", 6.0)]
            .map(|(what, value)| self.constant(&format!("{name}.{what}"), TensorData::from_f32(&[], &[value])));
        self.node("Clip", &format!("{name}.clip"), &[x, &low, &high], &[])
    }

    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attrs: &[(&str, Attribute)]) -> String {
        let output = format!("{name}_output_0");
        let mut node = Node {
            name: name.into(),
            op: op.into(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: vec![output.clone()],
            ..Node::default()
        };
        attrs.iter().for_each(|(name, value)| node.attrs.set(name, value.clone()));
        self.graph.nodes.push(node);
        output
    }

    fn constant(&mut self, name: &str, data: TensorData) -> String {
        if self.net.constants == Constants::Nodes {
            return self.node("Constant", name, &[], &[("value", Attribute::Tensor(Arc::new(data)))]);
        }
        self.graph.initializers.insert(name.to_owned(), Arc::new(data));
        name.to_owned()
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> String {
        self.constant(name, TensorData::from_i64(&[values.len()], values))
    }

    fn scalar(&mut self, name: &str, value: i64) -> String {
        self.constant(name, TensorData::from_i64(&[], &[value]))
    }

    fn uniform(&mut self, name: &str, dims: &[usize], bound: f32) -> String {
        let values = self.random(dims.iter().product(), -bound, bound);
        self.constant(name, TensorData::from_f32(dims, &values))
    }

    fn random(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| self.rng.random_range(low..high)).collect()
    }
}
