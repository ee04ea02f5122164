//! The layers and blocks of random residual networks.

use std::collections::BTreeMap;

use practised::graph::{Attribute, Graph};

use super::super::tokens::{Sketch, WIDTH};
use super::{Bend, Between, Body, OnMaps, OnTokens};

/// A network in the making.
pub(super) struct Build {
    net: Sketch,
    /// Names given so far.
    count: usize,
    /// The kernel made last of each size.
    kernels: BTreeMap<Vec<usize>, String>,
}

/// Sizes of a convolution.
#[derive(Clone, Copy)]
struct Conv {
    from: usize,
    to: usize,
    kernel: usize,
    stride: i64,
    group: usize,
    /// Zeros on every side.
    pad: i64,
}

impl Conv {
    fn of(from: usize, to: usize, kernel: usize) -> Self {
        Self { from, to, kernel, stride: 1, group: 1, pad: (kernel / 2) as i64 }
    }
}

impl Build {
    pub(super) fn new(seed: u64, opset: i64) -> Self {
        Self { net: Sketch::seeded(seed, opset), count: 0, kernels: BTreeMap::new() }
    }

    pub(super) fn graph(mut self, body: &Body) -> Graph {
        match body {
            Body::Maps { first, between, second } => self.maps(first, *between, second),
            Body::Tokens(blocks) => self.tokens(blocks),
        }
        self.net.graph
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn op(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attribute)]) -> String {
        let name = self.name(&op.to_lowercase());
        self.net.node(op, &name, inputs, attrs)
    }

    fn kernel(&mut self, dims: &[usize]) -> String {
        let name = self.name("kernel");
        let name = self.net.weight(&format!("{name}.weight"), dims);
        self.kernels.insert(dims.to_vec(), name.clone());
        name
    }

    /// Half of them with a bias.
    fn conv(&mut self, x: &str, conv: Conv) -> String {
        let kernel = self.kernel(&[conv.to, conv.from / conv.group, conv.kernel, conv.kernel]);
        self.conv_by(x, &kernel, conv)
    }

    fn conv_by(&mut self, x: &str, kernel: &str, conv: Conv) -> String {
        let mut inputs = vec![x.to_owned(), kernel.to_owned()];
        if self.count.is_multiple_of(2) {
            let name = self.name("bias");
            inputs.push(self.net.weight(&name, &[conv.to]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attrs = [
            ("group", Attribute::Int(conv.group as i64)),
            ("pads", Attribute::Ints(vec![conv.pad; 4])),
            ("strides", Attribute::Ints(vec![conv.stride; 2])),
        ];
        self.op("Conv", &inputs, &attrs)
    }

    fn batch_norm(&mut self, x: &str, channels: usize) -> String {
        let name = self.name("norm");
        let parameters = ["gamma", "beta", "mean", "variance"].map(|what| (what, format!("{name}.{what}")));
        let parameters = parameters.map(|(what, name)| match what {
            "beta" | "mean" => self.net.weight(&name, &[channels]),
            _ => self.net.scale(&name, &[channels]),
        });
        let [gamma, beta, mean, variance] = parameters.each_ref().map(String::as_str);
        self.op("BatchNormalization", &[x, gamma, beta, mean, variance], &[])
    }

    fn bend(&mut self, x: &str, bend: Bend) -> String {
        match bend {
            Bend::None => x.to_owned(),
            Bend::Relu => self.op("Relu", &[x], &[]),
            Bend::LeakyRelu => self.op("LeakyRelu", &[x], &[("alpha", Attribute::Float(0.1))]),
            Bend::Clip => {
                let [low, high] = [0.0, 6.0].map(|bound| self.number(bound));
                self.op("Clip", &[x, &low, &high], &[])
            }
            Bend::Silu => {
                let gate = self.op("Sigmoid", &[x], &[]);
                self.op("Mul", &[x, &gate], &[])
            }
        }
    }

    fn number(&mut self, value: f32) -> String {
        let name = self.name("number");
        self.net.constant(&name, &[], &[value])
    }

    fn scaled(&mut self, x: &str, dims: &[usize]) -> String {
        let name = self.name("scale");
        let scale = self.net.scale(&name, dims);
        self.op("Mul", &[x, &scale], &[])
    }

    fn turned(&mut self, x: &str, order: &[i64]) -> String {
        let name = self.name("transpose");
        self.net.transpose(&name, x, order)
    }

    fn reshaped(&mut self, x: &str, sizes: &[i64]) -> String {
        let name = self.name("reshape");
        self.net.reshape(&name, x, sizes)
    }

    /// `x · W + b`.
    fn linear(&mut self, x: &str, from: usize, to: usize) -> String {
        let kernel = self.kernel(&[from, to]);
        self.linear_by(x, &kernel, to)
    }

    fn linear_by(&mut self, x: &str, kernel: &str, to: usize) -> String {
        let product = self.op("MatMul", &[x, kernel], &[]);
        let name = self.name("bias");
        let bias = self.net.weight(&name, &[to]);
        self.op("Add", &[&bias, &product], &[])
    }

    /// Over the last axis.
    fn layer_norm(&mut self, x: &str, channels: usize) -> String {
        if self.net.graph.opsets[""] < 17 {
            return self.norm_spelled_out(x, channels);
        }
        let [gamma, beta] = ["gamma", "beta"].map(|what| self.name(what));
        let gamma = self.net.scale(&gamma, &[channels]);
        let beta = self.net.weight(&beta, &[channels]);
        self.op("LayerNormalization", &[x, &gamma, &beta], &[("axis", Attribute::Int(-1))])
    }

    fn norm_spelled_out(&mut self, x: &str, channels: usize) -> String {
        let mean = self.mean(x);
        let centred = self.op("Sub", &[x, &mean], &[]);
        let two = self.number(2.0);
        let squares = self.op("Pow", &[&centred, &two], &[]);
        let variance = self.mean(&squares);
        let epsilon = self.number(1e-3);
        let variance = self.op("Add", &[&variance, &epsilon], &[]);
        let deviation = self.op("Sqrt", &[&variance], &[]);
        let normed = self.op("Div", &[&centred, &deviation], &[]);
        self.scaled(&normed, &[channels])
    }

    fn mean(&mut self, x: &str) -> String {
        if self.net.graph.opsets[""] < 18 {
            return self.op("ReduceMean", &[x], &[("axes", Attribute::Ints(vec![-1]))]);
        }
        let name = self.name("axes");
        let axes = self.net.ints(&name, &[-1]);
        self.op("ReduceMean", &[x, &axes], &[])
    }

    fn maps(&mut self, first: &[(OnMaps, Bend)], between: Between, second: &[(OnMaps, Bend)]) {
        let mut x = self.net.patches();
        for (branch, bend) in first {
            x = self.block_on_maps(&x, *branch, *bend, WIDTH);
        }
        x = self.between(&x, between);
        for (branch, bend) in second {
            x = self.block_on_maps(&x, *branch, *bend, 2 * WIDTH);
        }
        let pooled = self.op("GlobalAveragePool", &[&x], &[]);
        let flat = self.op("Flatten", &[&pooled], &[]);
        let weight = self.kernel(&[2 * WIDTH, 5]);
        self.op("Gemm", &[&flat, &weight], &[]);
        self.net.end(&[5]);
    }

    fn block_on_maps(&mut self, x: &str, branch: OnMaps, bend: Bend, width: usize) -> String {
        let added = self.branch_on_maps(x, branch, width);
        let sum = self.op("Add", &[&added, x], &[]);
        self.bend(&sum, bend)
    }

    fn branch_on_maps(&mut self, x: &str, branch: OnMaps, c: usize) -> String {
        let (wide, same) = (Conv::of(c, 2 * c, 1), Conv::of(c, c, 3));
        let narrow = Conv::of(2 * c, c, 1);
        match branch {
            OnMaps::Single => self.conv(x, same),
            OnMaps::Basic => self.two(x, same, same),
            OnMaps::BatchNorms => {
                let y = self.conv(x, same);
                let y = self.batch_norm(&y, c);
                let y = self.bend(&y, Bend::Relu);
                let y = self.conv(&y, same);
                self.batch_norm(&y, c)
            }
            OnMaps::PreActivation => {
                let y = self.batch_norm(x, c);
                let y = self.bend(&y, Bend::Relu);
                self.two(&y, same, same)
            }
            OnMaps::Bottleneck => {
                let y = self.two(x, Conv::of(c, c / 2, 1), Conv::of(c / 2, c / 2, 3));
                let y = self.bend(&y, Bend::Relu);
                self.conv(&y, Conv::of(c / 2, c, 1))
            }
            OnMaps::GroupedWithin => {
                let y = self.two(x, wide, Conv { group: 4, ..Conv::of(2 * c, 2 * c, 3) });
                self.conv(&y, narrow)
            }
            OnMaps::GroupedAtEnds => {
                let y = self.two(x, Conv { group: 2, ..wide }, Conv::of(2 * c, 2 * c, 1));
                self.conv(&y, Conv { group: 2, ..narrow })
            }
            OnMaps::DepthwiseFirst => {
                let y = self.conv(x, Conv { group: c, ..same });
                self.two(&y, wide, narrow)
            }
            OnMaps::Inverted => {
                let y = self.two(x, wide, Conv { group: 2 * c, ..Conv::of(2 * c, 2 * c, 3) });
                let y = self.bend(&y, Bend::Clip);
                self.conv(&y, narrow)
            }
            OnMaps::ExcitedWithin => {
                let y = self.conv(x, wide);
                let y = self.excited(&y, 2 * c);
                self.conv(&y, narrow)
            }
            OnMaps::ExcitedAtEnd => {
                let y = self.two(x, same, same);
                self.excited(&y, c)
            }
            OnMaps::SiluAtEnd => {
                let y = self.two(x, same, same);
                self.bend(&y, Bend::Silu)
            }
            OnMaps::LayerScale => {
                let y = self.two(x, same, same);
                self.scaled(&y, &[c, 1, 1])
            }
            OnMaps::ChannelsLast => self.channels_last(x, c),
            OnMaps::SharedWithin => {
                let kernel = self.kernel(&[c, c, 3, 3]);
                let y = self.conv_by(x, &kernel, same);
                let y = self.bend(&y, Bend::Relu);
                self.conv_by(&y, &kernel, same)
            }
            OnMaps::SharedWithEarlier => {
                let known = self.kernels.get(&vec![c, c, 3, 3]).cloned();
                let kernel = known.unwrap_or_else(|| self.kernel(&[c, c, 3, 3]));
                let y = self.conv_by(x, &kernel, same);
                self.two(&y, same, same)
            }
            OnMaps::Nested => {
                let y = self.block_on_maps(x, OnMaps::Basic, Bend::Relu, c);
                self.conv(&y, same)
            }
            OnMaps::PaddedByZeros => self.padded(x, c, None, 0.0),
            OnMaps::PaddedByOnes => self.padded(x, c, None, 1.0),
            OnMaps::Reflected => self.padded(x, c, Some("reflect"), 0.0),
            OnMaps::EdgesRepeated => self.padded(x, c, Some("edge"), 0.0),
        }
    }

    fn two(&mut self, x: &str, first: Conv, second: Conv) -> String {
        let y = self.conv(x, first);
        let y = self.bend(&y, Bend::Relu);
        self.conv(&y, second)
    }

    fn excited(&mut self, x: &str, channels: usize) -> String {
        let pooled = self.op("GlobalAveragePool", &[x], &[]);
        let y = self.two(&pooled, Conv::of(channels, 4, 1), Conv::of(4, channels, 1));
        let gate = self.op("Sigmoid", &[&y], &[]);
        self.op("Mul", &[x, &gate], &[])
    }

    /// As in ConvNeXt, without the depthwise convolution.
    fn channels_last(&mut self, x: &str, c: usize) -> String {
        let y = self.turned(x, &[0, 2, 3, 1]);
        let y = self.layer_norm(&y, c);
        let y = self.mlp(&y, c);
        let y = self.scaled(&y, &[c]);
        self.turned(&y, &[0, 3, 1, 2])
    }

    fn mlp(&mut self, x: &str, c: usize) -> String {
        let y = self.linear(x, c, 2 * c);
        let y = self.bend(&y, Bend::Silu);
        self.linear(&y, 2 * c, c)
    }

    fn padded(&mut self, x: &str, c: usize, mode: Option<&str>, number: f32) -> String {
        let pads = self.name("pads");
        let pads = self.net.ints(&pads, &[0, 0, 1, 1, 0, 0, 1, 1]);
        let value = self.number(number);
        let padded = match mode {
            Some(mode) => self.op("Pad", &[x, &pads], &[("mode", Attribute::String(mode.into()))]),
            None => self.op("Pad", &[x, &pads, &value], &[]),
        };
        self.two(&padded, Conv { pad: 0, ..Conv::of(c, c, 3) }, Conv::of(c, c, 1))
    }

    fn between(&mut self, x: &str, between: Between) -> String {
        let halving = Conv { stride: 2, ..Conv::of(WIDTH, 2 * WIDTH, 3) };
        if let Between::Convolution = between {
            return self.conv(x, halving);
        }
        let branch = self.two(x, halving, Conv::of(2 * WIDTH, 2 * WIDTH, 3));
        let shortcut = match between {
            Between::PooledProjection => {
                let windows = Attribute::Ints(vec![2, 2]);
                let pooled = self.op("AveragePool", &[x], &[("kernel_shape", windows.clone()), ("strides", windows)]);
                self.conv(&pooled, Conv::of(WIDTH, 2 * WIDTH, 1))
            }
            Between::SliceAndPad => self.sliced_and_padded(x),
            _ => self.conv(x, Conv { stride: 2, ..Conv::of(WIDTH, 2 * WIDTH, 1) }),
        };
        self.op("Add", &[&branch, &shortcut], &[])
    }

    fn sliced_and_padded(&mut self, x: &str) -> String {
        let bounds = [vec![0, 0], vec![i64::MAX; 2], vec![2, 3], vec![2, 2]].map(|values| {
            let name = self.name("bounds");
            self.net.ints(&name, &values)
        });
        let sliced = self.op("Slice", &[x, &bounds[0], &bounds[1], &bounds[2], &bounds[3]], &[]);
        let pads = self.name("pads");
        let half = (WIDTH / 2) as i64;
        let pads = self.net.ints(&pads, &[0, half, 0, 0, 0, half, 0, 0]);
        self.op("Pad", &[&sliced, &pads], &[])
    }

    fn tokens(&mut self, blocks: &[OnTokens]) {
        let maps = self.net.patches();
        let mut x = self.net.tokens(&maps);
        for branch in blocks {
            x = self.block_on_tokens(&x, *branch);
        }
        let weight = self.kernel(&[WIDTH, 5]);
        self.op("MatMul", &[&x, &weight], &[]);
        self.net.end(&[16, 5]);
    }

    fn block_on_tokens(&mut self, x: &str, branch: OnTokens) -> String {
        let added = self.branch_on_tokens(x, branch);
        self.op("Add", &[x, &added], &[])
    }

    fn branch_on_tokens(&mut self, x: &str, branch: OnTokens) -> String {
        match branch {
            OnTokens::Mlp => {
                let y = self.layer_norm(x, WIDTH);
                self.mlp(&y, WIDTH)
            }
            OnTokens::LayerScale => {
                let y = self.mlp(x, WIDTH);
                self.scaled(&y, &[WIDTH])
            }
            OnTokens::NormSpelledOut => {
                let y = self.norm_spelled_out(x, WIDTH);
                self.mlp(&y, WIDTH)
            }
            OnTokens::Attention => self.attention(x),
            OnTokens::Gemm => self.rows(x, false, 1.0),
            OnTokens::GemmByRows => self.rows(x, true, 1.0),
            OnTokens::GemmWithFactors => self.rows(x, true, 0.5),
            OnTokens::TokensMixed => {
                let y = self.layer_norm(x, WIDTH);
                let y = self.turned(&y, &[0, 2, 1]);
                let y = self.mlp(&y, 16);
                self.turned(&y, &[0, 2, 1])
            }
            OnTokens::SharedWithEarlier => {
                let dims = [WIDTH, 2 * WIDTH];
                let known = self.kernels.get(dims.as_slice()).cloned();
                let kernel = known.unwrap_or_else(|| self.kernel(&dims));
                let y = self.linear_by(x, &kernel, 2 * WIDTH);
                let y = self.bend(&y, Bend::Relu);
                self.linear(&y, 2 * WIDTH, WIDTH)
            }
            OnTokens::Nested => {
                let y = self.block_on_tokens(x, OnTokens::Mlp);
                self.linear(&y, WIDTH, WIDTH)
            }
        }
    }

    fn attention(&mut self, x: &str) -> String {
        let x = self.layer_norm(x, WIDTH);
        let [query, key, value] = [(); 3].map(|()| self.linear(&x, WIDTH, WIDTH));
        let key = self.turned(&key, &[0, 2, 1]);
        let products = self.op("MatMul", &[&query, &key], &[]);
        let weights = self.op("Softmax", &[&products], &[("axis", Attribute::Int(-1))]);
        let mixed = self.op("MatMul", &[&weights, &value], &[]);
        self.linear(&mixed, WIDTH, WIDTH)
    }

    /// `Gemm` takes matrices only.
    fn rows(&mut self, x: &str, by_rows: bool, alpha: f32) -> String {
        let x = self.reshaped(x, &[-1, WIDTH as i64]);
        let y = self.gemm(&x, [WIDTH, 2 * WIDTH], by_rows, alpha);
        let y = self.bend(&y, Bend::Relu);
        let y = self.gemm(&y, [2 * WIDTH, WIDTH], by_rows, alpha);
        self.reshaped(&y, &[-1, 16, WIDTH as i64])
    }

    fn gemm(&mut self, x: &str, [from, to]: [usize; 2], by_rows: bool, alpha: f32) -> String {
        let kernel = self.kernel(&if by_rows { [to, from] } else { [from, to] });
        let name = self.name("bias");
        let bias = self.net.weight(&name, &if by_rows { vec![to] } else { vec![1, to] });
        let attrs = [("transB", Attribute::Int(by_rows.into())), ("alpha", Attribute::Float(alpha))];
        self.op("Gemm", &[x, &kernel, &bias], &attrs)
    }
}
