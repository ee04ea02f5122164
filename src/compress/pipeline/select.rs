//! Step 3: which blocks go. In ascending score, until the measured student meets the target; single reductions do not
//! simply add up, so every assembled set is measured.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::compress::CompressError;
use crate::compress::block::Block;
use crate::compress::config::Target;
use crate::compress::distill::Forward;
use crate::compress::latency::{self, Basis, Reduction, Round};
use crate::compress::observer::{Observer, Phase};
use crate::compress::quality;
use crate::compress::report::{CurvePoint, Outcome};
use crate::compress::student::Student;

use super::bench::{TEACHER, reduction};
use super::yielding::Yielding;
use super::{Bench, BlockScore, Measured};

/// What the samples of a chosen student are called.
pub(super) const STUDENT: &str = "student";

/// Assembled sets measured in one child process.
const TOGETHER: usize = 8;

/// Which blocks go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Candidates with a score, lowest first.
    pub ranking: Vec<Ranked>,
    /// Names of the blocks that go, in the order of their scores.
    pub dropped: Vec<String>,
    /// Whether the measured set meets the target.
    pub outcome: Outcome,
    /// The sets on the way to it.
    pub curve: Vec<CurvePoint>,
    /// What was measured of the chosen set; `None` where nothing goes.
    pub samples: Option<latency::Samples>,
    /// Seconds it took.
    pub seconds: f64,
}

/// A candidate with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The block's name.
    pub block: String,
    /// Recoverability ÷ latency reduction.
    pub score: f64,
}

/// A set of blocks that was measured.
struct Candidate<'b> {
    blocks: Vec<&'b Block>,
    samples: latency::Samples,
    reduction: Reduction,
}

/// Ranks the candidates and drops as many as the target needs.
pub fn select(
    bench: &Bench,
    measured: &Measured,
    scores: &[BlockScore],
    observer: &dyn Observer,
) -> Result<Selection, CompressError> {
    let began = Instant::now();
    let ranking = rank(measured, scores);
    let blocks =
        without_overlaps(ranking.iter().map(|r| bench.network.block(&r.block)).collect::<Result<Vec<_>, _>>()?);
    let tried = assemble(bench, &blocks, observer)?;
    let met = tried.iter().position(|set| meets(bench.config.target, set));
    let chosen = met.map_or(tried.len(), |index| index + 1);
    let _beside_others = Yielding::new(observer)?;
    let curve = tried[..chosen].iter().map(|set| curve_point(bench, set)).collect::<Result<Vec<_>, _>>()?;
    let last = chosen.checked_sub(1).and_then(|index| tried.into_iter().nth(index));
    Ok(Selection {
        ranking,
        dropped: last.iter().flat_map(|set| &set.blocks).map(|block| block.name.clone()).collect(),
        outcome: if met.is_some() { Outcome::TargetMet } else { Outcome::TargetUnreachable },
        curve,
        samples: last.map(|set| set.samples),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Score = recoverability ÷ latency reduction, lowest first; blocks without measurable gain are left out.
fn rank(measured: &Measured, scores: &[BlockScore]) -> Vec<Ranked> {
    let score = |score: &BlockScore| {
        let single = measured.reductions.get(&score.block).filter(|single| single.measurable)?;
        let recoverability = score.recoverability.loss.deciding();
        Some(Ranked { block: score.block.clone(), score: recoverability / single.reduction.value })
    };
    let mut ranking: Vec<Ranked> = scores.iter().filter_map(score).collect();
    ranking.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.block.cmp(&b.block)));
    ranking
}

/// A block inside another one is gone with it; of two such, the one with the lower score counts.
fn without_overlaps(blocks: Vec<&Block>) -> Vec<&Block> {
    let inside = |inner: &Block, outer: &Block| outer.region.contains(&inner.sum);
    let mut kept: Vec<&Block> = Vec::new();
    for block in blocks {
        if !kept.iter().any(|other| inside(block, other) || inside(other, block)) {
            kept.push(block);
        }
    }
    kept
}

/// Measures the sets of the first 1, 2, … blocks until one meets the target; the last of them is the best there is.
fn assemble<'b>(
    bench: &Bench,
    blocks: &[&'b Block],
    observer: &dyn Observer,
) -> Result<Vec<Candidate<'b>>, CompressError> {
    let most = match bench.config.target {
        Target::Blocks(count) => count.min(blocks.len()),
        _ => blocks.len(),
    };
    let mut tried: Vec<Candidate> = Vec::new();
    while tried.len() < most && !tried.iter().any(|set| meets(bench.config.target, set)) {
        observer.progress(Phase::Select, tried.len() as u64, most as u64);
        let sizes: Vec<usize> = (tried.len() + 1..=most).take(TOGETHER).collect();
        let files = sizes.iter().map(|size| bench.plain_drop(&blocks[..*size])).collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<String> = sizes.iter().map(|size| format!("{size} dropped")).collect();
        let students: Vec<(&str, &[u8])> =
            labels.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
        let samples = bench.latency(&students, observer)?;
        for (size, label) in sizes.iter().zip(&labels) {
            let samples = pair(&samples, label);
            let reduction = reduction(&samples, STUDENT, bench.config.seed)?;
            tried.push(Candidate { blocks: blocks[..*size].to_vec(), samples, reduction });
        }
    }
    observer.progress(Phase::Select, most as u64, most as u64);
    Ok(tried)
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

fn meets(target: Target, set: &Candidate) -> bool {
    reaches(target, &set.samples, &set.reduction, set.blocks.len())
}

/// Whether a measured student with so many blocks dropped meets the target.
pub(super) fn reaches(target: Target, samples: &latency::Samples, reduction: &Reduction, dropped: usize) -> bool {
    match target {
        Target::Blocks(count) => dropped >= count,
        Target::LatencyReduction(wanted) => reduction.value >= wanted,
        Target::LatencyMs(most) => median_ms(samples) <= most,
    }
}

/// Median wall time of the student, milliseconds.
pub(super) fn median_ms(samples: &latency::Samples) -> f64 {
    samples.timing(STUDENT, Basis::Wall).map_or(f64::INFINITY, |timing| timing.median_ms)
}

fn curve_point(bench: &Bench, set: &Candidate) -> Result<CurvePoint, CompressError> {
    let setting = bench.setting()?;
    let student = Student::dropped(&bench.network, &set.blocks, bench.device)?;
    let forward = Forward::answers(&bench.network, &student)?;
    let answers = forward.all(&student.params, &bench.samples, bench.samples.deciding())?;
    let quality = quality::compare(&answers, setting.deciding())?;
    Ok(CurvePoint {
        blocks: set.blocks.len(),
        dropped: set.blocks.iter().map(|block| block.name.clone()).collect(),
        latency_reduction: set.reduction.into(),
        latency_ms: median_ms(&set.samples),
        feature_loss: quality.feature_loss,
        agreement: quality.agreement,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compress::config::RecoverabilityMethod;
    use crate::compress::pipeline::measure::SingleReduction;
    use crate::compress::report::{Figure, Loss, Recoverability};

    fn scored(block: &str, loss: f64) -> BlockScore {
        let loss = Loss { fit: 9.0, held_out: Some(loss) };
        let recoverability = Recoverability { loss, plain: loss, method: RecoverabilityMethod::Adapters };
        BlockScore { block: block.into(), recoverability, adapters: 1, teacher_forwards: 0, seconds: 0.0 }
    }

    fn gain(value: f64, measurable: bool) -> SingleReduction {
        SingleReduction { reduction: Figure { value, low: None, high: None }, measurable, basis: Basis::Cpu }
    }

    #[test]
    fn what_recovers_well_for_its_gain_goes_first_and_no_gain_never() {
        let reductions = [("a", gain(0.1, true)), ("b", gain(0.2, true)), ("c", gain(0.01, false))];
        let reductions: BTreeMap<_, _> = reductions.into_iter().map(|(name, gain)| (name.to_owned(), gain)).collect();
        let measured = Measured { reductions, seconds: 0.0 };
        let ranking = rank(&measured, &[scored("a", 0.15), scored("b", 0.2), scored("c", 0.0)]);
        let names: Vec<&str> = ranking.iter().map(|ranked| ranked.block.as_str()).collect();
        assert_eq!(names, ["b", "a"], "b loses more than a but gains twice as much");
        assert!((ranking[0].score - 1.0).abs() < 1e-12);
    }
}
