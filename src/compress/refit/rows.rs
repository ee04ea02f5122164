//! The rows of the least-squares problem: one for each image and position.

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::frontier::{Evaluated, Known};
use super::target::RefitTarget;
use super::window::{Places, View};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::random::stream;
use crate::compress::setting::Setting;
use crate::compress::stream::moves::{Move, undo};
use crate::compress::student::edit::position;
use crate::compress::student::{Student, boundary};

/// Rows per unknown of one output channel. Neighbouring positions are nearly redundant, so beyond this more rows cost time
/// and bring nothing.
const ROWS_PER_UNKNOWN: usize = 128;

/// The source of the rows: the student's values around the layer, and the teacher's value that it must match.
pub(super) struct Rows<'p> {
    /// Index of the layer's node.
    at: usize,
    /// The layer's input, and the other input of the addition.
    around: Vec<String>,
    /// Whether the teacher computes the same there.
    common: bool,
    view: View,
    problem: &'p RefitTarget,
}

/// Rows of some images: the layer's inputs and a 1 for the bias (r, p + 1), its target (r, M), and the shortcut that is added
/// (r, M). If there is no bias, its column is 0, so that none is found.
pub(super) struct Chunk {
    pub(super) x: Tensor,
    pub(super) target: Tensor,
    pub(super) shortcut: Option<Tensor>,
    /// What the layer's output is multiplied with ahead of that, (r, M), where it is.
    pub(super) excitation: Option<Tensor>,
}

impl Chunk {
    /// The same in f64, as sums over all rows need it.
    pub(super) fn doubled(&self) -> Result<Self, CompressError> {
        let double = |value: &Tensor| value.f_to_kind(Kind::Double);
        Ok(Self {
            x: double(&self.x)?,
            target: double(&self.target)?,
            shortcut: self.shortcut.as_ref().map(double).transpose()?,
            excitation: self.excitation.as_ref().map(double).transpose()?,
        })
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let all = [Some(&self.x), Some(&self.target), self.shortcut.as_ref(), self.excitation.as_ref()];
        all.into_iter().flatten().map(|tensor| tensor.numel() * 4).sum()
    }
}

impl<'p> Rows<'p> {
    /// `None` if the layer is a convolution with a padding that is not supported here.
    ///
    /// `refitted` names the layers of the student that are not the teacher's any more.
    pub(super) fn plan(
        setting: &Setting,
        student: &Student,
        problem: &'p RefitTarget,
        refitted: &[String],
    ) -> Result<Option<Self>, CompressError> {
        let teacher = &setting.network.graph;
        let at = problem.layer.position(&student.graph);
        let node = &student.graph.nodes[at];
        let Some(view) = View::of(student, &problem.layer, node) else { return Ok(None) };
        let beside = problem.shortcut.as_deref().into_iter().chain(problem.path.excitation.as_deref());
        let first = boundary::first_difference(teacher, &student.graph, refitted);
        let changed = |value: &str| position(&student.graph, value).is_some_and(|at| at >= first);
        let common = at <= first && !beside.clone().any(changed);
        let around = std::iter::once(node.inputs[0].as_str()).chain(beside).map(str::to_owned).collect();
        Ok(Some(Self { at, around, common, view, problem }))
    }

    /// The rows of all images fitted on, a batch of images at a time, in the same order and the same choice each time; in the
    /// networks' own f32.
    pub(super) fn each(
        &self,
        setting: &Setting,
        student: &Student,
        known: &mut Known,
        observer: &dyn Observer,
        mut take: impl FnMut(Chunk) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let mut random = stream(setting.seed, &format!("refit/{}", self.problem.target));
        let (of_teacher, of_student) =
            (Evaluated::to_fit(setting, setting.teacher), Evaluated::to_fit(setting, student));
        let around: Vec<&str> = self.around.iter().map(String::as_str).collect();
        let mut wanted = vec![self.problem.target.as_str()];
        if self.common {
            wanted.extend(&around);
        }
        let mut teacher = known.teacher.walk(&of_teacher, &wanted, usize::MAX)?;
        let mut student = match self.common {
            true => None,
            false => Some(known.student.walk(&of_student, &around, self.at)?),
        };
        for images in of_teacher.batches() {
            observer.check()?;
            let mut values = teacher.batch(images)?;
            if let Some(student) = &mut student {
                values.extend(student.batch(images)?);
            }
            take(tch::no_grad(|| self.chunk(values, images.len(), setting.samples.fit.len(), &mut random))?)?;
        }
        teacher.finish();
        if let Some(student) = student {
            student.finish();
        }
        Ok(())
    }

    /// Of the target and the values around the layer on some images.
    fn chunk(
        &self,
        values: Vec<Tensor>,
        images: usize,
        all_images: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<Chunk, CompressError> {
        let mut values = values.into_iter();
        let moves: &[Move] = &self.problem.path.moves;
        let target = undo(&self.problem.moves, &values.next().expect("the target"))?;
        let target = undo(moves, &target)?;
        let places = self.places(&target, images, all_images, random)?;
        let x = self.view.rows(&values.next().expect("the layer's input"), &places)?;
        let constant = if self.problem.takes_bias() { 1.0 } else { 0.0 };
        let constant = Tensor::f_full([x.size()[0], 1], constant, (x.kind(), x.device()))?;
        let mut beside = |wanted: &Option<String>| wanted.as_ref().and_then(|_| values.next());
        let shortcut = beside(&self.problem.shortcut).map(|value| undo(moves, &value)).transpose()?;
        let excitation = beside(&self.problem.path.excitation).map(|by| by.f_expand_as(&target)).transpose()?;
        let pick = |value: &Tensor| places.of_outputs(value);
        Ok(Chunk {
            x: Tensor::f_cat(&[x, constant], 1)?,
            target: pick(&target)?,
            shortcut: shortcut.as_ref().map(pick).transpose()?,
            excitation: excitation.as_ref().map(pick).transpose()?,
        })
    }

    /// A random choice of the positions of `count` images, in the order in which they lie there.
    fn places(
        &self,
        output: &Tensor,
        count: usize,
        all_images: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<Places, CompressError> {
        let size = output.size();
        let all = Places::count(&self.view, &size);
        let wanted = ROWS_PER_UNKNOWN * (self.view.unknowns() + 1);
        let keep = (wanted * count).div_ceil(all_images).min(all);
        let mut kept: Vec<usize> = sample(random, all, keep).into_vec();
        kept.sort_unstable();
        Places::of(&self.view, &kept, &size, output.device())
    }
}
