//! Step 2: recoverability of one block. Any worker can take any block.

use std::time::Instant;

use super::Bench;
use super::yielding_observer::YieldingObserver;
use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::compress::recoverability::{by_adapters, by_closed_form};
use crate::network::blocks::Block;
use crate::spec::config::RecoverabilityMethod;
use crate::spec::report::Recoverability;
use crate::spec::task::BlockScore;

/// Fits what is to recover from the loss of one block, and measures what loss is left.
pub fn score(bench: &Bench, block: &str, observer: &dyn Observer) -> Result<BlockScore, CompressError> {
    score_without(bench, &[], bench.network.block(block)?, observer)
}

/// The same in a network that some blocks are gone from already.
pub(super) fn score_without(
    bench: &Bench,
    gone: &[&Block],
    block: &Block,
    observer: &dyn Observer,
) -> Result<BlockScore, CompressError> {
    let began = Instant::now();
    let observer = &YieldingObserver::new(observer)?;
    let wish = &bench.config.recoverability;
    let fitted = bench.fitting(observer, || match wish.method {
        RecoverabilityMethod::ClosedForm => {
            let teacher = &mut bench.frontier.borrow_mut();
            by_closed_form(&bench.mixed_setting(observer)?, gone, block, teacher, observer)
        }
        RecoverabilityMethod::Adapters => by_adapters(&bench.setting()?, gone, block, wish.iterations, observer),
    })?;
    Ok(BlockScore {
        block: block.name.clone(),
        recoverability: Recoverability { loss: fitted.recovered, plain: fitted.plain, method: wish.method },
        adapters: fitted.adapters,
        teacher_forwards: fitted.teacher_forwards,
        seconds: began.elapsed().as_secs_f64(),
    })
}
