//! A student with fewer channels inside its blocks, for comparison; no step of a job.

pub mod filters;

use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::pipeline::Bench;
use crate::compress::pipeline::yielding_observer::YieldingObserver;
use crate::compress::recipes::narrowed_by_practised;
use crate::spec::report::FinetuneReport;

/// Keeps a share of the channels inside every block, recovers the student as in a job (or not at all, if the job asks
/// none), and writes it out.
pub fn narrow(bench: &Bench, keep: f64, observer: &dyn Observer) -> Result<(Vec<u8>, FinetuneReport), CompressError> {
    let start = filters::pruned(&bench.network, keep, bench.device)?;
    let Some(config) = &bench.config.finetune.0 else {
        return Ok((filters::to_onnx(&start)?, FinetuneReport::default()));
    };
    let observer = &YieldingObserver::new(observer)?;
    let recovered = narrowed_by_practised(&bench.mixed_setting(observer)?, &start, config, observer)?;
    Ok((filters::to_onnx(&recovered.student)?, recovered.report))
}
