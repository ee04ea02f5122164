//! The method: blocks, recoverability, choice, recovery, export.
//!
//! Synchronous, and knows nothing of jobs, databases or HTTP: the same core serves `practised compress` on a laptop and
//! the workers of the service. [`pipeline`] is the way in; the other modules are its parts, in the order of a job:
//!
//! * looking at a network: [`network`] (its inputs: [`image_input`], [`companions`], [`given`]), [`block`] (on
//!   [`dominators`], named by [`names`], counted by [`macs`]), [`tap`], [`judged`], [`analyse`]
//! * the tiny set: [`tiny_set`], [`samples`], [`augment`], [`random`]
//! * latency: [`latency`] in a child process, [`onnxruntime`]
//! * recoverability: [`recoverability`], by [`adapter`]s (on [`sites`], with [`merge`]) or by [`refit`], both of a [`layer`]
//! * recovery: [`finetune`], on [`distill`], [`pair`] and [`cut`], [`precision`], [`mixing`], [`crops`],
//!   [`hints`], [`trainable`], [`batchnorm`], [`fused`], [`sgd`], [`muon`]
//! * the result: [`student`], [`export`], [`answer`], [`quality`], [`evaluate`], [`report`]
//! * to compare with: [`filters`]

pub mod adam;
pub mod adapter;
pub mod answer;
pub mod augment;
pub mod batchnorm;
pub mod checkpoint;
pub mod classes;
pub mod crops;
pub mod cut;
pub mod distill;
mod edit;
mod error;
pub mod evaluate;
pub mod export;
pub mod filters;
pub mod finetune;
pub mod fused;
pub mod hints;
pub mod layer;
pub mod merge;
pub mod mixing;
pub mod muon;
pub mod observer;
pub mod pair;
pub mod pipeline;
pub mod precision;
pub mod quality;
pub mod random;
pub mod recoverability;
pub mod refit;
pub mod relative;
pub mod room;
pub mod samples;
pub mod sgd;
pub mod sites;
pub mod student;
pub mod synthesis;
pub mod tiny_set;
pub mod trainable;

pub use error::CompressError;
