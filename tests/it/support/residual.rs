//! Random residual networks: every kind of block on one stream, in the forms that files have. A [`Plan`] says what is drawn,
//! so that a failing one can be made smaller and read.

mod build;

use std::collections::BTreeMap;
use std::sync::Arc;

use practised::graph::{Attribute, Graph, Node, TensorData};
use practised::onnx;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::tokens::value;
use build::Build;

/// A network.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the weights.
    pub seed: u64,
    /// From 17 on LayerNormalization is an operator.
    pub opset: i64,
    pub body: Body,
    pub constants: Constants,
    pub names: Names,
    /// A layer that is an output of the network too.
    pub shown: Option<Index>,
    /// A bit for every droppable block: whether it goes.
    pub drops: u16,
}

/// What the stream is.
#[derive(Debug, Clone)]
pub enum Body {
    /// Maps, (N, 8, 4, 4), then (N, 16, 2, 2).
    Maps { first: Vec<(OnMaps, Bend)>, between: Between, second: Vec<(OnMaps, Bend)> },
    /// Tokens, (N, 16, 8), with a linear head over each.
    Tokens(Vec<OnTokens>),
}

/// An enumeration of which every one is as likely as another.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name { $($(#[$of_variant])* $variant,)* }

        impl $name {
            fn any() -> impl Strategy<Value = Self> + Clone {
                select(vec![$(Self::$variant),*])
            }
        }
    };
}

choices! {
    /// Branches on maps.
    OnMaps {
        Basic,
        BatchNorms,
        PreActivation,
        Single,
        Bottleneck,
        GroupedWithin,
        GroupedAtEnds,
        DepthwiseFirst,
        Inverted,
        ExcitedWithin,
        ExcitedAtEnd,
        SiluAtEnd,
        LayerScale,
        ChannelsLast,
        SharedWithin,
        SharedWithEarlier,
        Nested,
        PaddedByZeros,
        PaddedByOnes,
        Reflected,
        EdgesRepeated,
    }
}

choices! {
    /// Branches on tokens.
    OnTokens {
        Mlp,
        LayerScale,
        NormSpelledOut,
        Attention,
        Gemm,
        GemmByRows,
        GemmWithFactors,
        TokensMixed,
        SharedWithEarlier,
        Nested,
    }
}

choices! {
    /// What bends the sum of a block.
    Bend {
        None,
        Relu,
        Clip,
        LeakyRelu,
        Silu,
    }
}

choices! {
    /// Between two network stages.
    Between {
        Convolution,
        Projection,
        PooledProjection,
        SliceAndPad,
    }
}

choices! {
    /// How a file holds its kernels.
    Constants {
        Initializers,
        Nodes,
        BehindIdentity,
        /// Matrices only.
        BehindTranspose,
    }
}

choices! {
    /// What values are called.
    Names {
        Plain,
        Paths,
        Numbers,
    }
}

/// Any network.
pub fn plans() -> impl Strategy<Value = Plan> {
    let form = (Constants::any(), Names::any(), proptest::option::weighted(0.2, any::<Index>()));
    (any::<u64>(), select(vec![13_i64, 17, 20]), prop_oneof![2 => maps(), 1 => tokens()], form, any::<u16>()).prop_map(
        |(seed, opset, body, (constants, names, shown), drops)| Plan {
            seed,
            opset,
            body,
            constants,
            names,
            shown,
            drops,
        },
    )
}

fn maps() -> impl Strategy<Value = Body> {
    let blocks = |most| prop::collection::vec((OnMaps::any(), Bend::any()), 0..=most);
    (blocks(4), Between::any(), blocks(3)).prop_map(|(first, between, second)| Body::Maps { first, between, second })
}

fn tokens() -> impl Strategy<Value = Body> {
    prop::collection::vec(OnTokens::any(), 1..=5).prop_map(Body::Tokens)
}

impl Plan {
    /// The network as a file.
    pub fn file(&self) -> Vec<u8> {
        let mut graph = Build::new(self.seed, self.opset).graph(&self.body);
        if let Some(index) = self.shown {
            show(&mut graph, index);
        }
        hold(&mut graph, self.constants);
        rename(&mut graph, self.names);
        onnx::encode_graph(&graph, 10).expect("a tiny network can be written")
    }
}

/// Makes what a layer puts out an output of the network; its first size is the batch, which it is not behind a `Gemm`.
fn show(graph: &mut Graph, index: Index) {
    let layers = graph.nodes.iter().filter(|node| ["Conv", "MatMul"].contains(&node.op.as_str()));
    let names: Vec<String> = layers.map(|node| node.outputs[0].clone()).filter(|name| name != "logits").collect();
    let mut shown = value(index.get::<String>(&names), &[]);
    shown.ty.shape = None;
    graph.outputs.push(shown);
}

/// Brings the kernels into the form in which the file holds them.
fn hold(graph: &mut Graph, constants: Constants) {
    let kernels: Vec<String> = graph.initializers.keys().filter(|name| name.ends_with(".weight")).cloned().collect();
    for (at, name) in kernels.into_iter().enumerate() {
        let held = format!("{name}.held");
        let data = Arc::clone(&graph.initializers[&name]);
        let mut node = Node { name: held.clone(), outputs: vec![name.clone()], ..Node::default() };
        match constants {
            Constants::Initializers => continue,
            Constants::BehindTranspose if data.dims.len() != 2 => continue,
            Constants::Nodes => {
                node.op = "Constant".into();
                node.attrs.set("value", Attribute::Tensor(data));
            }
            Constants::BehindIdentity => {
                (node.op, node.inputs) = ("Identity".into(), vec![held.clone()]);
                graph.initializers.insert(held, data);
            }
            Constants::BehindTranspose => {
                (node.op, node.inputs) = ("Transpose".into(), vec![held.clone()]);
                graph.initializers.insert(held, transposed(&data).into());
            }
        }
        graph.initializers.shift_remove(&name);
        graph.nodes.insert(at, node);
    }
}

fn transposed(matrix: &TensorData) -> TensorData {
    let [rows, columns] = matrix.dims.as_slice() else { panic!("a matrix") };
    let values = matrix.to_f32().expect("floats");
    let turned: Vec<f32> = (0..*columns).flat_map(|c| values.iter().skip(c).step_by(*columns).copied()).collect();
    TensorData::from_f32(&[*columns, *rows], &turned)
}

/// Renames every value but the network's input and its first output.
fn rename(graph: &mut Graph, names: Names) {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut renamed = |name: &mut String| {
        if ["input", "logits", ""].contains(&name.as_str()) {
            return;
        }
        let number = known.len();
        let new = match names {
            Names::Plain => name.clone(),
            Names::Paths => format!("/{}_output_0", name.replace('.', "/")),
            Names::Numbers => (100 + number).to_string(),
        };
        *name = known.entry(name.clone()).or_insert(new).clone();
    };
    let initializers = std::mem::take(&mut graph.initializers);
    let with_new_name = |(mut name, data)| {
        renamed(&mut name);
        (name, data)
    };
    graph.initializers = initializers.into_iter().map(with_new_name).collect();
    graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs)).for_each(&mut renamed);
    graph.outputs.iter_mut().for_each(|output| renamed(&mut output.name));
}
