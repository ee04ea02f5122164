//! The start of recovery (method §6, point 1): every gap of a student refitted, then every writer behind the first gap, in
//! depth order and on the student's own values, each only where it lowers the loss on the images that decide.

use crate::compress::CompressError;
use crate::compress::block::Block;
use crate::compress::observer::Observer;
use crate::compress::recoverability::Setting;
use crate::compress::student::Student;

use super::problem::{Problem, ahead_of_gap, behind_gap, of_sum};
use super::refit;

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
    observer: &dyn Observer,
) -> Result<Refitted, CompressError> {
    let mut refitted = Refitted::nothing(student);
    for run in runs(setting, dropped) {
        refitted.close(setting, &run, observer)?;
    }
    Ok(refitted)
}

/// Refits a student without `dropped`: around every gap, then every writer behind the first.
pub fn refitted(
    setting: &Setting,
    student: Student,
    dropped: &[&Block],
    observer: &dyn Observer,
) -> Result<Refitted, CompressError> {
    let mut refitted = around_gaps(setting, student, dropped, observer)?;
    let runs = runs(setting, dropped);
    let Some(first) = runs.first().map(|run| run[0]) else { return Ok(refitted) };
    refitted.writers(setting, behind(setting, first).filter(|block| !dropped.contains(block)), observer)?;
    Ok(refitted)
}

/// Refits every writer of a student that has all blocks of its teacher, in another form.
pub fn every_writer(setting: &Setting, student: Student, observer: &dyn Observer) -> Result<Refitted, CompressError> {
    let mut refitted = Refitted::nothing(student);
    refitted.writers(setting, setting.network.blocks.iter(), observer)?;
    Ok(refitted)
}

impl Refitted {
    /// A student of which nothing is refitted yet.
    pub fn nothing(student: Student) -> Self {
        Self { student, refitted: Vec::new(), undone: 0 }
    }

    /// Refits around one run of dropped blocks: the writer ahead of it or, where there is none, the readers behind it.
    fn close(&mut self, setting: &Setting, run: &[&Block], observer: &dyn Observer) -> Result<(), CompressError> {
        let (first, last) = (run[0], run[run.len() - 1]);
        let student = &self.student.graph;
        let problems = match ahead_of_gap(student, &setting.network.graph, first, last) {
            Some(problem) => vec![problem],
            None => behind_gap(student, first).into_iter().take(MOST_READERS).collect(),
        };
        problems.iter().try_for_each(|problem| self.take(setting, problem, observer))
    }

    /// Refits the writers of these blocks' additions.
    fn writers<'b>(
        &mut self,
        setting: &Setting,
        mut blocks: impl Iterator<Item = &'b Block>,
        observer: &dyn Observer,
    ) -> Result<(), CompressError> {
        blocks.try_for_each(|block| match of_sum(&self.student.graph, block) {
            Some(problem) => self.take(setting, &problem, observer),
            None => Ok(()),
        })
    }

    fn take(&mut self, setting: &Setting, problem: &Problem, observer: &dyn Observer) -> Result<(), CompressError> {
        match refit(setting, &self.student, problem, &self.refitted, observer)? {
            Some((student, _)) => {
                self.student = student;
                self.refitted.push(problem.layer.output.clone());
            }
            None => self.undone += 1,
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
