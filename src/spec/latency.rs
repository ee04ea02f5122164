//! Settings and results of latency measurements.

use serde::{Deserialize, Serialize};

/// Engine that runs a network for a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime on the exported file: what customers deploy.
    #[default]
    OnnxRuntime,
    /// The service's own executor on libtorch.
    Torch,
}

/// Settings of a job's latency measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyConfig {
    /// Engine that runs the networks.
    pub engine: Engine,
    /// Images per run, 1 to 1024.
    pub batch: usize,
    /// Threads of the engine, 1 to 256.
    pub threads: usize,
    /// Number of measuring processes, one after the other, each with all networks interleaved, 3 to 24. Fewer take less time
    /// and give a wider interval.
    pub rounds: usize,
}

/// Duration and number of samples of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Warm-up runs of each network per round …
    pub warmup_runs: usize,
    /// … or this many seconds of warm-up, whichever ends first; there is at least one run.
    pub warmup_seconds: f64,
    /// Maximum number of samples of each network over all rounds.
    pub pairs: usize,
    /// Minimum number of samples of each network in a round, even after `max_seconds`.
    pub min_pairs: usize,
    /// Time limit of sampling over all rounds, in seconds; ends sampling early if networks are slow.
    pub max_seconds: f64,
    /// Number of rounds. Each is a new process with its own memory layout, because two processes differ more than two samples
    /// do. Every second one loads the networks in reverse order, so an even number is best.
    pub rounds: usize,
    /// Maximum bytes of model files in one process; more are measured in groups, each together with the first network.
    pub resident_bytes: u64,
    /// Time limit of a round, in seconds.
    pub timeout_seconds: f64,
    /// Seed of the input values.
    pub seed: u64,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        Self { engine: Engine::OnnxRuntime, batch: 1, threads: 1, rounds: Plan::default().rounds }
    }
}

impl LatencyConfig {
    /// The plan for these settings: the same work in each round, whatever the number of rounds.
    pub fn plan(&self) -> Plan {
        let usual = Plan::default();
        let part = self.rounds as f64 / usual.rounds as f64;
        let pairs = (usual.pairs as f64 * part).ceil() as usize;
        Plan { rounds: self.rounds, pairs, max_seconds: usual.max_seconds * part, ..usual }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            warmup_runs: 5,
            warmup_seconds: 0.5,
            pairs: 200,
            min_pairs: 3,
            max_seconds: 20.0,
            rounds: 6,
            resident_bytes: 1 << 30,
            timeout_seconds: 600.0,
            seed: 0,
        }
    }
}

impl Engine {
    /// Its name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Torch => "torch",
        }
    }
}

/// A measured figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Which clock a figure was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Wall time.
    Wall,
    /// CPU time.
    Cpu,
}

/// Percentiles of a network's run time, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median, ms.
    pub median_ms: f64,
    /// 90th percentile, ms.
    pub p90_ms: f64,
    /// 99th percentile, ms.
    pub p99_ms: f64,
}

/// (teacher − student) / teacher on both clocks; `value`, `low` and `high` repeat the clock that decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reduction {
    /// Median over the pairs.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The deciding clock: CPU time if there is one thread and its interval is narrower, else wall time.
    pub basis: Basis,
    /// On the wall clock.
    pub wall: Estimate,
    /// On the CPU clock; `None` if that clock is too coarse.
    pub cpu: Option<Estimate>,
    /// Number of (teacher, student) pairs.
    pub pairs: usize,
    /// Number of rounds that they come from.
    pub rounds: usize,
}

impl Reduction {
    /// The reduction, or `None` if its interval reaches 0.
    pub fn gain(&self) -> Option<f64> {
        (self.low > 0.0).then_some(self.value)
    }
}
