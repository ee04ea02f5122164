//! The start of recovery (method §6, point 1): every gap of a student refitted, then every writer behind the first gap, in
//! depth order and on the student's own values, each only where it lowers the loss on the images that decide.

use crate::compress::CompressError;
use crate::compress::block::Block;
use crate::compress::observer::Observer;
use crate::compress::recoverability::Setting;
use crate::compress::student::Student;

use super::problem::{Problem, ahead_of_gap, behind_gap, of_sum};
use super::{Frontier, Known, refit};

/// A student with its gaps refitted.
pub struct Refitted {
    /// The student.
    pub student: Student,
    /// First outputs of the layers that were refitted.
    pub refitted: Vec<String>,
    /// How many refits were tried and undone.
    pub undone: usize,
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
    runs(setting, dropped).iter().try_for_each(|run| course.close(run))?;
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
    runs.iter().try_for_each(|run| course.close(run))?;
    if let Some(first) = runs.first().map(|run| run[0]) {
        course.writers(behind(setting, first).filter(|block| !dropped.contains(block)))?;
    }
    Ok(course.so_far)
}

/// Refits every writer of a student that has all blocks of its teacher, in another form.
pub fn every_writer(setting: &Setting, student: Student, observer: &dyn Observer) -> Result<Refitted, CompressError> {
    let mut teacher = Frontier::default();
    let mut course = Course::new(setting, student, &mut teacher, observer);
    course.writers(setting.network.blocks.iter())?;
    Ok(course.so_far)
}

impl Refitted {
    /// A student of which nothing is refitted yet.
    pub fn nothing(student: Student) -> Self {
        Self { student, refitted: Vec::new(), undone: 0 }
    }
}

/// Refits of one student, one after the other.
struct Course<'a> {
    setting: &'a Setting<'a>,
    observer: &'a dyn Observer,
    known: Known<'a>,
    so_far: Refitted,
}

impl<'a> Course<'a> {
    fn new(setting: &'a Setting<'a>, student: Student, teacher: &'a mut Frontier, observer: &'a dyn Observer) -> Self {
        Self { setting, observer, known: Known::of_teacher(teacher), so_far: Refitted::nothing(student) }
    }

    /// Refits around one run of dropped blocks: the writer ahead of it or, where there is none, the readers behind it.
    fn close(&mut self, run: &[&Block]) -> Result<(), CompressError> {
        let (first, last) = (run[0], run[run.len() - 1]);
        let student = &self.so_far.student.graph;
        let problems = match ahead_of_gap(student, &self.setting.network.graph, first, last) {
            Some(problem) => vec![problem],
            None => behind_gap(student, first).into_iter().take(MOST_READERS).collect(),
        };
        problems.iter().try_for_each(|problem| self.take(problem))
    }

    /// Refits the writers of these blocks' additions.
    fn writers<'b>(&mut self, mut blocks: impl Iterator<Item = &'b Block>) -> Result<(), CompressError> {
        blocks.try_for_each(|block| match of_sum(&self.so_far.student.graph, block) {
            Some(problem) => self.take(&problem),
            None => Ok(()),
        })
    }

    fn take(&mut self, problem: &Problem) -> Result<(), CompressError> {
        let Refitted { student, refitted, undone } = &mut self.so_far;
        match refit(self.setting, student, problem, refitted, &mut self.known, self.observer)? {
            Some((with, _)) => {
                *student = with;
                refitted.push(problem.layer.output.clone());
            }
            None => *undone += 1,
        }
        Ok(())
    }
}

/// The dropped blocks in depth order, those that follow each other directly together.
fn runs<'b>(setting: &Setting, dropped: &[&'b Block]) -> Vec<Vec<&'b Block>> {
    let mut ordered = dropped.to_vec();
    ordered.sort_by_key(|block| setting.network.depth(block));
    let mut runs: Vec<Vec<&Block>> = Vec::new();
    for block in ordered {
        match runs.last_mut() {
            Some(run) if run[run.len() - 1].exit == block.entry => run.push(block),
            _ => runs.push(vec![block]),
        }
    }
    runs
}

/// Residual additions behind a block.
fn behind<'n>(setting: &Setting<'n>, first: &Block) -> impl Iterator<Item = &'n Block> {
    let network = setting.network;
    let at = network.depth(first).map_or(0, |at| at + 1);
    network.blocks[at..].iter()
}
