//! Changes a network as a network: half of all changes are libFuzzer's own, of bytes, and hardly one of those leaves the lengths
//! of protobuf's messages right. The other half keep the file whole and change what it says.

use std::sync::Arc;

use libfuzzer_sys::fuzzer_mutate;
use practised::graph::{Attribute, DataType, Dim, Graph, TensorData};
use practised::{exec, onnx};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Sizes, axes and counts that have broken programs before.
#[rustfmt::skip]
const NUMBERS: [i64; 22] = [
    -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 4096, 4097, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 40, 1 << 62, i64::MAX,
    i64::MIN, -(1 << 31),
];

/// Attributes that decide about shapes.
#[rustfmt::skip]
const ATTRIBUTES: [&str; 22] = [
    "axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "perm", "to", "keepdims", "output_padding",
    "output_shape", "split", "starts", "ends", "shape", "allowzero", "batch_dims", "num_groups", "k", "blocksize", "ceil_mode",
];

/// A changed network in place of `bytes[..size]`; its new size.
pub fn network(bytes: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed.into());
    if random.random_ratio(1, 2) {
        return fuzzer_mutate(bytes, size, most);
    }
    let Ok(model) = onnx::decode(&bytes[..size]) else { return fuzzer_mutate(bytes, size, most) };
    let mut graph = model.graph;
    for _ in 0..random.random_range(1..4) {
        change(&mut graph, &mut random);
    }
    match onnx::encode_graph(&graph, 8) {
        Ok(written) if written.len() <= most => {
            bytes[..written.len()].copy_from_slice(&written);
            written.len()
        }
        _ => fuzzer_mutate(bytes, size, most),
    }
}

fn change(graph: &mut Graph, random: &mut ChaCha8Rng) {
    match random.random_range(0..12) {
        0..3 => attribute(graph, random),
        3 => operator(graph, random),
        4..6 => rewire(graph, random),
        6 => constant(graph, random),
        7 => new_constant(graph, random),
        8 => declared(graph, random),
        9 => repeat(graph, random),
        10 => forget(graph, random),
        _ => drop(graph.opsets.insert(String::new(), random.random_range(1..25))),
    }
}

fn number(random: &mut ChaCha8Rng) -> i64 {
    *NUMBERS.choose(random).expect("numbers")
}

fn numbers(random: &mut ChaCha8Rng) -> Vec<i64> {
    (0..random.random_range(0..6)).map(|_| number(random)).collect()
}

fn attribute(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let at = random.random_range(0..graph.nodes.len().max(1));
    let Some(node) = graph.nodes.get_mut(at) else { return };
    let own: Vec<String> = node.attrs.0.keys().cloned().collect();
    let name = match own.choose(random) {
        Some(name) if random.random_ratio(2, 3) => name.clone(),
        _ => (*ATTRIBUTES.choose(random).expect("attributes")).to_owned(),
    };
    match node.attrs.0.get_mut(&name) {
        Some(Attribute::Ints(values)) if !values.is_empty() && random.random_ratio(2, 3) => {
            let at = random.random_range(0..values.len());
            values[at] = number(random);
        }
        Some(Attribute::Float(value)) => *value = number(random) as f32,
        _ if random.random_ratio(1, 2) => node.attrs.set(&name, Attribute::Int(number(random))),
        _ => node.attrs.set(&name, Attribute::Ints(numbers(random))),
    }
}

fn operator(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let op = *exec::operators().choose(random).expect("operators");
    if let Some(node) = graph.nodes.choose_mut_in(random) {
        node.op = op.to_owned();
    }
}

fn rewire(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let written = graph.nodes.iter().flat_map(|node| &node.outputs).chain(graph.initializers.keys());
    let values: Vec<String> = written.chain(graph.inputs.iter().map(|input| &input.name)).cloned().collect();
    let Some(value) = values.choose(random).cloned() else { return };
    let Some(node) = graph.nodes.choose_mut_in(random) else { return };
    match (random.random_range(0..4), node.inputs.len()) {
        (0, 1..) => drop(node.inputs.pop()),
        (1, _) | (_, 0) => node.inputs.push(value),
        (_, count) => node.inputs[random.random_range(0..count)] = value,
    }
}

/// Other numbers, or another shape or type for the same bytes.
fn constant(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let at = random.random_range(0..graph.initializers.len().max(1));
    let Some((_, tensor)) = graph.initializers.get_index_mut(at) else { return };
    match (tensor.to_i64(), random.random_range(0..3)) {
        (Some(mut values), 0) if !values.is_empty() => {
            let at = random.random_range(0..values.len());
            values[at] = number(random);
            *tensor = Arc::new(TensorData::from_i64(&[values.len()], &values));
        }
        (_, 1) => Arc::make_mut(tensor).dtype = DataType::from_onnx(random.random_range(0..17)),
        _ => {
            let size = number(random) as usize;
            let dims = &mut Arc::make_mut(tensor).dims;
            match dims.len() {
                0 => dims.push(size),
                count => dims[random.random_range(0..count)] = size,
            }
        }
    }
}

/// Numbers that a node reads in place of what it has read.
fn new_constant(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let values = numbers(random);
    let name = graph.free_name("made");
    let Some(node) = graph.nodes.choose_mut_in(random) else { return };
    match random.random_range(0..=node.inputs.len().min(4)) {
        at if at < node.inputs.len() => node.inputs[at].clone_from(&name),
        _ => node.inputs.push(name.clone()),
    }
    graph.initializers.insert(name, Arc::new(TensorData::from_i64(&[values.len()], &values)));
}

fn declared(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let types = graph.inputs.iter_mut().chain(&mut graph.outputs).map(|info| &mut info.ty);
    let mut types: Vec<_> = types.chain(graph.values.values_mut()).filter_map(|ty| ty.shape.as_mut()).collect();
    let at = random.random_range(0..types.len().max(1));
    let Some(shape) = types.get_mut(at).filter(|shape| !shape.is_empty()) else { return };
    let at = random.random_range(0..shape.len());
    shape[at] = match random.random_range(0..4) {
        0 => Dim::Symbol("N".to_owned()),
        1 => Dim::Unknown,
        _ => Dim::Known(number(random).max(1) as usize),
    };
}

/// A node once more, behind itself.
fn repeat(graph: &mut Graph, random: &mut ChaCha8Rng) {
    let Some(mut node) = graph.nodes.choose(random).cloned() else { return };
    let (Some(input), Some(from)) = (node.inputs.first_mut(), node.outputs.first().cloned()) else { return };
    input.clone_from(&from);
    let to = graph.free_name(&format!("{from}'"));
    for name in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| **name == from) {
        name.clone_from(&to);
    }
    node.outputs[0] = to;
    graph.nodes.push(node);
}

fn forget(graph: &mut Graph, random: &mut ChaCha8Rng) {
    if !graph.nodes.is_empty() {
        graph.nodes.remove(random.random_range(0..graph.nodes.len()));
    }
}

trait ChooseIn<T> {
    fn choose_mut_in(&mut self, random: &mut ChaCha8Rng) -> Option<&mut T>;
}

impl<T> ChooseIn<T> for Vec<T> {
    fn choose_mut_in(&mut self, random: &mut ChaCha8Rng) -> Option<&mut T> {
        let at = random.random_range(0..self.len().max(1));
        self.get_mut(at)
    }
}
