//! Training at one learning rate: its steps, their validation losses, and the best weights.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::average::Average;
use super::optimiser::Optimiser;
use super::prepared::Prepared;
use crate::compress::CompressError;
use crate::compress::random::stream;
use crate::compress::samples::Batches;
use crate::compress::samples::cutmix::cutmix;
use crate::compress::samples::stock::Stock;
use crate::compress::samples::views::Cut;
use crate::compress::setting::Setting;
use crate::compress::student::fused::Fused;
use crate::compress::student::{Student, weights};
use crate::compress::train::checkpoint::Tensors;
use crate::compress::train::optimisers::muon::rate;
use crate::compress::train::pair::Pair;
use crate::compress::train::{crops, hints};
use crate::exec::Params;
use crate::spec::config::FinetuneConfig;
use crate::spec::report::HistoryPoint;

/// Share of the steps on crops and mixed views. The last steps use unmixed views, because the student will run on such images;
/// with few images they stay mixed, to prevent overfitting.
const SETTLING: f64 = 0.7;

/// The best weights so far.
pub(super) struct Best {
    pub(super) loss: f64,
    pub(super) params: Params,
}

/// State of a run, without the tensors that [`Run::standing`] adds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunState {
    pub(super) rate: f64,
    pub(super) step: u32,
    looked: u32,
    hurdles: u32,
    /// `None` if no loss was finite.
    best: Option<f64>,
    history: Vec<HistoryPoint>,
    batches: Batches,
    views: rand_chacha::ChaCha8Rng,
    /// How many weights the average is over.
    averaged: Option<u32>,
    /// How many tensors belong to it.
    tensors: usize,
}

/// Training at one learning rate.
pub(super) struct Run {
    pub(super) rate: f64,
    pub(super) student: Student,
    /// The same with every BatchNormalization fused into the kernel ahead of it; training runs through it.
    pub(super) fused: Fused,
    pub(super) optimiser: Optimiser,
    pub(super) pair: Pair,
    /// Whether early steps see crops.
    pub(super) crops: bool,
    pub(super) batches: Batches,
    pub(super) views: rand_chacha::ChaCha8Rng,
    pub(super) best: Best,
    pub(super) history: Vec<HistoryPoint>,
    pub(super) step: u32,
    /// Step of the last look.
    pub(super) looked: u32,
    /// Of the second half of the trial.
    pub(super) average: Option<Average>,
    /// Hurdles of its trial that are behind it.
    pub(super) hurdles: u32,
    /// Whether there are hints.
    pub(super) hinted: bool,
    /// Names of the weights that move.
    moving: Vec<String>,
    /// The images, where the steps are computed.
    stock: Stock,
}

impl RunState {
    /// Its tensors, which are the next ones.
    pub(super) fn tensors_of(&self, all: &mut Tensors) -> Tensors {
        all.split(self.tensors)
    }
}

impl Run {
    /// For a run of so many steps.
    pub(super) fn new(
        setting: &Setting,
        start: &Prepared,
        config: &FinetuneConfig,
        steps: u32,
        rate: f64,
    ) -> Result<Self, CompressError> {
        let mut student = start.student.copy()?;
        let mut fused = Fused::new(&student, start.first)?;
        if start.narrow() {
            fused.round_biases();
        }
        let mut names = weights::weights_from(&student.graph, &student.taps, start.first);
        // Behind such a bias the shift does the same, and both would move.
        names.retain(|name| !fused.biases().any(|bias| bias == name));
        let moving: Vec<&str> = names.iter().map(String::as_str).collect();
        let batches = stream(setting.seed, "practised/batches");
        let hints = if config.hints { hints::of(setting.network, fused.student(), start.first) } else { Vec::new() };
        Ok(Self {
            rate,
            crops: start.crops,
            pair: Pair::plan(setting, fused.student(), start.first, &hints, start.precision)?,
            optimiser: Optimiser::new(config, student.params.trainable(&moving)?, start.narrow())?,
            fused,
            batches: Batches::repeating(&setting.samples.fit, setting.samples.views_per_step(steps), batches),
            views: stream(setting.seed, "practised/views"),
            best: Best { loss: f64::INFINITY, params: start.student.params.deep_copy()? },
            history: vec![HistoryPoint { step: 0, loss: start.loss, seconds: 0.0 }],
            step: 0,
            looked: 0,
            average: None,
            hurdles: 0,
            hinted: !hints.is_empty(),
            stock: start.stock.shallow_copy(),
            moving: names,
            student,
        })
    }

    /// Its state; trained tensors are added to `tensors`.
    pub(super) fn standing(&self, tensors: &mut Vec<Tensor>) -> Result<RunState, CompressError> {
        let before = tensors.len();
        let averaged = self.average.as_ref().map(Average::so_far);
        for params in [Some(&self.student.params), Some(&self.best.params), averaged.map(|(params, _)| params)] {
            tensors.extend(params.into_iter().flat_map(|params| self.moved(params)).map(Tensor::shallow_clone));
        }
        tensors.extend(self.optimiser.state()?);
        Ok(RunState {
            rate: self.rate,
            step: self.step,
            looked: self.looked,
            hurdles: self.hurdles,
            best: Some(self.best.loss).filter(|loss| loss.is_finite()),
            history: self.history.clone(),
            batches: self.batches.clone(),
            views: self.views.clone(),
            averaged: averaged.map(|(_, added)| added),
            tensors: tensors.len() - before,
        })
    }

    /// Resumes from the state of an equal run. False if it does not fit; then this run is unusable.
    pub(super) fn go_on(&mut self, from: RunState, mut tensors: Tensors) -> Result<bool, CompressError> {
        let average = from.averaged.map(|_| self.student.params.deep_copy()).transpose()?;
        for params in [Some(&self.student.params), Some(&self.best.params), average.as_ref()].into_iter().flatten() {
            if !tensors.restore_all(self.moved(params))? {
                return Ok(false);
            }
        }
        self.average = average.zip(from.averaged).map(|(params, added)| Average::going_on(params, added));
        self.best.loss = from.best.unwrap_or(f64::INFINITY);
        (self.step, self.looked, self.hurdles) = (from.step, from.looked, from.hurdles);
        (self.history, self.batches, self.views) = (from.history, from.batches, from.views);
        self.optimiser.restore(&mut tensors)
    }

    fn moved<'p>(&self, params: &'p Params) -> impl Iterator<Item = &'p Tensor> {
        self.moving.iter().filter_map(|name| params.get(name))
    }

    /// One step on new views; returns the number of images that the teacher was evaluated on.
    pub(super) fn train(
        &mut self,
        setting: &Setting,
        config: &FinetuneConfig,
        progress: f64,
    ) -> Result<u64, CompressError> {
        let views = self.next_views(setting, config, progress)?;
        let student = self.fused.with(&self.student.params)?;
        let gradients = |of: &[Tensor]| self.pair.gradients(&student.params, &views, hints::weight(progress), of);
        self.optimiser.step(gradients, rate(self.rate, self.step, progress))?;
        self.step += 1;
        if let Some(average) = &mut self.average {
            average.add(&self.student.params)?;
        }
        Ok(views.size()[0] as u64)
    }

    /// Fresh views, (n, C, H, W), where the step is computed.
    pub(super) fn next_views(
        &mut self,
        setting: &Setting,
        config: &FinetuneConfig,
        progress: f64,
    ) -> Result<Tensor, CompressError> {
        let mut views = self.stock.views(self.batches.next_batch(), Cut::Ours, &mut self.views)?;
        if config.mixing && (progress < SETTLING || !setting.samples.many()) {
            views = cutmix(&views, &mut self.views)?;
        }
        if self.crops && progress < SETTLING {
            views = crops::crop(&views, &mut self.views)?;
        }
        Ok(views)
    }

    /// The loss on these views; for the clock.
    pub(super) fn loss(&mut self, views: &Tensor, progress: f64) -> Result<Tensor, CompressError> {
        let student = self.fused.with(&self.student.params)?;
        self.pair.loss(&student.params, views, hints::weight(progress))
    }

    /// Its gradients; for the clock.
    pub(super) fn gradients(&mut self, views: &Tensor, progress: f64) -> Result<Vec<Tensor>, CompressError> {
        let of: Vec<Tensor> = self.moved(&self.student.params).map(Tensor::shallow_clone).collect();
        let student = self.fused.with(&self.student.params)?;
        self.pair.gradients(&student.params, views, hints::weight(progress), &of)
    }

    /// Validates the student and stores it if it is the best; false if its loss is not finite.
    pub(super) fn look(&mut self, start: &Prepared, began: Instant) -> Result<bool, CompressError> {
        self.looked = self.step;
        let loss = match start.gate.loss(&self.student) {
            Err(CompressError::LossNotFinite) => f64::INFINITY,
            loss => loss?,
        };
        let finite = loss.is_finite();
        if finite {
            self.history.push(HistoryPoint { step: self.step, loss, seconds: began.elapsed().as_secs_f64() });
        }
        if loss < self.best.loss {
            self.best = Best { loss, params: self.student.params.deep_copy()? };
        }
        Ok(finite)
    }

    /// The loss to expect when the rate falls: that of the weights' mean, or of the weights if it is lower.
    pub(super) fn promise(&mut self, start: &Prepared) -> Result<f64, CompressError> {
        let Some(average) = self.average.take() else { return Ok(self.last_loss()) };
        let Student { graph, taps, .. } = &self.student;
        let mean = Student { graph: graph.clone(), params: average.into_params(), taps: taps.clone() };
        match start.gate.loss(&mean) {
            Err(CompressError::LossNotFinite) => Ok(f64::INFINITY),
            loss => Ok(loss?.min(self.last_loss())),
        }
    }

    /// The last validation loss; infinite if it was not finite.
    pub(super) fn last_loss(&self) -> f64 {
        let seen = self.history.last().filter(|last| last.step == self.looked);
        seen.map_or(f64::INFINITY, |last| last.loss)
    }
}
