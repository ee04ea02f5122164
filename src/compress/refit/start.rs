//! The start of recovery (docs/method.md §6.1): every gap of a student refitted, then every writer behind the first gap, in
//! depth order and on the student's own values, each only if it lowers the validation loss.

use super::target::{RefitTarget, ahead_of_gap, behind_gap, of_sum};
use super::{Frontier, Known, refit};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::setting::Setting;
use crate::compress::student::Student;
use crate::network::blocks::Block;
use crate::network::blocks::shared::is_shared;

/// A student with its gaps refitted.
pub struct Refitted {
    /// The student.
    pub student: Student,
    /// First outputs of the layers that were refitted.
    pub refitted: Vec<String>,
    /// How many refits were tried and undone.
    pub undone: usize,
    /// First outputs of layers that were not refitted, because their kernel is also used in places without a target.
    pub left_shared: Vec<String>,
}

/// Readers behind a gap without a writer that are refitted, at most.
const MOST_READERS: usize = 3;

/// Refits around the gaps that the dropped blocks have left, and nothing behind them.
pub fn around_gaps(
    setting: &Setting,
    student: Student,
    dropped: &[&Block],
    teacher: &mut Frontier,
    observer: &dyn Observer,
) -> Result<Refitted, CompressError> {
    let mut course = Course::new(setting, student, teacher, observer);
    course.close(&runs(setting, dropped))?;
    Ok(course.so_far)
}

/// Refits a student without `dropped`: around every gap, then every writer behind the first.
pub fn refitted(
    setting: &Setting,
    student: Student,
    dropped: &[&Block],
    observer: &dyn Observer,
) -> Result<Refitted, CompressError> {
    let mut teacher = Frontier::default();
    let mut course = Course::new(setting, student, &mut teacher, observer);
    let runs = runs(setting, dropped);
    course.close(&runs)?;
    if let Some(first) = runs.first().map(|run| run[0]) {
        course.writers(&behind(setting, first, dropped))?;
    }
    Ok(course.so_far)
}

/// Refits every writer of a student that has all blocks of its teacher, in another form.
pub fn every_writer(setting: &Setting, student: Student, observer: &dyn Observer) -> Result<Refitted, CompressError> {
    let mut teacher = Frontier::default();
    let mut course = Course::new(setting, student, &mut teacher, observer);
    course.writers(&in_depth_order(setting, setting.network.blocks.iter().flat_map(Block::places)))?;
    Ok(course.so_far)
}

impl Refitted {
    /// A student of which nothing is refitted yet.
    pub fn nothing(student: Student) -> Self {
        Self { student, refitted: Vec::new(), undone: 0, left_shared: Vec::new() }
    }
}

/// Refits of one student, one after the other.
struct Course<'a> {
    setting: &'a Setting<'a>,
    observer: &'a dyn Observer,
    known: Known<'a>,
    so_far: Refitted,
    /// First outputs of shared layers that were seen to already, in this round.
    solved: Vec<String>,
}

impl<'a> Course<'a> {
    fn new(setting: &'a Setting<'a>, student: Student, teacher: &'a mut Frontier, observer: &'a dyn Observer) -> Self {
        let (known, so_far) = (Known::of_teacher(teacher), Refitted::nothing(student));
        Self { setting, observer, known, so_far, solved: Vec::new() }
    }

    /// Refits around runs of dropped blocks: the writer ahead of each or, if there is none, the readers behind it.
    fn close(&mut self, runs: &[Vec<&Block>]) -> Result<(), CompressError> {
        for run in runs {
            for problem in self.around(run) {
                self.take_in_all_places(problem, |course| {
                    let gaps = runs.iter().flat_map(|run| course.around(run));
                    gaps.chain(course.sums()).collect()
                })?;
            }
        }
        Ok(())
    }

    fn around(&self, run: &[&Block]) -> Vec<RefitTarget> {
        let (first, last) = (run[0], run[run.len() - 1]);
        let student = &self.so_far.student.graph;
        match ahead_of_gap(student, &self.setting.network.graph, first, last) {
            Some(problem) => vec![problem],
            None => behind_gap(student, first).into_iter().take(MOST_READERS).collect(),
        }
    }

    /// Refits the writers of the additions in these places.
    fn writers(&mut self, places: &[&Block]) -> Result<(), CompressError> {
        self.solved.clear();
        for place in places {
            if let Some(problem) = of_sum(&self.so_far.student.graph, place) {
                self.take_in_all_places(problem, |course| course.sums().collect())?;
            }
        }
        Ok(())
    }

    /// The writers of all residual additions that the student still has, each towards the teacher's sum.
    fn sums(&self) -> impl Iterator<Item = RefitTarget> {
        let places = self.setting.network.blocks.iter().flat_map(Block::places);
        places.filter_map(|place| of_sum(&self.so_far.student.graph, place))
    }

    /// Refits a layer. If its kernel is shared, all of its places are refitted at once, with their problems from `others`, or
    /// not
    /// at all.
    fn take_in_all_places(
        &mut self,
        problem: RefitTarget,
        others: impl Fn(&Self) -> Vec<RefitTarget>,
    ) -> Result<(), CompressError> {
        let graph = &self.so_far.student.graph;
        if !is_shared(graph, problem.layer.position(graph)) {
            return self.take(&problem);
        }
        let output = problem.layer.output.clone();
        if self.solved.contains(&output) {
            return Ok(());
        }
        match problem.in_all_places(graph, &others(self)) {
            Some(problem) => {
                self.solved.extend(problem.places().map(|place| place.layer.output.clone()));
                self.take(&problem)
            }
            None => {
                self.solved.push(output.clone());
                if !self.so_far.left_shared.contains(&output) {
                    self.so_far.left_shared.push(output);
                }
                Ok(())
            }
        }
    }

    fn take(&mut self, problem: &RefitTarget) -> Result<(), CompressError> {
        let Refitted { student, refitted, undone, .. } = &mut self.so_far;
        match refit(self.setting, student, problem, refitted, &mut self.known, self.observer)? {
            Some((with, _)) => {
                *student = with;
                refitted.extend(problem.places().map(|place| place.layer.output.clone()));
            }
            None => *undone += 1,
        }
        Ok(())
    }
}

/// All places of the dropped blocks in depth order, those that follow each other directly together.
fn runs<'b>(setting: &Setting, dropped: &[&'b Block]) -> Vec<Vec<&'b Block>> {
    let mut runs: Vec<Vec<&Block>> = Vec::new();
    for place in in_depth_order(setting, dropped.iter().flat_map(|block| block.places())) {
        match runs.last_mut() {
            Some(run) if run[run.len() - 1].exit == place.entry => run.push(place),
            _ => runs.push(vec![place]),
        }
    }
    runs
}

fn in_depth_order<'b>(setting: &Setting, places: impl Iterator<Item = &'b Block>) -> Vec<&'b Block> {
    let depths = setting.network.graph.producers();
    let mut places: Vec<&Block> = places.collect();
    places.sort_by_key(|place| depths.get(place.sum.as_str()));
    places
}

/// Places of the residual additions behind one, without those of `dropped`, in depth order.
fn behind<'n>(setting: &Setting<'n>, first: &Block, dropped: &[&Block]) -> Vec<&'n Block> {
    let depths = setting.network.graph.producers();
    let depth = |place: &Block| depths.get(place.sum.as_str()).copied();
    let left = setting.network.blocks.iter().filter(|block| !dropped.contains(block));
    let places = left.flat_map(Block::places).filter(|place| depth(place) > depth(first));
    in_depth_order(setting, places)
}
