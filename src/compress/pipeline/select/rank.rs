//! Scores, and blocks whose scores are a tie.

use crate::compress::CompressError;
use crate::compress::pipeline::Bench;
use crate::network::blocks::Block;
use crate::spec::config::{JobConfig, LARGE};
use crate::spec::report::{Figure, ImageSource};
use crate::spec::task::{BlockScore, Measured, Ranked};

/// Scores within this factor of each other, beyond their noise, are a tie, and so are gains: what a score says before any
/// training is not better than that.
pub(super) const TIE: f64 = 1.2;

/// The same of scores on pictures that a program has drawn, or on mixtures with them: they are of other images than those
/// that the student is for, and the many steps that follow mend more of the damage the nearer it is to the input.
const TIE_OF_MADE: f64 = 1.5;

/// What makes a tie of the scores of this job. On large images few steps follow, and scores are close to what they leave.
pub(super) fn tie(bench: &Bench) -> f64 {
    let made = bench.rung != ImageSource::Given;
    if made && bench.samples.pixels() <= LARGE { TIE_OF_MADE } else { TIE }
}

/// Which loss blocks are ranked by: the one that the student will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// What is left after recovery.
    Recovered,
    /// What the plain drop has: nothing is refitted or trained.
    Plain,
}

impl By {
    /// As the job recovers its student, or not.
    pub(super) fn of(config: &JobConfig) -> Self {
        if config.finetune.0.is_some() { Self::Recovered } else { Self::Plain }
    }
}

/// Score = loss ÷ latency reduction, lowest first; blocks without measurable gain are left out.
pub(super) fn rank(measured: &Measured, scores: &[BlockScore], by: By) -> Vec<Ranked> {
    let score = |score: &BlockScore| {
        let single = measured.reductions.get(&score.block).filter(|single| single.measurable)?;
        let loss = match by {
            By::Recovered => &score.recoverability.loss,
            By::Plain => &score.recoverability.plain,
        };
        let of_loss = loss.interval.map_or(0.0, |interval| half_width(interval.low, interval.high, loss.deciding()));
        let noise = of_loss.hypot(noise_of(&single.reduction));
        Some(Ranked { block: score.block.clone(), score: loss.deciding() / single.reduction.value, noise })
    };
    let mut ranking: Vec<Ranked> = scores.iter().filter_map(score).collect();
    ranking.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.block.cmp(&b.block)));
    ranking
}

/// Half the width of a figure's 95 % interval, as a share of it.
pub(super) fn noise_of(figure: &Figure) -> f64 {
    figure.low.zip(figure.high).map_or(0.0, |(low, high)| half_width(low, high, figure.value))
}

fn half_width(low: f64, high: f64, value: f64) -> f64 {
    if value > 0.0 { (high - low) / 2.0 / value } else { 0.0 }
}

/// The blocks of a ranking that can go together. A block inside another one is gone with it; of two such, the one with the
/// lower score counts.
pub(super) fn without_overlaps<'b, 'r>(
    bench: &'b Bench,
    ranking: &'r [Ranked],
) -> Result<Vec<(&'b Block, &'r Ranked)>, CompressError> {
    let mut kept: Vec<(&Block, &Ranked)> = Vec::new();
    for ranked in ranking {
        let block = bench.network.block(&ranked.block)?;
        if !kept.iter().any(|(other, _)| overlap(block, other)) {
            kept.push((block, ranked));
        }
    }
    Ok(kept)
}

/// Whether one block is inside the other, or they are one and the same.
pub(super) fn overlap(a: &Block, b: &Block) -> bool {
    let inside = |inner: &Block, outer: &Block| {
        inner.places().any(|inner| outer.places().any(|outer| outer.region.contains(&inner.sum)))
    };
    a.name == b.name || inside(a, b) || inside(b, a)
}

/// What is known of a candidate ahead of any training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) score: Uncertain,
    /// Its own latency reduction.
    pub(super) gain: Uncertain,
    /// Its place in the network.
    pub(super) depth: Option<usize>,
}

/// A positive value with half the width of its 95 % interval, as a share of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uncertain {
    pub(super) value: f64,
    pub(super) noise: f64,
}

impl Uncertain {
    /// Whether neither can be said to be larger, `tie` being the factor that says nothing.
    fn level(self, other: Self, tie: f64) -> bool {
        self.value == other.value || (self.value / other.value).ln().abs() <= tie.ln() + self.noise.hypot(other.noise)
    }
}

/// Indices of `count` blocks that are level with the `count` lowest scores, in the order of their scores; `None` where that
/// is no other set. Of level blocks those go whose own gain is level with the largest and that stand nearest to the input:
/// scores are taken before any training, and the longer the rest of the network is, the more of the damage training mends.
///
/// Scores ascend; `tie` is that of scores.
pub(super) fn tied(candidates: &[Candidate], count: usize, tie: f64) -> Option<Vec<usize>> {
    let last = candidates.get(count.checked_sub(1)?)?.score;
    let level = |index: &usize| candidates[*index].score.level(last, tie);
    let mut group: Vec<usize> = (0..candidates.len()).filter(level).collect();
    let mut chosen: Vec<usize> = (0..count).filter(|index| !level(index)).collect();
    let gains = group.iter().map(|index| candidates[*index].gain);
    let most = gains.max_by(|a, b| a.value.total_cmp(&b.value))?;
    group.sort_by_key(|index| (!candidates[*index].gain.level(most, TIE), candidates[*index].depth));
    chosen.extend(group.into_iter().take(count - chosen.len()));
    chosen.sort_unstable();
    (chosen.last() != Some(&(count - 1))).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spec::config::{Finetuning, RecoverabilityMethod};
    use crate::spec::latency::Basis;
    use crate::spec::report::{Interval, Loss, Recoverability};
    use crate::spec::task::SingleReduction;

    fn scored(block: &str, loss: f64) -> BlockScore {
        let of = |loss| Loss { fit: 9.0, held_out: Some(loss), interval: None, share: None };
        // What recovers best is what is missed most at first.
        let recoverability =
            Recoverability { loss: of(loss), plain: of(1.0 - loss), method: RecoverabilityMethod::Adapters };
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
        let ranking = rank(&measured, &[scored("a", 0.15), scored("b", 0.2), scored("c", 0.0)], By::Recovered);
        let names: Vec<&str> = ranking.iter().map(|ranked| ranked.block.as_str()).collect();
        assert_eq!(names, ["b", "a"], "b loses more than a but gains twice as much");
        assert!((ranking[0].score - 1.0).abs() < 1e-12);
    }

    #[test]
    fn where_nothing_recovers_blocks_are_ranked_by_the_plain_drop() {
        let reductions = ["a", "b"].map(|name| (name.to_owned(), gain(0.1, true)));
        let measured = Measured { reductions: reductions.into_iter().collect(), seconds: 0.0 };
        let scores = [scored("a", 0.1), scored("b", 0.3)];
        let first = |config: &JobConfig| rank(&measured, &scores, By::of(config))[0].clone();
        let (trained, plain) = (JobConfig::default(), JobConfig { finetune: Finetuning(None), ..JobConfig::default() });
        assert_eq!(first(&trained).block, "a");
        assert_eq!(first(&plain).block, "b");
        assert!((first(&plain).score - 7.0).abs() < 1e-9, "0.7 is left of it");
    }

    #[test]
    fn of_level_blocks_with_level_gains_the_first_in_the_network_are_the_other_set() {
        let other = |gains: [f64; 5], count| tied(&candidates([1.0, 2.0, 2.1, 2.3, 9.0], 0.0, gains), count, TIE);
        assert_eq!(other([0.1; 5], 2), Some(vec![0, 3]), "2.3 is level with 2.0, 9.0 is not");
        assert_eq!(other([0.1; 5], 3), Some(vec![0, 2, 3]));
        assert_eq!(other([0.1, 0.1, 0.12, 0.05, 0.1], 2), Some(vec![0, 2]), "half of a gain is not level");
        assert_eq!(other([0.1, 0.4, 0.1, 0.3, 0.9], 2), None, "the lowest scores gain far more");
        assert_eq!(other([0.1; 5], 1), None, "nothing is level with 1.0");
        assert_eq!((other([0.1; 5], 5), other([0.1; 5], 0), tied(&[], 1, TIE)), (None, None, None));
    }

    #[test]
    fn scores_within_their_noise_are_level() {
        let scores = [1.0, 1.3, 3.0, 9.0, 9.0];
        let other = |noise| tied(&candidates(scores, noise, [0.1; 5]), 1, TIE);
        assert_eq!(other(0.0), None);
        assert_eq!(other(0.1), Some(vec![1]), "1.3 may well be lower than 1.0");
        assert_eq!(other(0.7), Some(vec![2]), "and so may 3.0 where so little is known");
        let of_made = tied(&candidates(scores, 0.0, [0.1; 5]), 1, TIE_OF_MADE);
        assert_eq!(of_made, Some(vec![1]), "without any noise, where the images are made");
    }

    #[test]
    fn the_noise_of_a_score_is_that_of_both_its_parts() {
        let interval = Some(Interval { low: 0.08, high: 0.12 });
        let mut score = scored("a", 0.1);
        score.recoverability.loss.interval = interval;
        let mut single = gain(0.2, true);
        single.reduction = Figure { value: 0.2, low: Some(0.17), high: Some(0.23) };
        let measured = Measured { reductions: BTreeMap::from([("a".to_owned(), single)]), seconds: 0.0 };
        let noise = rank(&measured, &[score], By::Recovered)[0].noise;
        assert!((noise - 0.25).abs() < 1e-12, "20 % and 15 % are 25 % together: {noise}");
    }

    fn candidates(scores: [f64; 5], noise: f64, gains: [f64; 5]) -> Vec<Candidate> {
        let all = scores.into_iter().zip(gains).zip([9, 7, 5, 3, 1]);
        let candidate = |((score, gain), depth): ((f64, f64), usize)| Candidate {
            score: Uncertain { value: score, noise },
            gain: Uncertain { value: gain, noise: 0.0 },
            depth: Some(depth),
        };
        all.map(candidate).collect()
    }
}
