//! Step 1: latency of the teacher and of every single drop.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Bench;
use super::workbench::reduction;
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::latency;
use crate::spec::phase::Phase;
use crate::spec::task::{Measured, SingleReduction};

/// Networks measured in one child process; each of them holds its weights and buffers in memory.
const TOGETHER: usize = 12;

/// Measures every candidate's single drop against the teacher, side by side.
pub fn measure(bench: &Bench, observer: &dyn Observer) -> Result<Measured, CompressError> {
    let began = Instant::now();
    let candidates = bench.candidates()?;
    let total = candidates.len() as u64;
    observer.progress(Phase::Measure, 0, total);
    let mut reductions = BTreeMap::new();
    for chunk in candidates.chunks(TOGETHER) {
        let files = chunk.iter().map(|block| bench.plain_drop(&[block])).collect::<Result<Vec<_>, _>>()?;
        let names = chunk.iter().map(|block| block.name.as_str());
        let students: Vec<(&str, &[u8])> = names.zip(files.iter().map(Vec::as_slice)).collect();
        let samples = bench.latency(&students, observer)?;
        for (name, _) in students {
            reductions.insert(name.to_owned(), single(&samples, name, bench.config.seed)?);
        }
        observer.progress(Phase::Measure, reductions.len() as u64, total);
    }
    Ok(Measured { reductions, seconds: began.elapsed().as_secs_f64() })
}

fn single(samples: &latency::Samples, student: &str, seed: u64) -> Result<SingleReduction, CompressError> {
    let reduction = reduction(samples, student, seed)?;
    Ok(SingleReduction { reduction: reduction.into(), measurable: reduction.gain().is_some(), basis: reduction.basis })
}
