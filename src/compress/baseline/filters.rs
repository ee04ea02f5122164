//! Filter pruning, to compare with: channels inside the residual blocks go instead of whole blocks (Li et al., *Pruning
//! filters for efficient convnets*, ICLR 2017). The stream keeps its width, so additions still fit.
//!
//! No job does this. The benchmarks recover such a student by the same distillation and put both side by side at equal
//! latency, because that blocks make a real device faster than filters do is what the service stands on.

use std::collections::HashSet;
use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::student::Student;
use crate::compress::student::edit::{position, set_weight};
use crate::compress::student::layer::{mixes_channels, passes};
use crate::exec::Device;
use crate::graph::{Attribute, Graph, Node};
use crate::network::Network;
use crate::onnx;

/// Channels are kept in multiples of so many: with other widths the kernels of real devices are slower than with more.
const MULTIPLE: i64 = 8;

/// ONNX's version of files with these operators.
const IR_VERSION: i64 = 8;

/// Channels between two convolutions of one branch.
struct Inner {
    /// First outputs of the convolution that writes them, of what passes them on, and of the one that reads them.
    writer: String,
    passing: Vec<String>,
    reader: String,
}

/// The teacher with the share `keep` of the channels inside every residual branch, those with the largest filters (L1 norm).
pub fn pruned(network: &Network, keep: f64, device: Device) -> Result<Student, CompressError> {
    let mut student = Student::teacher(network, device)?;
    // Each place of a shared block would get a kernel of its own.
    let blocks = network.blocks.iter().filter(|block| block.also.is_empty());
    let inner = blocks.flat_map(|block| inner_channels(&network.graph, &block.region));
    for channels in inner.collect::<Vec<_>>() {
        channels.prune(&mut student, keep)?;
    }
    Ok(student)
}

/// The student as a file.
pub fn to_onnx(student: &Student) -> Result<Vec<u8>, CompressError> {
    let mut graph = student.graph.clone();
    let read: HashSet<&String> = student.graph.nodes.iter().flat_map(|node| &node.inputs).collect();
    graph.initializers.retain(|name, _| read.contains(name));
    for name in student.params.names() {
        if let Some(data) = graph.initializers.get_mut(name) {
            *data = Arc::new(student.params.to_tensor_data(name)?);
        }
    }
    Ok(onnx::encode_graph(&graph, IR_VERSION)?)
}

/// Channels between the convolutions of a branch that nothing else reads, in graph order.
fn inner_channels(graph: &Graph, region: &[String]) -> Vec<Inner> {
    let inside: HashSet<&str> = region.iter().map(String::as_str).collect();
    let consumers = graph.consumers();
    let alone =
        |value: &str| inside.contains(value) && matches!(consumers.get(value).map(Vec::as_slice), Some([_only]));
    let readers = graph.nodes.iter().filter(|node| inside.contains(node.output()) && mixes_channels(graph, node));
    readers.filter_map(|reader| ahead_of(graph, alone, reader)).collect()
}

/// What stands ahead of a convolution, back to the one that writes its input; each value has to be read by it `alone`.
fn ahead_of(graph: &Graph, alone: impl Fn(&str) -> bool, reader: &Node) -> Option<Inner> {
    let mut passing = Vec::new();
    let mut value = reader.inputs[0].as_str();
    loop {
        let node = &graph.nodes[position(graph, value)?];
        if !alone(value) {
            return None;
        }
        if mixes_channels(graph, node) {
            return Some(Inner { writer: value.to_owned(), passing, reader: reader.output().to_owned() });
        }
        if !passes(node) && !depthwise(graph, node) {
            return None;
        }
        passing.push(value.to_owned());
        value = &node.inputs[0];
    }
}

/// A convolution that gives each channel a kernel of its own: weight (C, 1, kH, kW).
fn depthwise(graph: &Graph, node: &Node) -> bool {
    let weight = node.input(1).and_then(|weight| graph.initializers.get(weight));
    let own = |dims: &[usize]| dims.len() == 4 && dims[1] == 1 && dims[0] as i64 == node.attrs.int("group", 1);
    node.is("Conv") && weight.is_some_and(|weight| own(&weight.dims))
}

impl Inner {
    fn prune(&self, student: &mut Student, keep: f64) -> Result<(), CompressError> {
        let at = |value: &str, graph: &Graph| position(graph, value).expect("a node of this graph");
        let writer = at(&self.writer, &student.graph);
        let kernel = student.params.get(&student.graph.nodes[writer].inputs[1]).expect("the weight of a convolution");
        let kept = strongest(kernel, keep)?;
        select_outputs(student, writer, &kept)?;
        for value in &self.passing {
            let node = at(value, &student.graph);
            match student.graph.nodes[node].op.as_str() {
                "Conv" => student.graph.nodes[node].attrs.set("group", Attribute::Int(kept.size()[0])),
                "BatchNormalization" => {}
                _ => continue,
            }
            select_outputs(student, node, &kept)?;
        }
        let reader = at(&self.reader, &student.graph);
        select(student, reader, 1, 1, &kept)
    }
}

/// Indices of the filters to keep of a kernel (M, C, kH, kW), ascending.
fn strongest(kernel: &Tensor, keep: f64) -> Result<Tensor, CompressError> {
    let all = kernel.size()[0];
    let wanted = (all as f64 * keep / MULTIPLE as f64).round() as i64 * MULTIPLE;
    let norms = kernel.f_detach()?.f_abs()?.f_flatten(1, -1)?.f_sum_dim_intlist(1, false, Kind::Double)?;
    let (_, strongest) = norms.f_topk(wanted.clamp(MULTIPLE.min(all), all), 0, true, true)?;
    Ok(strongest.f_sort(0, false)?.0)
}

/// Keeps these channels of what a node puts out: of every weight it has.
fn select_outputs(student: &mut Student, at: usize, kept: &Tensor) -> Result<(), CompressError> {
    (1..student.graph.nodes[at].inputs.len()).try_for_each(|input| select(student, at, input, 0, kept))
}

/// Keeps these indices along one dimension of a node's input, under a name that no other node reads.
fn select(student: &mut Student, at: usize, input: usize, dim: i64, kept: &Tensor) -> Result<(), CompressError> {
    let node = &student.graph.nodes[at];
    let Some(tensor) = node.input(input).and_then(|name| student.params.get(name)) else { return Ok(()) };
    let part = tensor.f_detach()?.f_index_select(dim, kept)?;
    let name = format!("practised/filters/{}/{input}", node.output());
    // A reader may have been a writer before: its name is there with the shape that it had.
    student.graph.initializers.shift_remove(&name);
    set_weight(student, &name, &part)?;
    student.graph.nodes[at].inputs[input] = name;
    Ok(())
}
