//! Step 4: feature distillation of the chosen student, and the files of both ends of it.

use std::time::Instant;

use super::results::FinetuneSummary;
use super::warnings::alive;
use super::yielding_observer::YieldingObserver;
use super::{Bench, Selection, Students};
use crate::compress::observer::Observer;
use crate::compress::quality;
use crate::compress::quality::relative::{self, OutputErrors};
use crate::compress::recipes::{by_paper, by_practised};
use crate::compress::student::Student;
use crate::compress::student::forward::{Answers, Forward};
use crate::compress::train::checkpoint::Checkpoints;
use crate::compress::{CompressError, file};
use crate::exec::memory;
use crate::network::blocks::Block;
use crate::spec::config::Recipe;
use crate::spec::phase::Phase;
use crate::spec::report::{Figure, GivenUp, OutputQuality, Top1};

/// Images on which the exported file and the student in memory are compared.
const COMPARED: usize = 8;

/// A student after fine-tuning.
pub struct Finetuned {
    /// What is reported.
    pub summary: FinetuneSummary,
    /// The student, as ONNX.
    pub student: Vec<u8>,
    /// The student as dropped, as ONNX.
    pub before_finetune: Vec<u8>,
    /// The refitted student before any training, as ONNX; `None` if nothing was refitted.
    pub refit: Option<Vec<u8>>,
}

impl Finetuned {
    /// The files alone.
    pub fn students(&self) -> Students<'_> {
        let Self { student, before_finetune, refit, .. } = self;
        Students { student, before_finetune, refit: refit.as_deref() }
    }
}

/// Recovers the chosen student as the job wishes, and writes it out. Where a quality is asked for and not reached, the set
/// with one block less is recovered instead, down to the teacher itself.
///
/// What the observer has kept of an earlier attempt is gone on from: the result is the same.
pub fn finetune(bench: &Bench, selection: &Selection, observer: &dyn Observer) -> Result<Finetuned, CompressError> {
    let began = Instant::now();
    let observer = &YieldingObserver::new(observer)?;
    // Nothing is scored any more, and the room is needed.
    bench.frontier.take();
    let mut tuned = bench.fitting(observer, || good_enough(bench, selection, observer))?;
    alive::check(bench, &tuned.summary)?;
    tuned.summary.seconds = began.elapsed().as_secs_f64();
    Ok(tuned)
}

fn good_enough(bench: &Bench, selection: &Selection, observer: &dyn Observer) -> Result<Finetuned, CompressError> {
    let mut checkpoints = Checkpoints::resume(observer);
    loop {
        let set = nth_set(selection, checkpoints.course().given_up.len());
        let mut tuned = recover(bench, set, &checkpoints, observer)?;
        if let Some(agreement) = below_floor(bench, &tuned.summary) {
            checkpoints.give_up(GivenUp { dropped: tuned.summary.dropped, agreement }, tuned.summary.teacher_forwards);
            continue;
        }
        let course = checkpoints.course().clone();
        tuned.summary.given_up = course.given_up;
        tuned.summary.teacher_forwards += course.teacher_forwards;
        return Ok(tuned);
    }
}

/// The chosen set, then the smaller ones, then none at all.
fn nth_set(selection: &Selection, given_up: usize) -> &[String] {
    match given_up.checked_sub(1) {
        None => &selection.chosen.dropped,
        Some(smaller) => selection.smaller.get(smaller).map_or(&[], |set| &set.dropped),
    }
}

/// The agreement of a student that is not as good as the job asks for; `None` where it is, where nothing is asked for, where
/// nothing was dropped, and where the output is not classes.
fn below_floor(bench: &Bench, summary: &FinetuneSummary) -> Option<Figure> {
    let floor = bench.config.quality_floor?;
    let agreement = summary.after.agreement?;
    (!summary.dropped.is_empty() && agreement.value < floor.agreement).then_some(agreement)
}

/// Recovers the student without these blocks. The file is compared with the student in memory.
fn recover(
    bench: &Bench,
    dropped: &[String],
    checkpoints: &Checkpoints,
    observer: &dyn Observer,
) -> Result<Finetuned, CompressError> {
    let began = Instant::now();
    let blocks = dropped.iter().map(|name| bench.network.block(name)).collect::<Result<Vec<_>, _>>()?;
    let start = Student::dropped(&bench.network, &blocks, bench.device)?;
    let recovered = match &bench.config.finetune.0 {
        Some(config) if !blocks.is_empty() => Some(match config.recipe {
            Recipe::Practised => {
                let setting = bench.mixed_setting(observer)?;
                by_practised(&setting, &start, &blocks, config, checkpoints)?
            }
            Recipe::Paper => by_paper(&bench.setting()?, &start, config, checkpoints)?,
        }),
        _ => None,
    };
    let student = recovered.as_ref().map_or(&start, |recovered| &recovered.student);
    let refitted = recovered.as_ref().and_then(|recovered| recovered.refitted.as_ref());
    let files = Files::write(bench, &blocks, &start, student, refitted)?;
    observer.progress(Phase::Export, 1, 1);
    let measured = recovered.as_ref().map_or(&start, |recovered| recovered.measured());
    let (before, after) = (answers(bench, &start)?, answers(bench, measured)?);
    let setting = bench.setting()?;
    let teacher = setting.deciding();
    let classes = bench.classes()?.is_some();
    let compare = |answers: &Answers| quality::compare(answers, teacher, classes);
    Ok(Finetuned {
        summary: FinetuneSummary {
            dropped: dropped.to_vec(),
            given_up: Vec::new(),
            before: compare(&before)?,
            after: compare(&after)?,
            refit: refitted.map(|refitted| compare(&answers(bench, refitted)?)).transpose()?,
            outputs: outputs(bench, &start, refitted, measured)?,
            top1: if classes { top1(bench, teacher, &before, &after)? } else { None },
            export_difference: files.difference,
            teacher_forwards: recovered.as_ref().map_or(0, |recovered| recovered.teacher_forwards),
            report: recovered.map(|recovered| recovered.report),
            seconds: began.elapsed().as_secs_f64(),
        },
        student: files.student,
        before_finetune: files.before,
        refit: files.refit,
    })
}

struct Files {
    student: Vec<u8>,
    before: Vec<u8>,
    refit: Option<Vec<u8>>,
    difference: f64,
}

impl Files {
    fn write(
        bench: &Bench,
        blocks: &[&Block],
        start: &Student,
        student: &Student,
        refitted: Option<&Student>,
    ) -> Result<Self, CompressError> {
        let network = &bench.network;
        let metadata = |recovery: &str| {
            let dropped: Vec<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
            let pairs = [
                ("version", env!("CARGO_PKG_VERSION")),
                ("dropped_blocks", &dropped.join(" ")),
                ("recovery", recovery),
            ];
            pairs.map(|(key, value)| (format!("practised.{key}"), value.to_owned())).to_vec()
        };
        let before = file::to_onnx(network, blocks, start, &metadata("none"))?;
        let as_stored = |student| file::as_stored(network, student);
        let refit = refitted.map(|refitted| {
            let stored = as_stored(refitted)?;
            file::to_onnx(network, blocks, stored.as_ref().unwrap_or(refitted), &metadata("refit"))
        });
        let stored = as_stored(student)?;
        let student = stored.as_ref().unwrap_or(student);
        let file = file::to_onnx(network, blocks, student, &metadata("feature distillation"))?;
        let few = &bench.samples.deciding()[..bench.samples.deciding().len().min(memory::part_of(COMPARED))];
        let images = bench.samples.select(few)?;
        let reference = file::outputs(network, student, &images)?;
        let difference = file::verify(network, &file, &images, Some(&reference), bench.device)?;
        Ok(Self { student: file, before, refit: refit.transpose()?, difference })
    }
}

fn answers(bench: &Bench, student: &Student) -> Result<Answers, CompressError> {
    Forward::answers(&bench.network, student)?.all(&student.params, &bench.samples, bench.samples.deciding())
}

/// Every output of the student as dropped, as refitted and as delivered.
fn outputs(
    bench: &Bench,
    start: &Student,
    refitted: Option<&Student>,
    student: &Student,
) -> Result<Vec<OutputQuality>, CompressError> {
    let students: Vec<&Student> = [start, student].into_iter().chain(refitted).collect();
    let of = relative::of_outputs(&bench.network, &bench.teacher, &students, &bench.samples, bench.samples.deciding())?;
    let quality = |output: OutputErrors| OutputQuality {
        error_before_finetune: output.share(0),
        error: output.share(1),
        error_refit: output.share(2),
        correlation: output.share(1).map(|_| output.correlations[1]),
        constant: output.constant,
        name: output.name,
    };
    Ok(of.into_iter().map(quality).collect())
}

fn top1(bench: &Bench, teacher: &Answers, before: &Answers, after: &Answers) -> Result<Option<Top1>, CompressError> {
    let labels: Vec<Option<u32>> = bench.samples.deciding().iter().map(|index| bench.labels[*index as usize]).collect();
    let share = |answers: &Answers| quality::top1(&answers.output, &labels);
    let figures = share(teacher)?.zip(share(after)?);
    let before = share(before)?;
    Ok(figures.map(|(teacher, student)| Top1 { teacher, before_finetune: before, student }))
}
