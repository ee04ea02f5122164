//! Statistics of samples: percentiles, and the latency reduction with its 95 % interval. Pure functions, seeded.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::spec::latency::{Basis, Estimate, Reduction, Timing};
use crate::statistics::{self, median, quantile};

impl Estimate {
    fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Minimum number of pairs; fewer do not determine a spread.
const MIN_PAIRS: usize = 3;
/// Enough to keep the random error of an interval's ends at about a fiftieth of its width.
const RESAMPLES: usize = 1000;

/// Percentiles of a network's samples in nanoseconds; `None` without a sample.
pub(crate) fn timing(ns: &[u64]) -> Option<Timing> {
    if ns.is_empty() {
        return None;
    }
    let mut ms: Vec<f64> = ns.iter().map(|ns| *ns as f64 / 1e6).collect();
    ms.sort_by(f64::total_cmp);
    Some(Timing { median_ms: quantile(&ms, 0.5), p90_ms: quantile(&ms, 0.9), p99_ms: quantile(&ms, 0.99) })
}

/// Reduction from the (teacher, student) series of each round, on both clocks.
pub(crate) fn reduction(
    wall: &[(&[u64], &[u64])],
    cpu: &[(&[u64], &[u64])],
    threads: usize,
    seed: u64,
) -> Option<Reduction> {
    let rounds = ratios(wall);
    let wall = median_estimate(&rounds, seed)?;
    let cpu = if ticks_finely(cpu) { median_estimate(&ratios(cpu), seed) } else { None };
    let (basis, Estimate { value, low, high }) = match cpu {
        Some(cpu) if threads == 1 && cpu.width() < wall.width() => (Basis::Cpu, cpu),
        _ => (Basis::Wall, wall),
    };
    let pairs = rounds.iter().map(Vec::len).sum();
    Some(Reduction { value, low, high, basis, wall, cpu, pairs, rounds: rounds.len() })
}

/// 1 − student/teacher of each pair, by round.
fn ratios(rounds: &[(&[u64], &[u64])]) -> Vec<Vec<f64>> {
    let ratio = |(teacher, student): (&u64, &u64)| 1.0 - *student as f64 / (*teacher).max(1) as f64;
    rounds.iter().map(|(t, s)| t.iter().zip(*s).map(ratio).collect::<Vec<_>>()).filter(|r| !r.is_empty()).collect()
}

/// False for a CPU clock that advances by whole scheduler ticks: most samples read one of a few values, so an interval over
/// them would be too narrow.
fn ticks_finely(rounds: &[(&[u64], &[u64])]) -> bool {
    let mut values: Vec<u64> = rounds.iter().flat_map(|(teacher, _)| teacher.iter().copied()).collect();
    let count = values.len();
    values.sort_unstable();
    let zero = values.first() == Some(&0);
    values.dedup();
    !zero && values.len() * 2 >= count
}

/// Median over all values with its 95 % interval: the wider of the interval within the rounds (bootstrap) and the interval
/// between them (Student's t). `None` with fewer than three values.
pub(crate) fn median_estimate(rounds: &[Vec<f64>], seed: u64) -> Option<Estimate> {
    estimate(rounds, RESAMPLES, seed)
}

fn estimate(rounds: &[Vec<f64>], resamples: usize, seed: u64) -> Option<Estimate> {
    let mut all: Vec<f64> = rounds.iter().flatten().copied().collect();
    if all.len() < MIN_PAIRS {
        return None;
    }
    let value = median(&mut all);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut medians: Vec<f64> = (0..resamples).map(|_| median(&mut resample(rounds, &mut random))).collect();
    medians.sort_by(f64::total_cmp);
    let between = between_rounds(rounds);
    let low = quantile(&medians, 0.025).min(value - between);
    let high = quantile(&medians, 0.975).max(value + between);
    Some(Estimate { value, low, high })
}

/// Resamples each round: as many values as it has, with replacement.
fn resample(rounds: &[Vec<f64>], random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut drawn = Vec::with_capacity(rounds.iter().map(Vec::len).sum());
    for round in rounds {
        drawn.extend(round.iter().map(|_| round[random.random_range(0..round.len())]));
    }
    drawn
}

/// Half of the 95 % interval that the rounds' medians span by Student's t; 0 with one round. A bootstrap over so few
/// rounds would be too narrow: with four that differ it covered the truth 84 times in 100.
fn between_rounds(rounds: &[Vec<f64>]) -> f64 {
    let medians: Vec<f64> = rounds.iter().map(|round| median(&mut round.clone())).collect();
    statistics::mean(&medians).map_or(0.0, |(_, half)| half)
}

#[cfg(test)]
#[path = "reduction_tests.rs"]
mod tests;
