//! The authors' recipe: from the original weights, SGD with momentum, BatchNormalization in training mode.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{CHECKPOINTS, Recovered};
use crate::compress::CompressError;
use crate::compress::quality::loss::feature_loss;
use crate::compress::random::stream;
use crate::compress::samples::Batches;
use crate::compress::samples::cutmix::cutmix;
use crate::compress::samples::stock::Stock;
use crate::compress::samples::views::Cut;
use crate::compress::setting::Setting;
use crate::compress::student::batchnorm::{self, Made};
use crate::compress::student::forward::Forward;
use crate::compress::student::{Student, weights};
use crate::compress::train::checkpoint::{Checkpoints, Tensors};
use crate::compress::train::optimisers::sgd::{Sgd, learning_rate};
use crate::exec::{BatchNorm, memory};
use crate::spec::config::FinetuneConfig;
use crate::spec::phase::Phase;
use crate::spec::report::{FinetuneReport, HistoryPoint};

/// Trains a copy of `start` to its last step, as the authors do; if its validation loss is not below the start's, the start is
/// the result.
pub fn by_paper(
    setting: &Setting,
    start: &Student,
    config: &FinetuneConfig,
    checkpoints: &Checkpoints,
) -> Result<Recovered, CompressError> {
    let observer = checkpoints.observer();
    let (student, made) = batchnorm::make(setting.network, setting.teacher, start, setting.samples)?;
    let new = || Run::new(setting, student.copy()?, &made, config.steps_at(setting.samples.pixels(), false));
    let mut run = match checkpoints.take() {
        Some((standing, tensors)) => new()?.go_on(standing, tensors, checkpoints)?.map_or_else(new, Ok)?,
        None => new()?,
    };
    if run.history.is_empty() {
        run.look(setting, 0)?;
    }
    while run.step < run.steps && run.progress(config) < 1.0 {
        if checkpoints.due() {
            run.keep(checkpoints)?;
        }
        observer.check()?;
        run.train(setting, config)?;
        observer.progress(Phase::Finetune, u64::from(run.step), u64::from(run.steps));
        if run.step.is_multiple_of(run.steps.div_ceil(CHECKPOINTS)) && !run.look(setting, run.step)? {
            break;
        }
    }
    if run.history.last().is_some_and(|last| last.step != run.step) {
        run.look(setting, run.step)?;
    }
    run.finish(start, config, &made)
}

/// State of a run, without its weights and the optimiser's state.
#[derive(Debug, Serialize, Deserialize)]
struct PaperCheckpoint {
    batches: Batches,
    views: rand_chacha::ChaCha8Rng,
    history: Vec<HistoryPoint>,
    step: u32,
    asked: u64,
    seconds: f64,
}

/// A run of the recipe.
struct Run {
    student: Student,
    sgd: Sgd,
    teacher_forward: Forward,
    student_forward: Forward,
    batches: Batches,
    views: rand_chacha::ChaCha8Rng,
    history: Vec<HistoryPoint>,
    step: u32,
    /// Steps to take.
    steps: u32,
    asked: u64,
    began: Instant,
    /// The images, where the steps are computed.
    stock: Stock,
}

impl Run {
    fn new(setting: &Setting, mut student: Student, made: &[Made], steps: u32) -> Result<Self, CompressError> {
        let names = moving(&student, made);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(Self {
            sgd: Sgd::new(student.params.trainable(&names)?),
            teacher_forward: Forward::features(setting.network, setting.teacher)?,
            student_forward: Forward::features(setting.network, &student)?,
            batches: Batches::new(
                &setting.samples.fit,
                memory::part_of(setting.samples.paper_batch()),
                stream(setting.seed, "finetune/batches"),
            ),
            views: stream(setting.seed, "finetune/views"),
            stock: Stock::on(student.params.device(), setting.samples)?,
            student,
            history: Vec::new(),
            step: 0,
            steps,
            asked: 0,
            began: Instant::now(),
        })
    }

    /// Stores a checkpoint, including the running statistics of its BatchNormalizations.
    fn keep(&self, checkpoints: &Checkpoints) -> Result<(), CompressError> {
        let mut tensors: Vec<Tensor> = self.weights().map(Tensor::shallow_clone).collect();
        tensors.extend(self.sgd.state());
        let standing = PaperCheckpoint {
            batches: self.batches.clone(),
            views: self.views.clone(),
            history: self.history.clone(),
            step: self.step,
            asked: self.asked,
            seconds: self.began.elapsed().as_secs_f64(),
        };
        checkpoints.keep(&standing, &tensors)
    }

    /// Resumes from the state of an equal run; `None` if it does not fit.
    fn go_on(
        mut self,
        from: PaperCheckpoint,
        mut tensors: Tensors,
        checkpoints: &Checkpoints,
    ) -> Result<Option<Self>, CompressError> {
        if !tensors.restore_all(self.weights())? || !self.sgd.restore(&mut tensors)? {
            return Ok(None);
        }
        (self.batches, self.views, self.history) = (from.batches, from.views, from.history);
        (self.step, self.asked) = (from.step, from.asked);
        self.began = checkpoints.resumed(self.began, Some(from.step), from.seconds);
        Ok(Some(self))
    }

    fn weights(&self) -> impl Iterator<Item = &Tensor> {
        self.student.params.names().filter_map(|name| self.student.params.get(name))
    }

    /// Share of the schedule that is used up, by steps or by the budget, whichever is further.
    fn progress(&self, config: &FinetuneConfig) -> f64 {
        let by_steps = f64::from(self.step) / f64::from(self.steps);
        let by_time = config.budget_seconds.map_or(0.0, |budget| self.began.elapsed().as_secs_f64() / budget as f64);
        by_steps.max(by_time)
    }

    fn train(&mut self, setting: &Setting, config: &FinetuneConfig) -> Result<(), CompressError> {
        let mut views = self.stock.views(self.batches.next_batch(), Cut::Paper, &mut self.views)?;
        if config.mixing {
            views = cutmix(&views, &mut self.views)?;
        }
        let target = tch::no_grad(|| self.teacher_forward.run(&setting.teacher.params, &views, BatchNorm::Running))?;
        let features: Vec<Tensor> =
            self.student_forward.run(&self.student.params, &views, BatchNorm::Batch { update_running: true })?;
        let rate = learning_rate(self.progress(config));
        self.sgd.step(&feature_loss(&features, &target)?, rate)?;
        self.step += 1;
        self.asked += views.size()[0] as u64;
        Ok(())
    }

    /// Measures the student on the validation images; false if its loss is not finite.
    fn look(&mut self, setting: &Setting, step: u32) -> Result<bool, CompressError> {
        let loss = match setting.loss_deciding(&self.student) {
            Ok(loss) => loss,
            Err(CompressError::LossNotFinite) if step > 0 => f64::INFINITY,
            Err(error) => return Err(error),
        };
        if loss.is_finite() {
            self.history.push(HistoryPoint { step, loss, seconds: self.began.elapsed().as_secs_f64() });
        }
        Ok(loss.is_finite())
    }

    fn finish(self, start: &Student, config: &FinetuneConfig, made: &[Made]) -> Result<Recovered, CompressError> {
        let start_loss = self.history.first().map_or(f64::INFINITY, |first| first.loss);
        // A loss that was not finite is not in the history.
        let last = self.history.last().filter(|last| last.step == self.step);
        let rolled_back = last.is_none_or(|last| last.loss >= start_loss);
        let student = if rolled_back { start.copy()? } else { batchnorm::fold_back(&self.student, made)? };
        let report = FinetuneReport {
            recipe: config.recipe,
            mixing: config.mixing,
            steps: self.steps,
            steps_run: self.step,
            recovery_rolled_back: rolled_back,
            batch_norms_made: made.len(),
            history: self.history,
            ..FinetuneReport::default()
        };
        Ok(Recovered { student, measured: None, refitted: None, report, teacher_forwards: self.asked })
    }
}

/// All weights ahead of the taps but the biases that a BatchNormalization behind them would take away again.
fn moving(student: &Student, made: &[Made]) -> Vec<String> {
    let mut names = weights::weights(&student.graph, &student.taps);
    let is_made = |output: &str| made.iter().any(|norm| norm.conv == output);
    let convs = student.graph.nodes.iter().filter(|node| node.is("Conv") && is_made(node.output()));
    let idle: Vec<&str> = convs.filter_map(|node| node.input(2)).collect();
    names.retain(|name| !idle.contains(&name.as_str()));
    names
}
