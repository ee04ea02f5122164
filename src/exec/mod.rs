//! Runs a [`Graph`](crate::graph::Graph) on a torch device, with gradients where asked.
//!
//! [`Executor`] plans the nodes between the values fed and the values wanted, [`Params`] holds the weights they read, and
//! [`unsupported()`] lists at once everything in a network that cannot be run. Each operator family is one file in `ops`.

pub mod cuda;
pub mod device;
pub mod memory;

mod environment;
mod error;
mod executor;
mod kernel;
mod open;
mod ops;
mod options;
mod params;
mod plan;
mod proof;
mod support;
mod tensor;
mod torch_message;
mod unsupported;

/// The version of libtorch that tch is generated against and that scripts/setup fetches; no other one loads.
pub const LIBTORCH: &str = env!("LIBTORCH_VERSION");

pub use device::Device;
pub use environment::{compute_as_by_default, compute_here, compute_in, set_threads, threads, usual_threads};
pub use error::ExecError;
pub use executor::Executor;
pub use options::{BatchNorm, RunOptions};
pub use params::Params;
pub use proof::prove;
pub use support::{operators, unknown, unsupported};
pub use tensor::{from_tensor, to_tensor};
pub use unsupported::Unsupported;
