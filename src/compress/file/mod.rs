//! The student as a file: an edit of the customer's own, so that all that was not touched stays as it came (docs/method.md §9).

pub mod in_onnxruntime;

use std::collections::HashSet;

use tch::{Kind, Tensor};

use super::CompressError;
use super::quality::difference::difference_on_a_scale;
use super::student::{Student, drop_patch};
use crate::exec::{Device, Executor, RunOptions};
use crate::graph::patch::Patch;
use crate::graph::{DataType, Graph};
use crate::network::Network;
use crate::network::blocks::Block;
use crate::onnx;

/// Largest difference between the file in ONNX Runtime and the student in memory, relative to the output's scale.
pub const TOLERANCE: f64 = 1e-4;

/// The least scale of an output. A sigmoid that sees nothing answers with a few 1e-7, which each engine rounds in its own way: a
/// detector of text on photographs without any differed by a quarter of that.
const LEAST_SCALE: f64 = 1e-2;

/// Writes the teacher's file without `blocks` and with the student's weights.
pub fn to_onnx(
    network: &Network,
    blocks: &[&Block],
    student: &Student,
    metadata: &[(String, String)],
) -> Result<Vec<u8>, CompressError> {
    let mut patch = drop_patch(blocks);
    new_inputs(&network.graph, student, &mut patch)?;
    changed_weights(network, student, &mut patch)?;
    let graph = patch.apply(&network.model.graph)?;
    Ok(onnx::encode(&network.model, &graph, metadata)?)
}

/// Weights that the student's nodes read and the teacher's graph does not have: a bias that folding made, a constant of several
/// layers that is one layer's own now.
fn new_inputs(teacher: &Graph, student: &Student, patch: &mut Patch) -> Result<(), CompressError> {
    let mut added = HashSet::new();
    for node in &student.graph.nodes {
        for (index, name) in node.inputs.iter().enumerate() {
            if student.graph.initializers.contains_key(name) && !teacher.initializers.contains_key(name) {
                if added.insert(name) {
                    patch.add_initializer(name, student.params.to_tensor_data(name)?);
                }
                patch.set_input(node.output(), index, name);
            }
        }
    }
    Ok(())
}

/// Weights of the teacher's graph that have other values in the student. If the file has copies of one, under other names, the
/// nodes that read them read the one that has changed.
fn changed_weights(network: &Network, student: &Student, patch: &mut Patch) -> Result<(), CompressError> {
    let mut changed = HashSet::new();
    for (name, old) in &network.graph.initializers {
        if old.dtype.is_float() && student.graph.initializers.contains_key(name) {
            let new = student.params.to_tensor_data(name)?;
            if new != **old {
                patch.set_tensor(name, new);
                changed.insert(name);
            }
        }
    }
    let file = &network.model.graph;
    let in_file = file.producers();
    for node in &student.graph.nodes {
        let Some(original) = in_file.get(node.output()).map(|at| &file.nodes[*at]) else { continue };
        for (index, name) in node.inputs.iter().enumerate().filter(|(_, name)| changed.contains(name)) {
            if original.input(index).is_some_and(|read| read != name) {
                patch.set_input(node.output(), index, name);
            }
        }
    }
    Ok(())
}

/// The student as its file holds it: weights that the file stores in 16 bits and widens as it is loaded are rounded to those.
/// `None` if the file stores none.
pub fn as_stored(network: &Network, student: &Student) -> Result<Option<Student>, CompressError> {
    let narrow: Vec<(&String, DataType)> = (network.graph.initializers.keys())
        .filter_map(|name| Some((name, network.model.graph.stored_in_16_bits(name)?.1)))
        .filter(|(name, _)| student.params.get(name).is_some())
        .collect();
    if narrow.is_empty() {
        return Ok(None);
    }
    let mut stored = student.copy()?;
    for (name, dtype) in narrow {
        let kind = if dtype == DataType::BFloat16 { Kind::BFloat16 } else { Kind::Half };
        let Some(weight) = stored.params.get(name) else { continue };
        let rounded = weight.f_detach()?.f_to_kind(kind)?.f_to_kind(Kind::Float)?;
        stored.params.set(name, rounded);
    }
    Ok(Some(stored))
}

/// Reads an exported file back and compares, on these images (n, C, H, W), what ONNX Runtime makes of it with what the
/// executor makes of it, and with `reference` (the outputs of the student in memory) where given. The largest relative
/// difference is returned; beyond [`TOLERANCE`] it is an error.
pub fn verify(
    network: &Network,
    file: &[u8],
    images: &Tensor,
    reference: Option<&[Tensor]>,
    device: Device,
) -> Result<f64, CompressError> {
    verify_decoded(network, (file, &onnx::decode(file)?.graph), images, reference, device)
}

/// The same for a file that was decoded already: its bytes and its graph.
pub fn verify_decoded(
    network: &Network,
    (file, graph): (&[u8], &Graph),
    images: &Tensor,
    reference: Option<&[Tensor]>,
    device: Device,
) -> Result<f64, CompressError> {
    let images = &network.input.exact(images)?;
    let student = Student::of(network.prepare(graph)?, Vec::new(), device)?;
    let in_memory = outputs(network, &student, images)?;
    let names = network.answers_in(&student.graph);
    let in_runtime = in_onnxruntime::outputs(&network.input, &network.companions, &names, file, images)?;
    let mut worst = 0.0f64;
    for (index, runtime) in in_runtime.iter().enumerate() {
        worst = worse(worst, difference_on_a_scale(runtime, &in_memory[index], LEAST_SCALE)?);
        if let Some(reference) = reference {
            worst = worse(worst, difference_on_a_scale(runtime, &reference[index], LEAST_SCALE)?);
        }
    }
    if worst <= TOLERANCE {
        Ok(worst)
    } else {
        Err(CompressError::ExportDiffers { difference: worst, allowed: TOLERANCE })
    }
}

/// The larger of two; what is no number is worse than any.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// What stands for the outputs of a student on these images, in evaluation mode, on the CPU.
pub fn outputs(network: &Network, student: &Student, images: &Tensor) -> Result<Vec<Tensor>, CompressError> {
    let names = network.answers_in(&student.graph);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let input = network.input.name.as_str();
    let executor = Executor::new(&student.graph, &[input], &names)?;
    let images = images.f_to_device(student.params.device())?;
    let values = tch::no_grad(|| executor.run(&student.params, &[(input, &images)], &RunOptions::INFERENCE))?;
    values.iter().map(|value| Ok(value.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?)).collect()
}
