//! The protocol between parent and child: one JSON object in each direction.

use std::path::PathBuf;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::exec::Device;
use crate::onnxruntime::{Elements, Feed};
use crate::spec::latency::Engine;

/// The request for one round of measuring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Process id of the parent; a child that finds another parent has been orphaned and ends.
    pub parent: u32,
    pub place: Place,
    pub warmup_runs: usize,
    pub warmup_seconds: f64,
    pub pairs: usize,
    pub min_pairs: usize,
    pub max_seconds: f64,
    pub seed: u64,
    pub models: Vec<ModelFile>,
}

/// Engine, threads and device of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub engine: Engine,
    pub threads: usize,
    /// The CPU, or a GPU, which only the engine torch uses.
    pub device: Device,
}

/// One network to measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelFile {
    pub label: String,
    pub path: PathBuf,
    pub inputs: Vec<Input>,
}

/// An input of a network with all its sizes known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its name in the file.
    pub name: String,
    /// Sizes, the batch first.
    pub dims: Vec<usize>,
    /// Its elements; `None` feeds seeded floats.
    #[serde(default)]
    pub elements: Option<Elements>,
}

impl Input {
    /// An input that is fed seeded floats.
    pub fn seeded(name: &str, dims: Vec<usize>) -> Self {
        Self { name: name.to_owned(), dims, elements: None }
    }
}

/// An input and its elements.
pub(super) struct Values {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) data: Elements,
}

impl Input {
    /// What it is to be fed, or values between −1 and 1, about what normalised images hold: zeros could let an engine take a shorter way.
    pub(super) fn values(&self, seed: u64) -> Values {
        let data = self.elements.clone().unwrap_or_else(|| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let count = self.dims.iter().product();
            Elements::Float((0..count).map(|_| random.random_range(-1.0..1.0)).collect())
        });
        Values { name: self.name.clone(), dims: self.dims.clone(), data }
    }
}

impl Values {
    pub(super) fn feed(&self) -> Feed<'_> {
        Feed { name: &self.name, shape: &self.dims, data: &self.data }
    }
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
    /// Nanoseconds by network (in the request's order) and sample.
    Measured { engine_version: String, wall_ns: Vec<Vec<u64>>, cpu_ns: Vec<Vec<u64>> },
    /// A network could not be opened or run.
    ModelFailed { label: String, detail: String },
    /// The engine could not be used at all.
    EngineFailed { detail: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_values_and_another_one_others() {
        let input = Input::seeded("x", vec![2, 3, 4, 4]);
        let (one, same, other) = (input.values(7), input.values(7), input.values(8));
        assert_eq!(one.data, same.data);
        assert_ne!(one.data, other.data);
        let Elements::Float(values) = one.data else { panic!("floats") };
        assert_eq!(values.len(), 96);
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
    }
}
