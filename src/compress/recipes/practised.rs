//! Our recipe (docs/method.md §6): a refitted start, then relative Muon on fresh mixed views with BatchNormalization frozen. The
//! learning rate is found during the run, and the result must have a lower validation loss than the start.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::average::Average;
use super::prepared::Prepared;
use super::run::{Run, RunState};
use super::{CHECKPOINTS, Recovered};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::refit::Gate;
use crate::compress::refit::start::{self, Refitted};
use crate::compress::setting::Setting;
use crate::compress::student::{Student, batchnorm};
use crate::compress::train::checkpoint::{Checkpoints, Tensors};
use crate::exec::Params;
use crate::network::blocks::Block;
use crate::spec::config::{FinetuneConfig, LARGE, Part, Recipe};
use crate::spec::phase::Phase;
use crate::spec::report::{FinetuneReport, RefitReport};

/// Learning rates, as shares of a kernel's norm per step, from the first that is tried to the last.
const RATES: [f64; 4] = [0.01, 0.003, 0.001, 0.0003];

/// The first rate that is tried if synthetic images validate and images are large: at a higher one, the loss on synthetic
/// images still falls while agreement on photographs does (EfficientNet-Lite0, 10 images: 87.0 % at 0.003, 89.3 at 0.001, 90.0
/// as dropped).
const MOST_BY_PICTURES: f64 = 0.001;

/// If synthetic images or mixtures with them validate, recovery must bring the loss below this share of the plain drop's, or it
/// is discarded: a small decrease on such images is weak evidence. Measured: 0.02 to 0.10 when agreement on real images rose
/// from 25–84 % to 92–99 (ResNet-20, the Fashion-MNIST example), 0.42 to 0.71 when it fell by up to 4 points
/// (EfficientNet-Lite0, seven of eight jobs; docs/performance.md).
const CONVINCING: f64 = 0.3;

/// Share of the steps that a learning rate is tried for.
const TRIAL: f64 = 0.15;

/// Minimum number of steps of a trial: fewer only cover the warm-up.
const SHORTEST_TRIAL: u32 = 10;

/// A learning rate whose loss is this many times the start's after a quarter of its trial is given up.
const HOPELESS: f64 = 1.6;

/// A learning rate that promises a loss below this share of the start's is selected without trying the next: the time of trials
/// is better spent on steps.
const PROMISING: f64 = 0.95;

/// A lower learning rate has to promise a loss below this share of the higher one's: of two alike in their trials, the
/// higher one gets further in the steps that remain.
const BETTER: f64 = 0.97;

/// With fewer images than this, the held-out ones are fitted too in the final run.
const FEW_IMAGES: usize = 200;

/// Refits the gaps of `dropped`, then distils.
pub fn by_practised(
    setting: &Setting,
    plain: &Student,
    dropped: &[&Block],
    config: &FinetuneConfig,
    checkpoints: &Checkpoints,
) -> Result<Recovered, CompressError> {
    let began = Instant::now();
    let refitted = match config.has(Part::Start) {
        true => start::refitted(setting, plain.copy()?, dropped, checkpoints.observer())?,
        false => Refitted::nothing(plain.copy()?),
    };
    recovered(setting, plain, refitted, config, began, checkpoints)
}

/// Refits every writer of a student that has all blocks of its teacher with fewer channels inside, then distils.
pub fn narrowed_by_practised(
    setting: &Setting,
    plain: &Student,
    config: &FinetuneConfig,
    observer: &dyn Observer,
) -> Result<Recovered, CompressError> {
    let began = Instant::now();
    let refitted = start::every_writer(setting, plain.copy()?, observer)?;
    recovered(setting, plain, refitted, config, began, &Checkpoints::none(observer))
}

fn recovered(
    setting: &Setting,
    plain: &Student,
    refitted: Refitted,
    config: &FinetuneConfig,
    began: Instant,
    checkpoints: &Checkpoints,
) -> Result<Recovered, CompressError> {
    let steps = config.steps_at(setting.samples.pixels(), setting.samples.made);
    let start = Prepared::new(setting, refitted, config, steps)?;
    let mut recovery = Recovery {
        setting,
        config: config.clone(),
        steps,
        start: &start,
        began,
        undone: Vec::new(),
        asked: 0,
        checkpoints,
        tried: Vec::new(),
        taken: None,
        kept: Vec::new(),
    };
    recovery.resume();
    let mut best = recovery.descend()?;
    if recovery.hints_mislead(best.as_ref()) {
        recovery.leave_out_hints();
        best = recovery.descend()?;
    }
    let loss_before = Gate::at(setting, plain, 0)?.loss(plain)?;
    let reached = best.as_ref().map_or(start.loss, |run| run.best.loss.min(start.loss));
    let recovered = match setting.samples.made && reached > CONVINCING * loss_before {
        true => recovery.doubt(plain, best, loss_before)?,
        false => recovery.finish(best, loss_before)?,
    };
    let Refitted { student, refitted, .. } = &start.refitted;
    let refitted = (!refitted.is_empty()).then(|| student.copy()).transpose()?;
    Ok(Recovered { refitted, ..recovered })
}

/// The learning rates to try, highest first, with synthetic images (`made`) or without, for this number of pixels.
fn rates(made: bool, pixels: usize) -> impl Iterator<Item = f64> {
    let most = if made && pixels > LARGE { MOST_BY_PICTURES } else { f64::INFINITY };
    RATES.into_iter().filter(move |rate| *rate <= most)
}

/// Result of the trial of a learning rate: the loss that it promises, or `None` if it was given up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TrialResult {
    rate: f64,
    promise: Option<f64>,
}

/// The images that a run is fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum FittedOn {
    Fitted,
    All,
}

/// The contents of a checkpoint.
#[derive(Serialize, Deserialize)]
struct RecoveryCheckpoint {
    seconds: f64,
    hints: bool,
    asked: u64,
    tried: Vec<TrialResult>,
    runs: Vec<(FittedOn, RunState)>,
}

struct Recovery<'a> {
    setting: &'a Setting<'a>,
    config: FinetuneConfig,
    steps: u32,
    start: &'a Prepared,
    began: Instant,
    undone: Vec<f64>,
    asked: u64,
    checkpoints: &'a Checkpoints<'a>,
    /// Results of finished trials.
    tried: Vec<TrialResult>,
    /// The run of the best rate so far, while the next is tried, and what it promises.
    taken: Option<(Run, f64)>,
    /// States of runs of an earlier attempt.
    kept: Vec<(FittedOn, RunState, Tensors)>,
}

impl Recovery<'_> {
    /// True if training with hints lowered nothing: without its blocks, the values that the student must compute on the way can
    /// be too far from the teacher's (a MobileNetV3 for lines of text: the loss rose from 0.237 at every rate, and fell to
    /// 0.143 without hints).
    fn hints_mislead(&self, run: Option<&Run>) -> bool {
        self.config.hints && run.is_none_or(|run| run.hinted && run.best.loss >= self.start.loss)
    }

    /// Starts again without hints.
    fn leave_out_hints(&mut self) {
        self.checkpoints.observer().event("hints_left_out", json!({ "learning_rates_undone": self.undone }));
        self.config.hints = false;
        (self.undone, self.tried, self.taken) = (Vec::new(), Vec::new(), None);
    }

    /// The run at the learning rate that promises enough, or most, taken to its end. Down the ladder, as long as the next rate
    /// is better than the one before.
    fn descend(&mut self) -> Result<Option<Run>, CompressError> {
        // Behind a gap near the end there may be nothing that learns.
        if self.steps == 0 || !self.start.learns() {
            return Ok(None);
        }
        for rate in rates(self.setting.samples.made, self.setting.samples.pixels()) {
            let promised = self.taken.as_ref().map(|(_, promise)| *promise);
            let Some((run, promise)) = self.tried(rate, promised)? else {
                self.undone.push(rate);
                if self.taken.is_some() { break } else { continue }
            };
            match self.taken.replace((run, promise)) {
                Some((before, promised)) if promise >= BETTER * promised => {
                    self.undone.push(rate);
                    self.taken = Some((before, promised));
                    break;
                }
                Some((before, _)) => self.undone.push(before.rate),
                None => {}
            }
            if promise < PROMISING * self.start.loss {
                break;
            }
        }
        let Some((mut run, _)) = self.taken.take() else { return Ok(None) };
        self.advance(&mut run, self.steps)?;
        Ok(Some(run))
    }

    /// A run over the first steps at one rate, with the loss that it promises; `None` if the loss rises at once, or if it does
    /// not reach halfway what another rate has `promised`, which it would have to beat clearly.
    fn tried(&mut self, rate: f64, promised: Option<f64>) -> Result<Option<(Run, f64)>, CompressError> {
        let mut run = self.run(self.setting, FittedOn::Fitted, rate)?;
        let promise = match self.tried.iter().find(|tried| tried.rate == rate) {
            Some(tried) => tried.promise,
            None => {
                let promise = self.trial(&mut run, promised)?;
                self.tried.push(TrialResult { rate, promise });
                promise
            }
        };
        Ok(promise.map(|promise| (run, promise)))
    }

    /// The trial itself, from the next hurdle of the run.
    fn trial(&mut self, run: &mut Run, promised: Option<f64>) -> Result<Option<f64>, CompressError> {
        let trial = ((f64::from(self.steps) * TRIAL) as u32).max(SHORTEST_TRIAL);
        if run.hurdles == 0 {
            self.advance(run, trial / 4)?;
            if run.last_loss() >= HOPELESS * self.start.loss {
                return Ok(None);
            }
            run.hurdles = 1;
        }
        if run.hurdles == 1 {
            self.advance(run, trial / 2)?;
            if promised.is_some_and(|promised| run.last_loss() >= promised) {
                return Ok(None);
            }
            run.average = Some(Average::of(&run.student.params)?);
            run.hurdles = 2;
        }
        self.advance(run, trial)?;
        run.promise(self.start).map(Some)
    }

    /// A run at a rate, from where an earlier attempt left it or from the start.
    fn run(&mut self, setting: &Setting, of: FittedOn, rate: f64) -> Result<Run, CompressError> {
        let new = || Run::new(setting, self.start, &self.config, self.steps, rate);
        let mut run = new()?;
        let kept = self.kept.iter().position(|(kept, standing, _)| *kept == of && standing.rate == rate);
        let Some((_, standing, tensors)) = kept.map(|at| self.kept.swap_remove(at)) else { return Ok(run) };
        if run.go_on(standing, tensors)? { Ok(run) } else { new() }
    }

    /// Reads the checkpoint of an earlier attempt.
    fn resume(&mut self) {
        let Some((stand, mut tensors)) = self.checkpoints.take::<RecoveryCheckpoint>() else { return };
        let step = stand.runs.last().map(|(_, run)| run.step);
        self.began = self.checkpoints.resumed(self.began, step, stand.seconds);
        (self.asked, self.tried, self.config.hints) = (stand.asked, stand.tried, stand.hints);
        let with_tensors = |(of, standing): (FittedOn, RunState)| {
            let its = standing.tensors_of(&mut tensors);
            (of, standing, its)
        };
        self.kept = stand.runs.into_iter().map(with_tensors).collect();
    }

    /// Stores a checkpoint if one is due: `run` is the current run, in addition to `before`.
    fn keep(&self, before: Option<&Run>, of: FittedOn, run: &Run) -> Result<(), CompressError> {
        if !self.checkpoints.due() {
            return Ok(());
        }
        let before = before.or(self.taken.as_ref().map(|(taken, _)| taken));
        let mut tensors = Vec::new();
        let runs = before.map(|before| (FittedOn::Fitted, before)).into_iter().chain([(of, run)]);
        let runs = runs.map(|(of, run)| Ok((of, run.standing(&mut tensors)?))).collect::<Result<_, CompressError>>()?;
        let seconds = self.began.elapsed().as_secs_f64();
        let (hints, tried) = (self.config.hints, self.tried.clone());
        self.checkpoints.keep(&RecoveryCheckpoint { seconds, hints, asked: self.asked, tried, runs }, &tensors)
    }

    fn advance(&mut self, run: &mut Run, until: u32) -> Result<(), CompressError> {
        let every = self.steps.div_ceil(CHECKPOINTS);
        while run.step < until && self.progress(run) < 1.0 {
            self.keep(None, FittedOn::Fitted, run)?;
            self.checkpoints.observer().check()?;
            let at = self.progress(run);
            self.asked += run.train(self.setting, &self.config, at)?;
            self.checkpoints.observer().progress(Phase::Finetune, u64::from(run.step), u64::from(self.steps));
            if run.step.is_multiple_of(every) && !run.look(self.start, self.began)? {
                return Ok(());
            }
        }
        if run.looked != run.step {
            run.look(self.start, self.began)?;
        }
        Ok(())
    }

    /// Share of the schedule that is used up, by steps or by the budget, whichever is further.
    fn progress(&self, run: &Run) -> f64 {
        let by_steps = f64::from(run.step) / f64::from(self.steps);
        let used = self.began.elapsed().as_secs_f64();
        by_steps.max(self.config.budget_seconds.map_or(0.0, |budget| used / budget as f64))
    }

    /// The delivered student: the best one, or, with few images, the result of another run on all images.
    fn finish(mut self, run: Option<Run>, loss_before: f64) -> Result<Recovered, CompressError> {
        let mut report = self.report(loss_before);
        let Some(run) = run.filter(|run| run.best.loss < self.start.loss) else {
            report.recovery_rolled_back = self.steps > 0;
            report.learning_rates_undone = self.undone;
            let student = self.start.refitted.student.copy()?;
            return Ok(Recovered { student, measured: None, refitted: None, report, teacher_forwards: self.asked });
        };
        report.steps_run = run.step;
        report.learning_rate = Some(run.rate);
        report.history.clone_from(&run.history);
        let best = self.fold_back(run.best.params.shallow_copy())?;
        let images = self.setting.samples.fit.len() + self.setting.samples.held_out.len();
        let again = !self.setting.samples.mixtures
            && !self.setting.samples.held_out.is_empty()
            && images < FEW_IMAGES
            && self.progress_left();
        let (student, measured) = match again {
            true => (self.on_all_images(&run)?, Some(best)),
            false => (best, None),
        };
        report.fitted_on_all_images = again;
        report.learning_rates_undone = self.undone;
        Ok(Recovered { student, measured, refitted: None, report, teacher_forwards: self.asked })
    }

    /// The plain drop, with a report of what was tried: only synthetic images support the recovered student.
    fn doubt(self, plain: &Student, run: Option<Run>, loss_before: f64) -> Result<Recovered, CompressError> {
        let mut report = self.report(loss_before);
        report.recovery_rolled_back = true;
        report.gain_doubted = true;
        if let Some(refit) = &mut report.refit {
            refit.undone += refit.refitted.len();
            refit.refitted.clear();
        }
        if let Some(run) = run {
            (report.steps_run, report.learning_rate, report.history) = (run.step, Some(run.rate), run.history);
        }
        report.learning_rates_undone = self.undone;
        report.batch_norms_made = 0;
        let student = plain.copy()?;
        Ok(Recovered { student, measured: None, refitted: None, report, teacher_forwards: self.asked })
    }

    /// The part of the report that does not depend on the run.
    fn report(&self, loss_before: f64) -> FinetuneReport {
        FinetuneReport {
            recipe: Recipe::Practised,
            mixing: self.config.mixing,
            hints: self.config.hints,
            precision: self.start.precision,
            steps: self.steps,
            refit: Some(RefitReport {
                refitted: self.start.refitted.refitted.clone(),
                undone: self.start.refitted.undone,
                left_shared: self.start.refitted.left_shared.clone(),
                loss_before,
                loss_after: self.start.loss,
            }),
            batch_norms_made: self.start.made.len(),
            ..FinetuneReport::default()
        }
    }

    /// Whether the budget leaves time for a second run.
    fn progress_left(&self) -> bool {
        self.config.budget_seconds.is_none_or(|budget| self.began.elapsed().as_secs_f64() < 0.5 * budget as f64)
    }

    /// The same run from the same start on all images; its last step is the result, because there are no validation images
    /// left.
    fn on_all_images(&mut self, decided: &Run) -> Result<Student, CompressError> {
        let samples = self.setting.samples.all_fitted();
        let setting = Setting { samples: &samples, ..*self.setting };
        let mut run = self.run(&setting, FittedOn::All, decided.rate)?;
        let steps = decided.step;
        while run.step < steps {
            self.keep(Some(decided), FittedOn::All, &run)?;
            self.checkpoints.observer().check()?;
            let progress = f64::from(run.step) / f64::from(steps);
            self.asked += run.train(&setting, &self.config, progress)?;
            self.checkpoints.observer().progress(Phase::Finetune, u64::from(run.step), u64::from(steps));
        }
        self.fold_back(run.student.params)
    }

    fn fold_back(&self, params: Params) -> Result<Student, CompressError> {
        let Student { graph, taps, .. } = &self.start.student;
        batchnorm::fold_back(&Student { graph: graph.clone(), params, taps: taps.clone() }, &self.start.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_high_rate_is_tried_but_where_pictures_decide_on_large_images() {
        let first = |made, side: usize| rates(made, side * side).next();
        assert_eq!([first(false, 32), first(true, 32), first(false, 224)], [Some(RATES[0]); 3]);
        assert_eq!(first(true, 224), Some(MOST_BY_PICTURES));
    }
}
