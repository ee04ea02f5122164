//! BatchNormalization as recovery needs it (docs/method.md §6.2): made where an export had it folded into the convolutions,
//! renewed where a refit has moved what it normalises.
//!
//! The recipe trains with the statistics of each batch, so a folded convolution gets a BatchNormalization behind it that
//! starts as the identity: its running statistics are what the teacher's convolution puts out on the images fitted on, its
//! scale and shift undo them. Kernel rows are brought to one norm, with the scale taken back behind the convolution,
//! because folding has left some rows with tiny kernels that one step would overrun. On export all of it is folded back.
//!
//! Convolutions that share a kernel share the BatchNormalization that is made behind them, with the statistics of all places
//! together; if they cannot, there is none.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use tch::{Kind, Tensor};

use super::Student;
use super::edit::{own_bias, own_inputs, position, set_weight, wide};
use super::layer::has_constant_parameters;
use super::weights::ahead_of;
use crate::compress::CompressError;
use crate::compress::samples::Samples;
use crate::exec::{Executor, RunOptions};
use crate::graph::{Attribute, Graph, Node};
use crate::network::Network;
use crate::network::blocks::shared;

const EPSILON: f64 = 1e-5;

/// A BatchNormalization that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// First output of the convolution ahead of it.
    pub conv: String,
    /// First output of the BatchNormalization.
    pub output: String,
    /// What its parameters are called after: the first of those that share them.
    pub parameters: String,
}

impl Made {
    fn parameter(&self, which: &str) -> String {
        format!("{}/{which}", self.parameters)
    }
}

/// Mean and variance of a value per channel, f64.
struct Statistics {
    mean: Tensor,
    variance: Tensor,
    /// Images and positions that they are of.
    count: f64,
}

impl Statistics {
    /// Of several values together; there is at least one.
    fn of_all<'s>(mut each: impl Iterator<Item = &'s Self>) -> Self {
        let first = each.next().expect("statistics of something");
        let start = Self { mean: &first.mean * 1.0, variance: &first.variance * 1.0, count: first.count };
        each.fold(start, |all, more| {
            let count = all.count + more.count;
            let (of_all, of_more) = (all.count / count, more.count / count);
            let mean = &all.mean * of_all + &more.mean * of_more;
            let apart = (&all.mean - &more.mean).square() * (of_all * of_more);
            Self { variance: all.variance * of_all + &more.variance * of_more + apart, mean, count }
        })
    }
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
    for places in sharing(&new.graph, convs) {
        let statistics = Statistics::of_all(places.iter().map(|conv| &statistics[conv]));
        made.extend(make_one(&mut new, places, &statistics)?);
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
    for places in sharing_norms(&student.graph, norms) {
        let now = Statistics::of_all(places.iter().map(|(_, input)| &statistics[input]));
        renew_one(student, &places, &now, refitted)?;
    }
    Ok(())
}

fn is_convolution(graph: &Graph, output: &str) -> bool {
    let node = position(graph, output).map(|at| &graph.nodes[at]);
    node.is_some_and(|node| node.is("Conv") && has_constant_parameters(graph, node))
}

/// BatchNormalizations, each with its input, those together that share parameters which tell them from others, with each other and
/// with none beyond. Of one whose parameters others read as well nothing can be renewed.
fn sharing_norms(graph: &Graph, norms: Vec<(String, String)>) -> Vec<Vec<(String, String)>> {
    let parameters = |norm: &str| &graph.nodes[position(graph, norm).expect("of this graph")].inputs[1..5];
    let mut groups: BTreeMap<Vec<String>, Vec<(String, String)>> = BTreeMap::new();
    for (norm, input) in norms {
        groups.entry(own_names(graph, parameters(&norm), &norm)).or_default().push((norm, input));
    }
    let alone = |places: &Vec<(String, String)>| {
        let own = parameters(&places[0].0).iter().filter(|name| shared::tells(&graph.initializers[*name]));
        own.into_iter().all(|name| shared::reading(graph, name).count() == places.len())
    };
    groups.into_values().filter(alone).collect()
}

/// Names of constants that tell a layer from others; if there is none, its output does.
fn own_names(graph: &Graph, names: &[String], output: &str) -> Vec<String> {
    let own = names.iter().filter(|name| graph.initializers.get(*name).is_some_and(|tensor| shared::tells(tensor)));
    let own: Vec<String> = own.cloned().collect();
    if own.is_empty() { vec![output.to_owned()] } else { own }
}

fn renew_one(
    student: &mut Student,
    places: &[(String, String)],
    now: &Statistics,
    refitted: &[String],
) -> Result<(), CompressError> {
    let graph = &student.graph;
    let at: Vec<usize> =
        places.iter().map(|(norm, _)| position(graph, norm).expect("a BatchNormalization of this graph")).collect();
    let node = graph.nodes[at[0]].clone();
    let epsilon = f64::from(node.attrs.float("epsilon", 1e-5));
    let even = places.iter().all(|(_, input)| refitted.contains(input) && is_convolution(graph, input));
    let convs: Vec<usize> = places.iter().filter_map(|(_, input)| position(graph, input)).collect();
    let scale = match even && shared::readers(graph, convs[0]) == convs {
        true => even_rows(student, &convs)?,
        false => now.mean.ones_like(),
    };
    let names: Vec<String> = (1..=4)
        .map(|index| {
            let places: Vec<(usize, usize)> = at.iter().map(|at| (*at, index)).collect();
            own_inputs(&mut student.graph, &mut student.params, &places)
        })
        .collect();
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
    Statistics { mean, variance, count }
}

/// First outputs of convolutions, those together that share a kernel; without those whose kernel other nodes read as well, or
/// whose biases differ.
fn sharing(graph: &Graph, convs: Vec<String>) -> Vec<Vec<String>> {
    let node = |conv: &str| &graph.nodes[position(graph, conv).expect("a convolution of this graph")];
    let mut groups: IndexMap<&str, Vec<String>> = IndexMap::new();
    for conv in convs {
        groups.entry(&node(&conv).inputs[1]).or_default().push(conv);
    }
    let alone = |(kernel, places): &(&str, Vec<String>)| {
        let weights = |place: &String| &node(place).inputs[1..];
        let alike = places.iter().all(|place| weights(place) == weights(&places[0]));
        alike && shared::reading(graph, kernel).count() == places.len()
    };
    groups.into_iter().filter(alone).map(|(_, places)| places).collect()
}

fn make_one(student: &mut Student, convs: Vec<String>, statistics: &Statistics) -> Result<Vec<Made>, CompressError> {
    let at = |graph: &Graph, conv: &str| position(graph, conv).expect("a convolution of this graph");
    let places: Vec<usize> = convs.iter().map(|conv| at(&student.graph, conv)).collect();
    let scale = even_rows(student, &places)?;
    let output = |conv: &str| format!("practised/batchnorm/{conv}");
    let parameters = output(&convs[0]);
    let made = convs.into_iter().map(|conv| Made { output: output(&conv), conv, parameters: parameters.clone() });
    let made: Vec<Made> = made.collect();
    let (mean, variance) = (&statistics.mean * &scale, &statistics.variance * scale.square());
    // (s·z − s·μ) / √(s²σ² + ε) · γ + β = z  for  γ = √(s²σ² + ε) / s  and  β = μ.
    let gamma = (&variance + EPSILON).sqrt() / &scale;
    let parameters =
        [("scale", gamma), ("shift", statistics.mean.shallow_clone()), ("mean", mean), ("variance", variance)];
    for (which, tensor) in parameters {
        set_weight(student, &made[0].parameter(which), &tensor)?;
    }
    for norm in &made {
        student.insert_behind(at(&student.graph, &norm.conv), node(norm));
    }
    Ok(made)
}

/// Scales every kernel row (and its bias) of these convolutions, which share them, to the mean norm of the rows; gives the scales,
/// f64.
fn even_rows(student: &mut Student, places: &[usize]) -> Result<Tensor, CompressError> {
    let input = |index: usize| places.iter().map(|at| (*at, index)).collect::<Vec<_>>();
    let weight = own_inputs(&mut student.graph, &mut student.params, &input(1));
    let rows = wide(&student.params, &weight)?.f_flatten(1, -1)?;
    let norms = rows.f_square()?.f_sum_dim_intlist(1, false, Kind::Double)?.f_sqrt()?;
    let mean = norms.f_mean(Kind::Double)?;
    let dead = norms.f_le_tensor(&(&mean * 1e-6))?;
    let scale = (&mean / &norms).f_where_self(&dead.f_logical_not()?, &norms.ones_like())?;
    let shape: Vec<i64> = student.params.get(&weight).map(Tensor::size).unwrap_or_default();
    set_weight(student, &weight, &(rows * scale.unsqueeze(1)).f_reshape(&shape)?)?;
    if student.graph.nodes[places[0]].input(2).is_some() {
        let bias = own_inputs(&mut student.graph, &mut student.params, &input(2));
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
    let mut places: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
    made.iter().for_each(|norm| places.entry(&norm.parameters).or_default().push(norm));
    places.values().try_for_each(|places| fold_one(&mut folded, places))?;
    Ok(folded)
}

/// Folds the places of one BatchNormalization into the kernel that they share.
fn fold_one(student: &mut Student, places: &[&Made]) -> Result<(), CompressError> {
    let made = places[0];
    let read = |which: &str| wide(&student.params, &made.parameter(which));
    let (gamma, beta, mean, variance) = (read("scale")?, read("shift")?, read("mean")?, read("variance")?);
    let factor = gamma / (variance + EPSILON as f32 as f64).sqrt();
    let at = |conv: &str| position(&student.graph, conv).expect("a convolution of this graph");
    let convs: Vec<usize> = places.iter().map(|place| at(&place.conv)).collect();
    let weight = student.graph.nodes[convs[0]].inputs[1].clone();
    let kernel = wide(&student.params, &weight)?;
    let rows = kernel.f_flatten(1, -1)? * factor.unsqueeze(1);
    set_weight(student, &weight, &rows.f_reshape(kernel.size())?)?;
    let name = own_bias(student, &convs, &mean)?;
    let bias = wide(&student.params, &name)?;
    set_weight(student, &name, &(beta + (bias - mean) * factor))?;
    remove(student, places);
    Ok(())
}

fn remove(student: &mut Student, places: &[&Made]) {
    places.iter().for_each(|place| student.bypass(&place.conv, &place.output));
    let made = places[0];
    for which in ["scale", "shift", "mean", "variance"] {
        student.graph.initializers.shift_remove(&made.parameter(which));
        student.params.remove(&made.parameter(which));
    }
}
