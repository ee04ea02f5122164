//! Measured latency (docs/method.md §8): networks run interleaved in a child process that runs only the engine, and a latency
//! reduction comes with its interval.
//!
//! * [`measure`] starts the child and returns the raw samples;
//! * [`Samples`] turns them into medians and reductions;
//! * [`HostLock`] keeps other computations off the host meanwhile.

mod child;
mod clock;
mod error;
mod inputs;
mod lock;
mod probe;
mod protocol;
mod runner;
mod samples;
mod torch;

pub use child::run_child;
pub use error::LatencyError;
pub use inputs::model_inputs;
pub use lock::{HostLock, Shared};
pub use probe::{Model, Probe, Source, measure};
pub use protocol::Input;
pub use samples::{Round, Samples, Series};
