//! The rows of the least-squares problem: one for each image and position.

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::cut;
use crate::compress::edit::position;
use crate::compress::observer::Observer;
use crate::compress::random::stream;
use crate::compress::recoverability::Setting;
use crate::compress::student::Student;
use crate::exec::{Executor, RunOptions};

use super::moves::{Move, undo};
use super::problem::Problem;
use super::window::{Places, View};

/// Rows per unknown of one output channel. Neighbouring positions say nearly the same, so beyond this more rows cost time
/// and bring nothing.
const ROWS_PER_UNKNOWN: usize = 128;

/// Where the rows come from: the student's values around the layer, and the teacher's value that it is to meet.
pub(super) struct Rows<'p> {
    /// `None` where the teacher computes what the student computes there.
    student: Option<Executor>,
    teacher: Executor,
    view: View,
    problem: &'p Problem,
}

/// Rows of some images: what the layer sees and a 1 for the bias (r, p + 1), what it is to meet (r, M), and what is added to it
/// (r, M). Where nothing takes a bias there is a 0 for it, so that none is found.
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
    /// `None` where the layer is a convolution that pads in a way that its rows cannot be cut for.
    ///
    /// `refitted` names the layers of the student that are not the teacher's any more.
    pub(super) fn plan(
        setting: &Setting,
        student: &Student,
        problem: &'p Problem,
        refitted: &[String],
    ) -> Result<Option<Self>, CompressError> {
        let teacher = &setting.network.graph;
        let at = problem.layer.position(&student.graph);
        let node = &student.graph.nodes[at];
        let Some(view) = View::of(student, &problem.layer, node) else { return Ok(None) };
        let input = setting.network.input.name.as_str();
        let beside = problem.shortcut.as_deref().into_iter().chain(problem.path.excitation.as_deref());
        let first = cut::first_difference(teacher, &student.graph, refitted);
        let changed = |value: &str| position(&student.graph, value).is_some_and(|at| at >= first);
        let own = at > first || beside.clone().any(changed);
        let wanted: Vec<&str> = std::iter::once(node.inputs[0].as_str()).chain(beside).collect();
        let mut of_teacher = vec![problem.target.as_str()];
        if !own {
            of_teacher.extend(&wanted);
        }
        Ok(Some(Self {
            student: own.then(|| Executor::new(&student.graph, &[input], &wanted)).transpose()?,
            teacher: Executor::new(teacher, &[input], &of_teacher)?,
            view,
            problem,
        }))
    }

    /// The rows of all images fitted on, a batch of images at a time, in the same order and the same choice each time; in the
    /// networks' own f32.
    pub(super) fn each(
        &self,
        setting: &Setting,
        student: &Student,
        observer: &dyn Observer,
        mut take: impl FnMut(Chunk) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let mut random = stream(setting.seed, &format!("refit/{}", self.problem.target));
        let images = &setting.samples.fit;
        for chunk in images.chunks(setting.samples.evaluation_batch()) {
            observer.check()?;
            let images_here = setting.samples.select(chunk)?;
            take(tch::no_grad(|| self.chunk(setting, student, &images_here, images.len(), &mut random))?)?;
        }
        Ok(())
    }

    fn chunk(
        &self,
        setting: &Setting,
        student: &Student,
        images: &Tensor,
        all_images: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<Chunk, CompressError> {
        let images = images.f_to_device(student.params.device())?;
        let fed = [(setting.network.input.name.as_str(), &images)];
        let mut of_teacher = self.teacher.run(&setting.teacher.params, &fed, &RunOptions::INFERENCE)?.into_iter();
        let target = undo(&self.problem.moves, &of_teacher.next().expect("the target"))?;
        let mut of_student = match &self.student {
            Some(executor) => executor.run(&student.params, &fed, &RunOptions::INFERENCE)?.into_iter(),
            None => of_teacher,
        };
        let moves: &[Move] = &self.problem.path.moves;
        let target = undo(moves, &target)?;
        let places = self.places(&target, images.size()[0] as usize, all_images, random)?;
        let x = self.view.rows(&of_student.next().expect("the layer's input"), &places)?;
        let constant = if self.problem.takes_bias() { 1.0 } else { 0.0 };
        let constant = Tensor::f_full([x.size()[0], 1], constant, (x.kind(), x.device()))?;
        let mut beside = |wanted: &Option<String>| wanted.as_ref().and_then(|_| of_student.next());
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
