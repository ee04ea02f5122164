//! BatchNormalization as recovery needs it (method §6, point 2): made where an export had it folded into the convolutions,
//! renewed where a refit has moved what it normalises.
//!
//! The recipe trains with the statistics of each batch, so a folded convolution gets a BatchNormalization behind it that
//! starts as the identity: its running statistics are what the teacher's convolution puts out on the images fitted on, its
//! scale and shift undo them. Kernel rows are brought to one norm, with the scale taken back behind the convolution,
//! because folding has left some rows with tiny kernels that one step would overrun. On export all of it is folded back.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::exec::{Executor, RunOptions};
use crate::graph::{Attribute, Graph, Node};

use super::CompressError;
use super::edit::{own_bias, own_input, position, set_weight, wide};
use super::layer::has_constant_parameters;
use super::network::Network;
use super::samples::Samples;
use super::student::Student;
use super::trainable::ahead_of;

const EPSILON: f64 = 1e-5;

/// A BatchNormalization that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// First output of the convolution ahead of it.
    pub conv: String,
    /// First output of the BatchNormalization.
    pub output: String,
}

impl Made {
    fn parameter(&self, which: &str) -> String {
        format!("{}/{which}", self.output)
    }
}

/// Mean and variance of a value per channel, f64.
struct Statistics {
    mean: Tensor,
    variance: Tensor,
}

/// A copy of the student with a BatchNormalization behind every convolution ahead of the taps that has none. In evaluation
/// mode it computes what the student computes.
pub fn make(
    network: &Network,
    teacher: &Student,
    student: &Student,
    samples: &Samples,
) -> Result<(Student, Vec<Made>), CompressError> {
    make_behind(network, teacher, student, samples, 0)
}

/// As [`make`], for the convolutions from the node at `first` on; `source` is whose statistics they start with.
pub fn make_behind(
    network: &Network,
    source: &Student,
    student: &Student,
    samples: &Samples,
    first: usize,
) -> Result<(Student, Vec<Made>), CompressError> {
    let mut new = student.copy()?;
    let convs = bare_convolutions(&new.graph, &new.taps, first);
    let statistics = statistics(network, source, samples, &convs)?;
    let mut made = Vec::new();
    for conv in convs {
        let statistics = &statistics[&conv];
        made.push(make_one(&mut new, conv, statistics)?);
    }
    Ok((new, made))
}

/// Sets the running statistics of every BatchNormalization from the node at `first` on to what its input now has on the
/// images fitted on, and brings the kernel rows of refitted convolutions to one norm; scales and shifts keep what the
/// student computes: `γ' = γ·σ'/σ`, `β' = β + γ(μ' − μ)/σ`. Without this, training destroys a refit at once.
pub fn renew(
    network: &Network,
    student: &mut Student,
    samples: &Samples,
    first: usize,
    refitted: &[String],
) -> Result<(), CompressError> {
    let indices = ahead_of(&student.graph, &student.taps).into_iter().filter(|index| *index >= first);
    let known = |node: &&Node| node.is("BatchNormalization") && has_constant_parameters(&student.graph, node);
    let nodes = indices.map(|index| &student.graph.nodes[index]).filter(known);
    let norms: Vec<(String, String)> = nodes.map(|node| (node.output().to_owned(), node.inputs[0].clone())).collect();
    let inputs: Vec<String> = norms.iter().map(|(_, input)| input.clone()).collect();
    if inputs.is_empty() {
        return Ok(());
    }
    let statistics = statistics(network, student, samples, &inputs)?;
    for (norm, input) in norms {
        let even = refitted.contains(&input) && is_convolution(&student.graph, &input);
        renew_one(student, &norm, &statistics[&input], even)?;
    }
    Ok(())
}

fn is_convolution(graph: &Graph, output: &str) -> bool {
    let node = position(graph, output).map(|at| &graph.nodes[at]);
    node.is_some_and(|node| node.is("Conv") && has_constant_parameters(graph, node))
}

fn renew_one(student: &mut Student, norm: &str, now: &Statistics, even: bool) -> Result<(), CompressError> {
    let at = position(&student.graph, norm).expect("a BatchNormalization of this graph");
    let node = student.graph.nodes[at].clone();
    let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
    let scale = match even {
        true => {
            let conv = position(&student.graph, &node.inputs[0]).expect("the convolution ahead of it");
            even_rows(student, conv)?
        }
        false => now.mean.ones_like(),
    };
    let names: Vec<String> = (1..=4).map(|i| own_input(&mut student.graph, &mut student.params, at, i)).collect();
    let read = |index: usize| wide(&student.params, &names[index - 1]);
    let (gamma, beta, mean, variance) = (read(1)?, read(2)?, read(3)?, read(4)?);
    let (was, is) = ((variance + epsilon).sqrt(), (&now.variance * scale.square() + epsilon).sqrt());
    let gain = gamma / was;
    let parameters =
        [&gain * is / &scale, beta + &gain * (&now.mean - mean), &now.mean * &scale, &now.variance * scale.square()];
    names.iter().zip(&parameters).try_for_each(|(name, tensor)| set_weight(student, name, tensor))
}

/// First outputs of the convolutions ahead of the taps, from the node at `first` on, whose only reader is not a
/// BatchNormalization already.
fn bare_convolutions(graph: &Graph, taps: &[String], first: usize) -> Vec<String> {
    let consumers = graph.consumers();
    let normalised = |value: &str| {
        let readers = consumers.get(value).map(Vec::as_slice).unwrap_or_default();
        matches!(readers, [only] if graph.nodes[*only].is("BatchNormalization"))
    };
    let indices = ahead_of(graph, taps).into_iter().filter(|index| *index >= first);
    let nodes = indices.map(|index| &graph.nodes[index]);
    let bare = |node: &&Node| node.is("Conv") && has_constant_parameters(graph, node) && !normalised(node.output());
    nodes.filter(bare).map(|node| node.output().to_owned()).collect()
}

/// What these values of a network are on the images fitted on. Of the teacher's convolutions, they are where the
/// BatchNormalizations that were folded away stood.
fn statistics(
    network: &Network,
    source: &Student,
    samples: &Samples,
    convs: &[String],
) -> Result<BTreeMap<String, Statistics>, CompressError> {
    let input = network.input.name.as_str();
    let wanted: Vec<&str> = convs.iter().map(String::as_str).collect();
    let executor = Executor::new(&source.graph, &[input], &wanted)?;
    let mut sums: Vec<Option<(Tensor, Tensor, f64)>> = convs.iter().map(|_| None).collect();
    for chunk in samples.fit.chunks(samples.evaluation_batch()) {
        let images = samples.select(chunk)?.f_to_device(source.params.device())?;
        let values = tch::no_grad(|| executor.run(&source.params, &[(input, &images)], &RunOptions::INFERENCE))?;
        for (sum, value) in sums.iter_mut().zip(&values) {
            let (one, two, count) = sums_per_channel(value)?;
            *sum = Some(match sum.take() {
                Some((a, b, n)) => (a + one, b + two, n + count),
                None => (one, two, count),
            });
        }
    }
    let per_conv = convs.iter().cloned().zip(sums.into_iter().flatten());
    Ok(per_conv.map(|(conv, (one, two, n))| (conv, from_sums(&one, &two, n))).collect())
}

/// Sum and sum of squares over images and positions in f64, and how many were summed.
fn sums_per_channel(value: &Tensor) -> Result<(Tensor, Tensor, f64), CompressError> {
    let wide = value.f_to_kind(Kind::Double)?.f_transpose(0, 1)?.f_flatten(1, -1)?;
    let count = wide.size()[1] as f64;
    let sum = wide.f_sum_dim_intlist(1, false, Kind::Double)?;
    let squares = wide.f_square()?.f_sum_dim_intlist(1, false, Kind::Double)?;
    Ok((sum, squares, count))
}

fn from_sums(sum: &Tensor, squares: &Tensor, count: f64) -> Statistics {
    let mean = sum / count;
    let variance = (squares / count - mean.square()).clamp_min(0.0);
    Statistics { mean, variance }
}

fn make_one(student: &mut Student, conv: String, statistics: &Statistics) -> Result<Made, CompressError> {
    let at = position(&student.graph, &conv).expect("a convolution of this graph");
    let scale = even_rows(student, at)?;
    let made = Made { output: format!("practised/batchnorm/{conv}"), conv };
    let (mean, variance) = (&statistics.mean * &scale, &statistics.variance * scale.square());
    // (s·z − s·μ) / √(s²σ² + ε) · γ + β = z  for  γ = √(s²σ² + ε) / s  and  β = μ.
    let gamma = (&variance + EPSILON).sqrt() / &scale;
    let parameters =
        [("scale", gamma), ("shift", statistics.mean.shallow_clone()), ("mean", mean), ("variance", variance)];
    for (which, tensor) in parameters {
        set_weight(student, &made.parameter(which), &tensor)?;
    }
    student.insert_behind(at, node(&made));
    Ok(made)
}

/// Scales every kernel row (and its bias) to the mean norm of the rows; gives the scales, f64.
fn even_rows(student: &mut Student, at: usize) -> Result<Tensor, CompressError> {
    let weight = own_input(&mut student.graph, &mut student.params, at, 1);
    let rows = wide(&student.params, &weight)?.f_flatten(1, -1)?;
    let norms = rows.f_square()?.f_sum_dim_intlist(1, false, Kind::Double)?.f_sqrt()?;
    let mean = norms.f_mean(Kind::Double)?;
    let dead = norms.f_le_tensor(&(&mean * 1e-6))?;
    let scale = (&mean / &norms).f_where_self(&dead.f_logical_not()?, &norms.ones_like())?;
    let shape: Vec<i64> = student.params.get(&weight).map(Tensor::size).unwrap_or_default();
    set_weight(student, &weight, &(rows * scale.unsqueeze(1)).f_reshape(&shape)?)?;
    if student.graph.nodes[at].input(2).is_some() {
        let bias = own_input(&mut student.graph, &mut student.params, at, 2);
        let scaled = wide(&student.params, &bias)? * &scale;
        set_weight(student, &bias, &scaled)?;
    }
    Ok(scale)
}

fn node(made: &Made) -> Node {
    let mut inputs = vec![made.conv.clone()];
    inputs.extend(["scale", "shift", "mean", "variance"].map(|which| made.parameter(which)));
    let mut node = Node {
        name: made.output.clone(),
        op: "BatchNormalization".into(),
        inputs,
        outputs: vec![made.output.clone()],
        ..Node::default()
    };
    node.attrs.set("epsilon", Attribute::Float(EPSILON as f32));
    node
}

/// The student without the BatchNormalizations that were made: `W' = W·γ/σ`, `b' = β + (b − μ)·γ/σ`, in f64.
pub fn fold_back(student: &Student, made: &[Made]) -> Result<Student, CompressError> {
    let mut folded = student.copy()?;
    for norm in made {
        fold_one(&mut folded, norm)?;
    }
    Ok(folded)
}

fn fold_one(student: &mut Student, made: &Made) -> Result<(), CompressError> {
    let read = |which: &str| wide(&student.params, &made.parameter(which));
    let (gamma, beta, mean, variance) = (read("scale")?, read("shift")?, read("mean")?, read("variance")?);
    let factor = gamma / (variance + EPSILON as f32 as f64).sqrt();
    let at = position(&student.graph, &made.conv).expect("a convolution of this graph");
    let weight = student.graph.nodes[at].inputs[1].clone();
    let kernel = wide(&student.params, &weight)?;
    let rows = kernel.f_flatten(1, -1)? * factor.unsqueeze(1);
    set_weight(student, &weight, &rows.f_reshape(kernel.size())?)?;
    let name = own_bias(student, at, &mean)?;
    let bias = wide(&student.params, &name)?;
    set_weight(student, &name, &(beta + (bias - mean) * factor))?;
    remove(student, made);
    Ok(())
}

fn remove(student: &mut Student, made: &Made) {
    student.bypass(&made.conv, &made.output);
    for which in ["scale", "shift", "mean", "variance"] {
        student.graph.initializers.shift_remove(&made.parameter(which));
        student.params.remove(&made.parameter(which));
    }
}
