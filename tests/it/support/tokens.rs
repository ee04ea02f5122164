//! Tiny seeded graphs put together by hand, for networks of linear layers: a body that a test writes, between patches of the
//! image and a head.

use practised::graph::{Attribute, DataType, Dim, Graph, Node, TensorData, ValueInfo, ValueType};
use practised::onnx;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Channels of the residual stream.
pub const WIDTH: usize = 8;

/// A graph in the making: input `input` (N, 3, 8, 8), and whatever nodes were added.
pub struct Sketch {
    pub graph: Graph,
    random: ChaCha8Rng,
}

impl Sketch {
    pub fn new() -> Self {
        Self::seeded(11, 18)
    }

    pub fn seeded(seed: u64, opset: i64) -> Self {
        let graph = Graph {
            name: "main_graph".into(),
            opsets: [(String::new(), opset)].into(),
            inputs: vec![value("input", &[3, 8, 8])],
            ..Graph::default()
        };
        Self { graph, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The image in patches of 2 × 2: (N, WIDTH, 4, 4).
    pub fn patches(&mut self) -> String {
        let weight = self.weight("patches.weight", &[WIDTH, 3, 2, 2]);
        let bias = self.weight("patches.bias", &[WIDTH]);
        let stride = [("strides", Attribute::Ints(vec![2, 2]))];
        self.node("Conv", "patches", &["input", &weight, &bias], &stride)
    }

    /// Maps as tokens: (N, WIDTH, 4, 4) → (N, 16, WIDTH).
    pub fn tokens(&mut self, maps: &str) -> String {
        let last = self.transpose("to_tokens.perm", maps, &[0, 2, 3, 1]);
        self.reshape("to_tokens", &last, &[0, 16, WIDTH as i64])
    }

    /// A linear head over every token: output `logits` (N, 16, 5), of which the features are what enters it.
    pub fn head_of_tokens(self, tokens: &str) -> Vec<u8> {
        let mut sketch = self;
        let weight = sketch.weight("head.weight", &[WIDTH, 5]);
        sketch.node("MatMul", "head", &[tokens, &weight], &[]);
        sketch.file(&[16, 5])
    }

    /// Global pooling and a linear head: output `logits` (N, 5), of which the features are the maps.
    pub fn head_of_maps(self, maps: &str) -> Vec<u8> {
        let mut sketch = self;
        let pooled = sketch.node("GlobalAveragePool", "pool", &[maps], &[]);
        let flat = sketch.node("Flatten", "flatten", &[&pooled], &[]);
        let weight = sketch.weight("head.weight", &[WIDTH, 5]);
        sketch.node("Gemm", "head", &[&flat, &weight], &[]);
        sketch.file(&[5])
    }

    fn file(mut self, output: &[usize]) -> Vec<u8> {
        self.end(output);
        onnx::encode_graph(&self.graph, 10).expect("a tiny network can be written")
    }

    /// The last node puts out `logits`, of these sizes beside the batch.
    pub fn end(&mut self, output: &[usize]) {
        self.graph.nodes.last_mut().expect("a head").outputs = vec!["logits".into()];
        self.graph.outputs.insert(0, value("logits", output));
    }

    /// `x · W + b` as exporters write it for tensors: `MatMul`, and `Add` with the bias in front.
    pub fn linear(&mut self, name: &str, x: &str, from: usize, to: usize) -> String {
        let product = self.product(name, x, from, to);
        let bias = self.weight(&format!("{name}.bias"), &[to]);
        self.node("Add", &format!("{name}.add"), &[&bias, &product], &[])
    }

    pub fn product(&mut self, name: &str, x: &str, from: usize, to: usize) -> String {
        let weight = self.weight(&format!("{name}.weight"), &[from, to]);
        self.node("MatMul", name, &[x, &weight], &[])
    }

    pub fn pointwise(&mut self, name: &str, x: &str, from: usize, to: usize) -> String {
        let weight = self.weight(&format!("{name}.weight"), &[to, from, 1, 1]);
        let bias = self.weight(&format!("{name}.bias"), &[to]);
        self.node("Conv", name, &[x, &weight, &bias], &[])
    }

    pub fn add(&mut self, name: &str, a: &str, b: &str) -> String {
        self.node("Add", name, &[a, b], &[])
    }

    pub fn transpose(&mut self, name: &str, x: &str, order: &[i64]) -> String {
        self.node("Transpose", name, &[x], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    pub fn reshape(&mut self, name: &str, x: &str, target: &[i64]) -> String {
        let shape = self.ints(&format!("{name}.shape"), target);
        self.node("Reshape", name, &[x, &shape], &[])
    }

    /// Numbers that keep the scale of what they are multiplied with.
    pub fn weight(&mut self, name: &str, dims: &[usize]) -> String {
        let inputs = if dims.len() == 2 { dims[0] } else { dims[1..].iter().product() };
        let bound = (3.0 / inputs.max(1) as f32).sqrt();
        let count = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.random.random_range(-bound..bound)).collect();
        self.constant(name, dims, &values)
    }

    /// Layer scale: numbers from 0.3 to 0.9.
    pub fn scale(&mut self, name: &str, dims: &[usize]) -> String {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| self.random.random_range(0.3..0.9)).collect();
        self.constant(name, dims, &values)
    }

    pub fn ints(&mut self, name: &str, values: &[i64]) -> String {
        self.graph.initializers.insert(name.to_owned(), TensorData::from_i64(&[values.len()], values).into());
        name.to_owned()
    }

    pub fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.graph.initializers.insert(name.to_owned(), TensorData::from_f32(dims, values).into());
        name.to_owned()
    }

    pub fn node(&mut self, op: &str, name: &str, inputs: &[&str], attrs: &[(&str, Attribute)]) -> String {
        let mut node = Node {
            name: name.into(),
            op: op.into(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: vec![name.into()],
            ..Node::default()
        };
        attrs.iter().for_each(|(name, value)| node.attrs.set(name, value.clone()));
        self.graph.nodes.push(node);
        name.to_owned()
    }
}

/// A float value of these sizes beside the batch.
pub fn value(name: &str, sizes: &[usize]) -> ValueInfo {
    let batch = Dim::Symbol("N".into());
    let shape = std::iter::once(batch).chain(sizes.iter().copied().map(Dim::Known)).collect();
    ValueInfo { name: name.into(), ty: ValueType { dtype: DataType::Float32, shape: Some(shape) } }
}
