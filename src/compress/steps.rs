//! How long the steps of a recovery take, to find what holds them up; no step of a job.

use super::CompressError;
use super::observer::Observer;
use super::pipeline::Bench;
use super::recipes::{StepTimes, step_times};
use super::student::Student;

/// Times `steps` steps of the recovery without so many of the droppable blocks, evenly spread over the network.
pub fn time(bench: &Bench, blocks: usize, steps: u32, observer: &dyn Observer) -> Result<StepTimes, CompressError> {
    let candidates = bench.candidates()?;
    let blocks = blocks.clamp(1, candidates.len());
    let nth = |at: usize| candidates[(at + 1) * candidates.len() / (blocks + 1)];
    let dropped: Vec<_> = (0..blocks).map(nth).collect();
    let plain = Student::dropped(&bench.network, &dropped, bench.device)?;
    let config = bench.config.finetune.0.clone().unwrap_or_default();
    bench.fitting(observer, || step_times(&bench.mixed_setting(observer)?, &plain, &config, steps))
}
