//! How a network is run.

/// Settings of one [`run`](super::Executor::run).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Statistics that every BatchNormalization uses.
    pub batch_norm: BatchNorm,
}

impl RunOptions {
    /// As in inference.
    pub const INFERENCE: Self = Self { batch_norm: BatchNorm::Running };
}

/// Statistics that BatchNormalization normalises with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// The running statistics, as in inference.
    #[default]
    Running,
    /// The statistics of the batch at hand, as `torch.nn.BatchNorm2d` in train mode.
    Batch {
        /// Move the running statistics in [`Params`](super::Params) towards the batch's by the node's momentum
        /// (`running = momentum · running + (1 - momentum) · batch`, with the unbiased variance).
        update_running: bool,
    },
}
