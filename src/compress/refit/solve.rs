//! The normal equations of one layer, in f64.

use tch::{Kind, Tensor};

use super::frontier::Known;
use super::rows::{Chunk, Rows};
use super::target::{Range, RefitTarget};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::setting::Setting;
use crate::compress::stream::path::alive_only;
use crate::compress::student::Student;
use crate::compress::student::edit::{own_bias, own_inputs, set_weight, wide};

/// Ridge strengths that are tried, as shares of the mean squared input.
pub(super) const RIDGES: [f64; 2] = [1e-3, 1e-1];

/// Excitations below this are taken for none.
const LEAST_EXCITATION: f64 = 0.05;

/// Rows that are kept between two passes, at most.
const KEPT_BYTES: usize = 128 << 20;

/// A kernel with its bias, as it works at the end of the path behind it, as one matrix (M, p + 1), f64.
#[derive(Debug)]
pub(super) struct Solution(pub(super) Tensor);

/// The current layer, and the effect of the path behind it on one output channel: `z = gain · y + shift`.
pub(super) struct Start {
    pub(super) solution: Solution,
    gain: Tensor,
}

impl Start {
    pub(super) fn of(student: &Student, problem: &RefitTarget) -> Result<Self, CompressError> {
        let node = &student.graph.nodes[problem.layer.position(&student.graph)];
        let kernel = problem.layer.kernel(student)?;
        let bias = match node.input(2) {
            Some(name) => wide(&student.params, name)?.f_flatten(0, -1)?,
            None => Tensor::f_zeros([kernel.size()[0]], (Kind::Double, kernel.device()))?,
        };
        let (gain, shift) = problem.path.affine(student, &bias)?;
        let whole = Tensor::f_cat(&[kernel * gain.unsqueeze(1), (bias * &gain + shift).unsqueeze(1)], 1)?;
        Ok(Self { solution: Solution(whole), gain })
    }

    /// Writes a solution into a prepared student: kernel rows without the gain, the rest into what shifts the layer's output
    /// behind it, or into its bias.
    pub(super) fn write(
        &self,
        student: &mut Student,
        problem: &RefitTarget,
        solution: &Solution,
    ) -> Result<(), CompressError> {
        let node = &student.graph.nodes[problem.layer.position(&student.graph)];
        let (weight, bias_name) = (node.inputs[1].clone(), node.input(2).map(str::to_owned));
        let old = wide(&student.params, &weight)?;
        let unknowns = solution.0.size()[1] - 1;
        let (rows, bias) = (solution.0.f_narrow(1, 0, unknowns)?, solution.0.f_select(1, unknowns)?);
        // A channel that is silenced behind the layer cannot be refitted, and is left as it is.
        let gain = alive_only(&self.gain)?;
        let change = (rows - self.solution.0.f_narrow(1, 0, unknowns)?) / gain.unsqueeze(1);
        let more = (bias - self.solution.0.f_select(1, unknowns)?) * gain.f_isfinite()?;
        set_weight(student, &weight, &(&old + problem.layer.as_kernel(&change, &old.size())?))?;
        if problem.path.add_shift(student, &more)? {
            return Ok(());
        }
        let Some(name) = bias_name else { return Ok(()) };
        let old = wide(&student.params, &name)?;
        set_weight(student, &name, &(&old + (more / gain).f_reshape(old.size())?))
    }
}

/// A copy of the student in which no node but the layer's places reads what a solution changes, and in which the layer has a bias where it can
/// have one and nothing behind it shifts. All tries are students of this graph, which the gate has planned once.
pub(super) fn prepared(student: &Student, problem: &RefitTarget) -> Result<Student, CompressError> {
    let mut prepared = student.copy()?;
    let Student { graph, params, .. } = &mut prepared;
    let places: Vec<usize> = problem.places().map(|place| place.layer.position(graph)).collect();
    own_inputs(graph, params, &places.iter().map(|at| (*at, 1)).collect::<Vec<_>>());
    let shifts: Vec<(usize, usize)> = problem.places().filter_map(|place| place.path.shifting(graph)).collect();
    if !shifts.is_empty() {
        own_inputs(graph, params, &shifts);
    } else if problem.layer.takes_bias() {
        let one_per_channel = problem.layer.kernel(&prepared)?.f_select(1, 0)?;
        own_bias(&mut prepared, &places, &one_per_channel)?;
    }
    Ok(prepared)
}

impl Solution {
    /// Part of the way from `start` to here.
    pub(super) fn part(&self, start: &Self, share: f64) -> Self {
        Self(&start.0 + (&self.0 - &start.0) * share)
    }
}

/// `XᵀX` and `XᵀT`, summed over all rows of all places.
pub(super) struct Normal {
    gram: Tensor,
    with_target: Tensor,
}

/// The normal equations towards the target minus the shortcut. If an activation follows, any clipped output meets a clipped
/// target, so the equations are set up again with the first solution's outputs there.
pub(super) fn normal(
    setting: &Setting,
    student: &Student,
    problem: &RefitTarget,
    rows: &Rows,
    start: &Start,
    known: &mut Known,
    observer: &dyn Observer,
) -> Result<Normal, CompressError> {
    let mut normal: Option<Normal> = None;
    let mut kept = Kept::default();
    rows.each(setting, student, known, observer, |rows| {
        let chunk = rows.doubled()?;
        let target = residual(&chunk, &chunk.target, start)?;
        let gram = chunk.x.tr().f_matmul(&chunk.x)?;
        let with_target = chunk.x.tr().f_matmul(&target)?;
        normal = Some(match normal.take() {
            Some(sum) => Normal { gram: sum.gram + gram, with_target: sum.with_target + with_target },
            None => Normal { gram, with_target },
        });
        kept.keep(rows);
        Ok(())
    })?;
    let mut normal = normal.ok_or(CompressError::NothingToFit)?;
    if problem.range.is_all() {
        return Ok(normal);
    }
    let Some(first) = normal.solve(&start.solution, RIDGES[0])? else { return Ok(normal) };
    let mut with_target = normal.with_target.zeros_like();
    let mut again = |rows: &Chunk| -> Result<(), CompressError> {
        let chunk = rows.doubled()?;
        let said = chunk.x.f_matmul(&first.0.tr())?;
        let said = chunk.excitation.as_ref().map_or_else(|| said.shallow_clone(), |by| &said * by);
        let said = chunk.shortcut.as_ref().map_or_else(|| said.shallow_clone(), |shortcut| &said + shortcut);
        let target = residual(&chunk, &relaxed(&chunk.target, &said, problem.range)?, start)?;
        with_target += chunk.x.tr().f_matmul(&target)?;
        Ok(())
    };
    match kept.all() {
        Some(chunks) => chunks.iter().try_for_each(&mut again)?,
        None => rows.each(setting, student, known, observer, |rows| again(&rows))?,
    }
    normal.with_target = with_target;
    Ok(normal)
}

/// Rows of a first pass for a second one, if they fit into the budget; else the networks are evaluated again.
#[derive(Default)]
struct Kept {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes();
        match self.bytes <= KEPT_BYTES {
            true => self.chunks.push(chunk),
            false => self.chunks.clear(),
        }
    }

    fn all(&self) -> Option<&[Chunk]> {
        (self.bytes <= KEPT_BYTES).then_some(&self.chunks)
    }
}

/// The output that the layer needs for the target: without the shortcut, ahead of the excitation. If the excitation is close to
/// 0, it is the current output.
fn residual(chunk: &Chunk, target: &Tensor, start: &Start) -> Result<Tensor, CompressError> {
    let rest = chunk.shortcut.as_ref().map_or_else(|| target.shallow_clone(), |shortcut| target - shortcut);
    let Some(excitation) = &chunk.excitation else { return Ok(rest) };
    let now = chunk.x.f_matmul(&start.solution.0.tr())?;
    Ok((rest / excitation).f_where_self(&excitation.f_abs()?.f_gt(LEAST_EXCITATION)?, &now)?)
}

/// The target, replaced by the prediction where the activation clips both.
fn relaxed(target: &Tensor, said: &Tensor, range: Range) -> Result<Tensor, CompressError> {
    let mut relaxed = target.shallow_clone();
    if let Some(low) = range.low {
        relaxed = said.f_clamp_max(low)?.f_where_self(&target.f_le(low)?, &relaxed)?;
    }
    if let Some(high) = range.high {
        relaxed = said.f_clamp_min(high)?.f_where_self(&target.f_ge(high)?, &relaxed)?;
    }
    Ok(relaxed)
}

impl Normal {
    /// The equations of two places of one layer, for a solution that does for both.
    pub(super) fn with(self, other: Self) -> Self {
        Self { gram: self.gram + other.gram, with_target: self.with_target + other.with_target }
    }

    /// `W = argmin ‖XWᵀ − T‖² + λ·d·‖W − W₀‖²`, `d` the mean of diag(XᵀX); the bias is free. `None` if the equations have
    /// no solution in f64 (inputs that are not finite).
    pub(super) fn solve(&self, start: &Solution, ridge: f64) -> Result<Option<Solution>, CompressError> {
        let unknowns = self.gram.size()[0];
        let scale = self.gram.f_diagonal(0, 0, 1)?.f_narrow(0, 0, unknowns - 1)?.f_mean(Kind::Double)?;
        let penalty = Tensor::f_full([unknowns], 1.0, (Kind::Double, self.gram.device()))?;
        // The bias is as good as free; a little of the penalty keeps the matrix regular for inputs that are constant.
        let _ = penalty.f_narrow(0, unknowns - 1, 1)?.f_fill_(1e-6)?;
        let matrix = &self.gram + (penalty * (&scale * ridge)).f_diag(0)?;
        let right = &self.with_target - self.gram.f_matmul(&start.0.tr())?;
        let Ok(factor) = matrix.f_linalg_cholesky(false) else { return Ok(None) };
        let change = right.f_cholesky_solve(&factor, false)?;
        let finite = change.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
        Ok(finite.then(|| Solution(&start.0 + change.tr())))
    }
}
