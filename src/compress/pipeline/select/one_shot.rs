//! Rank once (the paper's way): the sets of the first 1, 2, … blocks, until one meets the target. Where a set's last block is
//! tied with others, the level set nearest to the input is measured beside it, and wins unless it gains clearly less.

use super::Path;
use super::assembled::{Assembled, curve_point, measured as measured_sets};
use super::rank::{By, Candidate, TIE, Uncertain, noise_of, rank, tie, tied, without_overlaps};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::pipeline::Bench;
use crate::compress::pipeline::workbench::Occasion;
use crate::network::blocks::Block;
use crate::spec::config::Target;
use crate::spec::phase::Phase;
use crate::spec::task::{BlockScore, Measured, Ranked};

/// Sets that are measured at once on the way to the target.
const AT_ONCE: usize = 4;

pub(super) fn path<'b>(
    bench: &'b Bench,
    measured: &Measured,
    scores: &[BlockScore],
    observer: &dyn Observer,
) -> Result<Path<'b>, CompressError> {
    let by = By::of(&bench.config);
    let ranking = rank(measured, scores, by);
    let ranked = without_overlaps(bench, &ranking)?;
    let blocks: Vec<&Block> = ranked.iter().map(|(block, _)| *block).collect();
    let first = |count: usize| blocks[..count].to_vec();
    let target = bench.config.target;
    let most = blocks.len();
    let mut sets: Vec<Assembled> = Vec::new();
    // A number of blocks is met by that set alone; a latency by the first one that is fast enough.
    let mut next = if let Target::Blocks(count) = target { count.min(most) } else { AT_ONCE.min(most) };
    while sets.len() < next {
        observer.progress(Phase::Select, sets.len() as u64, most as u64);
        let sizes: Vec<Vec<&Block>> = (sets.len() + 1..=next).map(first).collect();
        sets.extend(measured_sets(bench, &sizes, Occasion::Full, observer)?);
        if !sets.iter().any(|set| set.meets(target)) {
            next = (sets.len() + AT_ONCE).min(most);
        }
    }
    let mut met = sets.iter().position(|set| set.meets(target));
    let ties = match met {
        Some(index) => {
            let candidates: Vec<Candidate> = ranked.iter().map(|of| candidate(bench, measured, of)).collect();
            let tie = tie(bench);
            let other = |count: usize| Some(tied(&candidates, count, tie)?.into_iter().map(|i| blocks[i]).collect());
            let (at, ties) = settle(bench, &mut sets, index, other, observer)?;
            met = Some(at);
            ties
        }
        None => Vec::new(),
    };
    let beyond: Vec<Vec<&Block>> = (sets.len() + 1..=most).map(first).collect();
    sets.extend(measured_sets(bench, &beyond, Occasion::Short, observer)?);
    observer.progress(Phase::Select, most as u64, most as u64);
    Ok(Path { ranking, sets, met, ties })
}

fn plain_loss(bench: &Bench, set: &Assembled, observer: &dyn Observer) -> Result<f64, CompressError> {
    Ok(bench.fitting(observer, || curve_point(bench, set))?.feature_loss)
}

fn candidate(bench: &Bench, measured: &Measured, (block, ranked): &(&Block, &Ranked)) -> Candidate {
    let gain = &measured.reductions[&block.name].reduction;
    Candidate {
        score: Uncertain { value: ranked.score, noise: ranked.noise },
        gain: Uncertain { value: gain.value, noise: noise_of(gain) },
        depth: bench.network.depth(block),
    }
}

/// Measures the level sets of the size that meets the target and of one block less. The smaller one is taken where it meets
/// the target too, then the one nearer to the input unless it gains clearly less. If nothing recovers afterwards, its plain drop has
/// to be the better one, too. Gives the index of the set that is taken, and the ties.
fn settle<'b>(
    bench: &Bench,
    sets: &mut [Assembled<'b>],
    index: usize,
    other: impl Fn(usize) -> Option<Vec<&'b Block>>,
    observer: &dyn Observer,
) -> Result<(usize, Vec<Assembled<'b>>), CompressError> {
    let target = bench.config.target;
    let counts = match target {
        Target::Blocks(_) => index + 1..=index + 1,
        _ => index.max(1)..=index + 1,
    };
    let level: Vec<Vec<&Block>> = counts.filter_map(other).collect();
    let mut ties = Vec::new();
    let mut taken = index;
    for mut set in measured_sets(bench, &level, Occasion::Full, observer)? {
        let at = set.blocks.len() - 1;
        // A set smaller than the one taken has only to meet the target; one of its size has to gain about as much.
        let better = set.meets(target) && (at < taken || set.reduction.value * TIE >= sets[at].reduction.value);
        let loses_less = || match By::of(&bench.config) {
            By::Recovered => Ok::<_, CompressError>(true),
            By::Plain => Ok(plain_loss(bench, &set, observer)? < plain_loss(bench, &sets[taken], observer)?),
        };
        if better && at <= taken && loses_less()? {
            std::mem::swap(&mut sets[at], &mut set);
            taken = at;
        }
        ties.push(set);
    }
    Ok((taken, ties))
}
