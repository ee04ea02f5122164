//! Scores, and blocks whose scores are a tie.

use serde::{Deserialize, Serialize};

use crate::compress::CompressError;
use crate::compress::block::Block;
use crate::compress::pipeline::{Bench, BlockScore, Measured};

/// Scores within this factor of each other are a tie, and so are gains: neither is known much better.
pub(super) const TIE: f64 = 1.2;

/// A candidate with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The block's name.
    pub block: String,
    /// Recoverability ÷ latency reduction.
    pub score: f64,
}

/// Score = recoverability ÷ latency reduction, lowest first; blocks without measurable gain are left out.
pub(super) fn rank(measured: &Measured, scores: &[BlockScore]) -> Vec<Ranked> {
    let score = |score: &BlockScore| {
        let single = measured.reductions.get(&score.block).filter(|single| single.measurable)?;
        let recoverability = score.recoverability.loss.deciding();
        Some(Ranked { block: score.block.clone(), score: recoverability / single.reduction.value })
    };
    let mut ranking: Vec<Ranked> = scores.iter().filter_map(score).collect();
    ranking.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.block.cmp(&b.block)));
    ranking
}

/// The blocks of a ranking that can go together. A block inside another one is gone with it; of two such, the one with the
/// lower score counts.
pub(super) fn without_overlaps<'b>(
    bench: &'b Bench,
    ranking: &[Ranked],
) -> Result<Vec<(&'b Block, f64)>, CompressError> {
    let mut kept: Vec<(&Block, f64)> = Vec::new();
    for Ranked { block, score } in ranking {
        let block = bench.network.block(block)?;
        if !kept.iter().any(|(other, _)| overlap(block, other)) {
            kept.push((block, *score));
        }
    }
    Ok(kept)
}

/// Whether one block is inside the other.
pub(super) fn overlap(a: &Block, b: &Block) -> bool {
    let inside = |inner: &Block, outer: &Block| outer.region.contains(&inner.sum);
    inside(a, b) || inside(b, a)
}

/// Indices of `count` blocks that are level with the `count` lowest scores, in the order of their scores; `None` where that
/// is no other set. Of level blocks those go whose own gain is level with the largest and that stand nearest to the input:
/// scores are taken before any training, and the longer the rest of the network is, the more of the damage training mends.
///
/// `scores` ascends, `gains` are the blocks' own reductions, `depths` their places in the network.
pub(super) fn tied(scores: &[f64], gains: &[f64], depths: &[Option<usize>], count: usize) -> Option<Vec<usize>> {
    let last = *scores.get(count.checked_sub(1)?)?;
    let level = |index: &usize| scores[*index] <= last * TIE && scores[*index] * TIE >= last;
    let mut group: Vec<usize> = (0..scores.len()).filter(level).collect();
    let mut chosen: Vec<usize> = (0..count).filter(|index| !level(index)).collect();
    let most = group.iter().map(|index| gains[*index]).fold(0.0, f64::max);
    group.sort_by_key(|index| (gains[*index] * TIE < most, depths[*index]));
    chosen.extend(group.into_iter().take(count - chosen.len()));
    chosen.sort_unstable();
    (chosen.last() != Some(&(count - 1))).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compress::config::RecoverabilityMethod;
    use crate::compress::latency::Basis;
    use crate::compress::pipeline::measure::SingleReduction;
    use crate::compress::report::{Figure, Loss, Recoverability};

    fn scored(block: &str, loss: f64) -> BlockScore {
        let loss = Loss { fit: 9.0, held_out: Some(loss), interval: None };
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

    #[test]
    fn of_level_blocks_with_level_gains_the_first_in_the_network_are_the_other_set() {
        let scores = [1.0, 2.0, 2.1, 2.3, 9.0];
        let depths = [9, 7, 5, 3, 1].map(Some);
        let other = |gains: [f64; 5], count| tied(&scores, &gains, &depths, count);
        assert_eq!(other([0.1; 5], 2), Some(vec![0, 3]), "2.3 is level with 2.0, 9.0 is not");
        assert_eq!(other([0.1; 5], 3), Some(vec![0, 2, 3]));
        assert_eq!(other([0.1, 0.1, 0.12, 0.05, 0.1], 2), Some(vec![0, 2]), "half of a gain is not level");
        assert_eq!(other([0.1, 0.4, 0.1, 0.3, 0.9], 2), None, "the lowest scores gain far more");
        assert_eq!(other([0.1; 5], 1), None, "nothing is level with 1.0");
        assert_eq!((other([0.1; 5], 5), other([0.1; 5], 0), tied(&[], &[], &[], 1)), (None, None, None));
    }
}
