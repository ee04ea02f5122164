//! Sets of blocks, dropped together and measured.

use crate::compress::observer::Observer;
use crate::compress::pipeline::Bench;
use crate::compress::pipeline::workbench::{Occasion, TEACHER, reduction};
use crate::compress::student::Student;
use crate::compress::student::forward::Forward;
use crate::compress::{CompressError, quality};
use crate::latency::{self, Round};
use crate::network::blocks::Block;
use crate::spec::config::Target;
use crate::spec::latency::{Basis, Reduction};
use crate::spec::report::CurvePoint;

/// What the samples of a chosen student are called.
pub(in crate::compress::pipeline) const STUDENT: &str = "student";

/// Sets measured in one child process.
const TOGETHER: usize = 8;

/// A set of blocks that was measured.
pub(super) struct Assembled<'b> {
    pub(super) blocks: Vec<&'b Block>,
    pub(super) samples: latency::Samples,
    pub(super) reduction: Reduction,
}

impl Assembled<'_> {
    pub(super) fn names(&self) -> Vec<String> {
        self.blocks.iter().map(|block| block.name.clone()).collect()
    }

    pub(super) fn meets(&self, target: Target) -> bool {
        reaches(target, &self.samples, &self.reduction, self.blocks.len())
    }
}

/// Measures sets of blocks beside the teacher.
pub(super) fn measured<'b>(
    bench: &Bench,
    sets: &[Vec<&'b Block>],
    occasion: Occasion,
    observer: &dyn Observer,
) -> Result<Vec<Assembled<'b>>, CompressError> {
    let mut all = Vec::with_capacity(sets.len());
    for chunk in sets.chunks(TOGETHER) {
        let files = chunk.iter().map(|blocks| bench.plain_drop(blocks)).collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<String> = (0..chunk.len()).map(|index| format!("set {index}")).collect();
        let students: Vec<(&str, &[u8])> =
            labels.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
        let samples = bench.latency_on(occasion, &students, observer)?;
        for (blocks, label) in chunk.iter().zip(&labels) {
            let samples = pair(&samples, label);
            let reduction = reduction(&samples, STUDENT, bench.config.seed)?;
            all.push(Assembled { blocks: blocks.clone(), samples, reduction });
        }
    }
    Ok(all)
}

/// The samples of the teacher and of one student, which is called [`STUDENT`] from now on.
fn pair(samples: &latency::Samples, label: &str) -> latency::Samples {
    let series = |round: &Round| {
        let mut student = round.get(label)?.clone();
        student.label = STUDENT.into();
        Some(Round { series: vec![round.get(TEACHER)?.clone(), student] })
    };
    latency::Samples { rounds: samples.rounds.iter().filter_map(series).collect(), ..samples.clone() }
}

/// Whether a measured student with so many blocks dropped meets the target.
pub(in crate::compress::pipeline) fn reaches(
    target: Target,
    samples: &latency::Samples,
    reduction: &Reduction,
    dropped: usize,
) -> bool {
    match target {
        Target::Blocks(count) => dropped >= count,
        Target::LatencyReduction(wanted) => reduction.value >= wanted,
        Target::LatencyMs(most) => median_ms(samples) <= most,
    }
}

/// Median wall time of the student, milliseconds.
pub(in crate::compress::pipeline) fn median_ms(samples: &latency::Samples) -> f64 {
    samples.timing(STUDENT, Basis::Wall).map_or(f64::INFINITY, |timing| timing.median_ms)
}

/// A set with its quality before any recovery.
pub(super) fn curve_point(bench: &Bench, set: &Assembled) -> Result<CurvePoint, CompressError> {
    let setting = bench.setting()?;
    let student = Student::dropped(&bench.network, &set.blocks, bench.device)?;
    let forward = Forward::answers(&bench.network, &student)?;
    let answers = forward.all(&student.params, &bench.samples, bench.samples.deciding())?;
    let quality = quality::compare(&answers, setting.deciding(), bench.classes()?.is_some())?;
    Ok(CurvePoint {
        blocks: set.blocks.len(),
        dropped: set.names(),
        latency_reduction: set.reduction.into(),
        latency_ms: median_ms(&set.samples),
        feature_loss: quality.feature_loss,
        feature_share: quality.feature_share,
        agreement: quality.agreement,
    })
}
