//! The method: recoverability, selection, recovery, export (docs/method.md).
//!
//! It is synchronous and independent of jobs, databases and HTTP: the same core serves `practised compress` on a laptop and
//! the workers of the service. [`pipeline`] is the entry point; the other modules are its parts, each of which uses only those
//! before it:
//!
//! * [`random`] numbers, an [`observer`] that watches, the errors
//! * [`samples`]: the images as tensors, split into fitted and held-out ones
//! * [`student`]: a network whose weights change, and edits of it
//! * [`quality`]: how close a student is to its teacher
//! * [`setting`]: the context of every fit
//! * [`file`](mod@file): the student as ONNX, and its outputs in ONNX Runtime
//! * [`stream`]: the nodes between a layer and the residual stream
//! * [`train`]: how networks are trained
//! * [`refit`], of one layer by least squares, and [`adapters`], by gradient descent: two ways to [`recoverability`]
//! * [`recipes`]: feature distillation of a whole student
//! * [`pictures`]: synthetic images
//! * [`evaluate`](mod@evaluate): compares two files
//! * [`baseline`]: filter pruning, for comparison
//! * [`pictures`]: images for a job that has none
//! * [`evaluate`](mod@evaluate): two files by themselves
//! * [`baseline`]: filter pruning, to compare with
//! * [`steps`]: how long the steps of a recovery take

pub mod adapters;
pub mod baseline;
mod error;
pub mod evaluate;
pub mod file;
pub mod observer;
pub mod pictures;
pub mod pipeline;
pub mod quality;
pub mod random;
pub mod recipes;
pub mod recoverability;
pub mod refit;
pub mod samples;
pub mod setting;
pub mod steps;
pub mod stream;
pub mod student;
pub mod train;

pub use error::CompressError;
