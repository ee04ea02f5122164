//! Recoverability of one block (docs/method.md §4, paper §3.2): the feature loss that is left without the block after the
//! layers around it are fitted: adapters, as in the paper, or a layer in closed form. Lower is better: some blocks hurt when
//! they are removed, but are easy to recover from.

use tch::Tensor;

use super::CompressError;
use super::adapters::merge::merge;
use super::adapters::{self, Adapter, sites};
use super::observer::Observer;
use super::quality::difference::relative_difference;
use super::random::stream;
use super::refit::{Frontier, start};
use super::samples::Batches;
use super::samples::stock::Stock;
use super::samples::views::Cut;
use super::setting::Setting;
use super::student::forward::Forward;
use super::student::{Student, stream_of};
use super::train::optimisers::sgd::{Sgd, learning_rate};
use super::train::pair::Pair;
use crate::exec::memory;
use crate::graph::Node;
use crate::network::blocks::Block;
use crate::spec::config::Precision;
use crate::spec::report::Loss;

/// Largest difference that merging may make, relative to the features' scale.
const MERGE_TOLERANCE: f64 = 1e-4;

/// Result of fitting around one block.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// With the adapters fitted and merged, or the layer refitted.
    pub recovered: Loss,
    /// Of the plain drop.
    pub plain: Loss,
    /// Number of adapters.
    pub adapters: usize,
    /// Number of images that the teacher was evaluated on.
    pub teacher_forwards: u64,
}

/// Fits adapters around a block for some steps of SGD and measures the loss without it and without the blocks in `gone`.
pub fn by_adapters(
    setting: &Setting,
    gone: &[&Block],
    block: &Block,
    iterations: u32,
    observer: &dyn Observer,
) -> Result<Fitted, CompressError> {
    let dropped = with(gone, block);
    let plain = Student::dropped(setting.network, &dropped, setting.device)?;
    let plain_loss = setting.loss(&plain)?;
    let mut sites = Vec::new();
    for site in block.places().flat_map(|place| sites::find(&plain, stream_of(&dropped, place))) {
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    let (mut adapted, adapters) = adapters::insert(&plain, &sites)?;
    let mut fitted = Fitted { recovered: plain_loss, plain: plain_loss, adapters: adapters.len(), teacher_forwards: 0 };
    if !adapters.is_empty() && iterations > 0 {
        fitted.teacher_forwards = fit(setting, block, &mut adapted, &adapters, iterations, observer)?;
        let merged = merge(&plain, &adapted, &adapters)?;
        check_merge(setting, &adapted, &merged)?;
        fitted.recovered = setting.loss(&merged)?;
    }
    Ok(fitted)
}

/// Refits the layer ahead of a block in closed form, and those ahead of the blocks in `gone`, and measures the loss. `teacher`
/// has its values so far on the images of this setting: blocks that are scored in depth order share
/// one pass over it.
pub fn by_closed_form(
    setting: &Setting,
    gone: &[&Block],
    block: &Block,
    teacher: &mut Frontier,
    observer: &dyn Observer,
) -> Result<Fitted, CompressError> {
    let dropped = with(gone, block);
    let plain = Student::dropped(setting.network, &dropped, setting.device)?;
    let plain_loss = setting.loss(&plain)?;
    let refitted = start::around_gaps(setting, plain, &dropped, teacher, observer)?;
    let recovered = if refitted.refitted.is_empty() { plain_loss } else { setting.loss(&refitted.student)? };
    // Each pass over the fitted images evaluates the teacher up to the value behind the block.
    let teacher_forwards = 2 * setting.samples.fit.len() as u64;
    Ok(Fitted { recovered, plain: plain_loss, adapters: 0, teacher_forwards })
}

fn with<'b>(gone: &[&'b Block], block: &'b Block) -> Vec<&'b Block> {
    gone.iter().copied().chain([block]).collect()
}

/// The paper's loop: all weights frozen, BatchNormalization on its running statistics, a fresh view of every image. Gives
/// the number of images that the teacher was evaluated on.
fn fit(
    setting: &Setting,
    block: &Block,
    adapted: &mut Student,
    adapters: &[Adapter],
    iterations: u32,
    observer: &dyn Observer,
) -> Result<u64, CompressError> {
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.weight.as_str()).collect();
    let mut sgd = Sgd::new(adapted.params.trainable(&names)?);
    let is_adapter = |node: &Node| node.input(1).is_some_and(|weight| names.contains(&weight));
    let first = adapted.graph.nodes.iter().position(is_adapter).unwrap_or(0);
    let pair = Pair::plan(setting, adapted, first, &[], Precision::Float32)?;
    let purpose = format!("score/{}", block.name);
    let mut batches = Batches::new(
        &setting.samples.fit,
        memory::part_of(setting.samples.paper_batch()),
        stream(setting.seed, &format!("{purpose}/batches")),
    );
    let mut random = stream(setting.seed, &format!("{purpose}/views"));
    let stock = Stock::on(setting.teacher.params.device(), setting.samples)?;
    let mut asked = 0;
    for iteration in 0..iterations {
        observer.check()?;
        let views = stock.views(batches.next_batch(), Cut::Paper, &mut random)?;
        let loss = pair.loss(&adapted.params, &views, 0.0)?;
        sgd.step(&loss, learning_rate(f64::from(iteration) / f64::from(iterations)))?;
        asked += views.size()[0] as u64;
    }
    Ok(asked)
}

/// Merging is exact; a difference beyond rounding would be a bug, and would make every later figure wrong.
fn check_merge(setting: &Setting, adapted: &Student, merged: &Student) -> Result<(), CompressError> {
    let few = &setting.samples.fit[..setting.samples.fit.len().min(8)];
    let features = |student: &Student| -> Result<Vec<Tensor>, CompressError> {
        Ok(Forward::features(setting.network, student)?.all(&student.params, setting.samples, few)?.features)
    };
    for (before, after) in features(adapted)?.iter().zip(&features(merged)?) {
        let difference = relative_difference(before, after)?;
        if difference.is_nan() || difference > MERGE_TOLERANCE {
            return Err(CompressError::MergeDiffers { difference, allowed: MERGE_TOLERANCE });
        }
    }
    Ok(())
}
