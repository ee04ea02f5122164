//! How networks are trained: student and teacher side by side, in which precision, on which images and towards what.
//!
//! * [`pair`]: both networks from where they differ, with [`hints`] on the way
//! * [`optimisers`]: the steps
//! * [`precision`]: what is computed in bfloat16, with weights in it ([`narrowing`])
//! * [`crops`]: early steps on smaller images
//! * [`halving`]: batches in parts where memory runs out
//! * [`checkpoint`]: where a long step stands

pub mod checkpoint;
pub mod crops;
pub mod halving;
pub mod hints;
pub mod narrowing;
pub mod optimisers;
pub mod pair;
pub mod precision;
