//! Step 3: which blocks go. In ascending score, until the measured student meets the target; single reductions do not
//! simply add up, so every assembled set is measured.
//!
//! * [`rank`]: scores, and blocks whose scores are a tie
//! * [`assembled`]: sets of blocks with their measured latency
//! * [`one_shot`], [`iterative`]: the two ways to walk from the teacher to the target

mod assembled;
mod iterative;
mod one_shot;
mod rank;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Bench;
use super::yielding_observer::YieldingObserver;
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::latency;
use crate::spec::config::SelectionMode;
use crate::spec::report::{CurvePoint, Outcome};
use crate::spec::task::{BlockScore, Chosen, Measured, Ranked};

use assembled::{Assembled, curve_point};
pub(super) use assembled::{STUDENT, median_ms, reaches};

/// Which blocks go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Ranking and blocks that go.
    #[serde(flatten)]
    pub chosen: Chosen,
    /// Whether the measured set meets the target.
    pub outcome: Outcome,
    /// One set for each number of blocks: on the way to the target and, where ranked once, beyond it.
    pub curve: Vec<CurvePoint>,
    /// Sets whose scores were level with the chosen one's and which stand nearer to the output or gain clearly less.
    #[serde(default)]
    pub ties: Vec<CurvePoint>,
    /// What was measured of the chosen set; `None` where nothing goes.
    pub samples: Option<latency::Samples>,
    /// Sets with fewer blocks, the largest first, to go back to where the quality asked for is not met.
    #[serde(default)]
    pub smaller: Vec<Smaller>,
    /// Seconds it took.
    pub seconds: f64,
}

/// A set with fewer blocks than the chosen one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Smaller {
    /// Names of its blocks, in the order of their scores.
    pub dropped: Vec<String>,
    /// What was measured of it.
    pub samples: latency::Samples,
}

/// The sets that a way of choosing has come by.
struct Path<'b> {
    ranking: Vec<Ranked>,
    /// With 1, 2, … blocks.
    sets: Vec<Assembled<'b>>,
    /// Index of the set that meets the target.
    met: Option<usize>,
    /// Sets that were level with the one chosen.
    ties: Vec<Assembled<'b>>,
}

/// Chooses as the job wishes: as few blocks as meet the target, or all that may go.
pub fn select(
    bench: &Bench,
    measured: &Measured,
    scores: &[BlockScore],
    observer: &dyn Observer,
) -> Result<Selection, CompressError> {
    let began = Instant::now();
    let Path { ranking, sets, met, ties } = match bench.config.selection {
        SelectionMode::OneShot => one_shot::path(bench, measured, scores, observer)?,
        SelectionMode::Iterative => iterative::path(bench, measured, scores, observer)?,
    };
    let chosen = met.or(sets.len().checked_sub(1));
    let _beside_others = YieldingObserver::new(observer)?;
    let points = |sets: &[Assembled]| {
        let point = |set| bench.fitting(observer, || curve_point(bench, set));
        sets.iter().map(point).collect::<Result<Vec<_>, _>>()
    };
    let (curve, ties) = (points(&sets)?, points(&ties)?);
    Ok(Selection {
        chosen: Chosen { ranking, dropped: chosen.map(|index| sets[index].names()).unwrap_or_default() },
        outcome: if met.is_some() { Outcome::TargetMet } else { Outcome::TargetUnreachable },
        curve,
        ties,
        smaller: smaller(bench, &sets[..chosen.unwrap_or(0)]),
        samples: chosen.and_then(|index| sets.into_iter().nth(index)).map(|set| set.samples),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Kept only where a quality is asked for: what was measured takes room.
fn smaller(bench: &Bench, sets: &[Assembled]) -> Vec<Smaller> {
    match bench.config.quality_floor {
        None => Vec::new(),
        Some(_) => {
            let keep = |set: &Assembled| Smaller { dropped: set.names(), samples: set.samples.clone() };
            sets.iter().rev().map(keep).collect()
        }
    }
}

impl Selection {
    /// The selection with another set, one of [`Selection::smaller`] or none at all, in the place of the chosen one.
    #[must_use]
    pub fn with(&self, dropped: &[String]) -> Self {
        if self.chosen.dropped == dropped {
            return self.clone();
        }
        let kept = self.smaller.iter().find(|set| set.dropped == dropped);
        let chosen = Chosen { dropped: dropped.to_vec(), ..self.chosen.clone() };
        Self { chosen, samples: kept.map(|set| set.samples.clone()), ..self.clone() }
    }
}
