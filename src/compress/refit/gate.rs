//! Selects a solution, and the share of it to apply: the one with the lowest validation loss, if that is below the loss without
//! it.

use tch::Tensor;

use super::frontier::{Evaluated, Frontier, Known};
use super::rows::Rows;
use super::solve::{Normal, RIDGES, Solution, Start, normal, prepared};
use super::target::RefitTarget;
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::quality::loss::{feature_loss, finite};
use crate::compress::setting::Setting;
use crate::compress::student::{Student, boundary};
use crate::exec::{Executor, RunOptions};

/// Parts of the best solution that are tried. On networks trained with stochastic depth a part is better than the whole.
const PARTS: [f64; 2] = [0.5, 0.25];

/// Maximum number of validation images: their activations at the layer are stored for all tries.
const MOST_IMAGES: usize = 256;

/// The student from one layer on, with its inputs there on the validation images.
pub struct Gate {
    suffix: Executor,
    fed: Vec<String>,
    batches: Vec<Batch>,
    images: usize,
}

struct Batch {
    fed: Vec<Tensor>,
    features: Vec<Tensor>,
}

impl Gate {
    /// For students that differ from this one at the node at `first` or behind it.
    pub fn at(setting: &Setting, student: &Student, first: usize) -> Result<Self, CompressError> {
        Self::going_on(setting, student, first, &mut Frontier::default())
    }

    /// The same, from the student's stored values on the validation images.
    fn going_on(
        setting: &Setting,
        student: &Student,
        first: usize,
        frontier: &mut Frontier,
    ) -> Result<Self, CompressError> {
        let fed = boundary::values_at(&student.graph, first, &student.taps);
        let names: Vec<&str> = fed.iter().map(String::as_str).collect();
        let taps: Vec<&str> = student.taps.iter().map(String::as_str).collect();
        let suffix = Executor::new(&student.graph, &names, &taps)?;
        let asked = Evaluated::to_decide(setting, student, MOST_IMAGES);
        let mut walk = frontier.walk(&asked, &names, first)?;
        let mut batches = Vec::new();
        let mut begin = 0;
        for images in asked.batches() {
            let count = images.len() as i64;
            let of_batch = |features: &Tensor| features.f_narrow(0, begin, count)?.f_to_device(student.params.device());
            let features = setting.deciding().features.iter().map(of_batch).collect::<Result<_, _>>()?;
            batches.push(Batch { fed: walk.batch(images)?, features });
            begin += count;
        }
        walk.finish();
        let images = asked.images.len();
        Ok(Self { suffix, fed, batches, images })
    }

    /// Feature loss of a student on the validation images.
    pub fn loss(&self, student: &Student) -> Result<f64, CompressError> {
        let mut sum = 0.0;
        for batch in &self.batches {
            let fed: Vec<(&str, &Tensor)> = self.fed.iter().map(String::as_str).zip(&batch.fed).collect();
            let features = tch::no_grad(|| self.suffix.run(&student.params, &fed, &RunOptions::INFERENCE))?;
            let images = features[0].size()[0] as f64;
            sum += feature_loss(&features, &batch.features)?.f_double_value(&[])? * images;
        }
        finite(sum / self.images as f64)
    }
}

/// The student with the layer refitted, and its validation loss; `None` if nothing lowers the loss. `refitted` names the layers
/// that were refitted before, and `known` belongs to
/// this student.
pub fn refit(
    setting: &Setting,
    student: &Student,
    problem: &RefitTarget,
    refitted: &[String],
    known: &mut Known,
    observer: &dyn Observer,
) -> Result<Option<(Student, f64)>, CompressError> {
    let student = &prepared(student, problem)?;
    let start = Start::of(student, problem)?;
    let mut equations: Option<Normal> = None;
    for place in problem.places() {
        let Some(rows) = Rows::plan(setting, student, place, refitted)? else { return Ok(None) };
        let more = normal(setting, student, place, &rows, &start, known, observer)?;
        equations = Some(match equations.take() {
            Some(so_far) => so_far.with(more),
            None => more,
        });
    }
    let Some(normal) = equations else { return Ok(None) };
    if !problem.also.is_empty() {
        // It was computed beyond the first place, so its stored values depend on the old weights.
        known.student = Frontier::default();
    }
    let places = problem.places().map(|place| place.layer.position(&student.graph));
    let first = places.min().unwrap_or(0);
    let gate = Gate::going_on(setting, student, first, &mut known.deciding)?;
    let tries = Tries { start: &start, student, problem, gate };
    let mut best: Option<(Solution, Student, f64)> = None;
    let mut least = tries.gate.loss(student)?;
    for ridge in RIDGES {
        observer.check()?;
        let Some(solution) = normal.solve(&start.solution, ridge)? else { continue };
        let (with, loss) = tries.loss_with(&solution)?;
        // The whole step is stored even if it raises the loss: a part of it can lower it.
        if best.as_ref().is_none_or(|(_, _, least)| loss < *least) {
            best = Some((solution, with, loss));
        }
    }
    let Some((whole, mut taken, loss)) = best else { return Ok(None) };
    let mut accepted = loss < least;
    if accepted {
        least = loss;
    }
    for share in PARTS {
        observer.check()?;
        let (with, loss) = tries.loss_with(&whole.part(&start.solution, share))?;
        if loss < least {
            (taken, least, accepted) = (with, loss, true);
        }
    }
    Ok(accepted.then_some((taken, least)))
}

struct Tries<'a> {
    start: &'a Start,
    student: &'a Student,
    problem: &'a RefitTarget,
    gate: Gate,
}

impl Tries<'_> {
    fn loss_with(&self, solution: &Solution) -> Result<(Student, f64), CompressError> {
        let mut with = self.student.copy()?;
        self.start.write(&mut with, self.problem, solution)?;
        let loss = match self.gate.loss(&with) {
            Err(CompressError::LossNotFinite) => f64::INFINITY,
            loss => loss?,
        };
        Ok((with, loss))
    }
}
