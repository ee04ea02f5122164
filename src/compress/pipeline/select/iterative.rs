//! Score anew after each drop, against the network as it is by then.

use super::Path;
use super::assembled::{Assembled, measured as measured_sets};
use super::rank::{By, overlap, rank, without_overlaps};
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::pipeline::Bench;
use crate::compress::pipeline::score::score_without;
use crate::compress::pipeline::workbench::Occasion;
use crate::network::blocks::Block;
use crate::spec::config::Target;
use crate::spec::phase::Phase;
use crate::spec::task::{BlockScore, Measured};

pub(super) fn path<'b>(
    bench: &'b Bench,
    measured: &Measured,
    scores: &[BlockScore],
    observer: &dyn Observer,
) -> Result<Path<'b>, CompressError> {
    let by = By::of(&bench.config);
    let ranking = rank(measured, scores, by);
    let all = without_overlaps(bench, &ranking)?.len();
    let most = if let Target::Blocks(count) = bench.config.target { count.min(all) } else { all };
    let mut gone: Vec<&Block> = Vec::new();
    let mut sets: Vec<Assembled> = Vec::new();
    let mut met = None;
    let mut scores = scores.to_vec();
    while met.is_none() && sets.len() < most {
        observer.progress(Phase::Select, sets.len() as u64, most as u64);
        let Some(next) = rank(measured, &scores, by).into_iter().next() else { break };
        gone.push(bench.network.block(&next.block)?);
        sets.extend(measured_sets(bench, std::slice::from_ref(&gone), Occasion::Full, observer)?);
        met = sets.last().filter(|set| set.meets(bench.config.target)).map(|_| sets.len() - 1);
        if met.is_none() && sets.len() < most {
            scores = anew(bench, measured, &scores, &gone, observer)?;
        }
    }
    observer.progress(Phase::Select, most as u64, most as u64);
    Ok(Path { ranking, sets, met, ties: Vec::new() })
}

/// The scores of the blocks that are left.
fn anew(
    bench: &Bench,
    measured: &Measured,
    scores: &[BlockScore],
    gone: &[&Block],
    observer: &dyn Observer,
) -> Result<Vec<BlockScore>, CompressError> {
    let mut new = Vec::new();
    for known in scores.iter().filter(|score| measured.reductions.get(&score.block).is_some_and(|r| r.measurable)) {
        let block = bench.network.block(&known.block)?;
        if !gone.iter().any(|other| other.name == block.name || overlap(block, other)) {
            new.push(score_without(bench, gone, block, observer)?);
        }
    }
    Ok(new)
}
