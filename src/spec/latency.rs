//! How latency is measured in a job, and what was measured.

use serde::{Deserialize, Serialize};

/// What runs a network while it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime on the exported file: what customers deploy.
    #[default]
    OnnxRuntime,
    /// The service's own executor on libtorch.
    Torch,
}

/// How a job's networks are run while they are measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyConfig {
    /// What runs them.
    pub engine: Engine,
    /// Images in one run.
    pub batch: usize,
    /// Threads within one run.
    pub threads: usize,
    /// Processes that one after the other measure all networks side by side, 3 to 24. Fewer take less time and give a wider
    /// interval.
    pub rounds: usize,
}

/// How long and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Runs of each network, per round, that are not counted …
    pub warmup_runs: usize,
    /// … or this many seconds of them, whichever ends first; one run always happens.
    pub warmup_seconds: f64,
    /// Samples of each network over all rounds, at most.
    pub pairs: usize,
    /// Samples of each network in a round that are taken even where time has run out.
    pub min_pairs: usize,
    /// Seconds of sampling over all rounds; ends sampling early where networks are slow.
    pub max_seconds: f64,
    /// Rounds: each is a fresh process with its own memory layout, since two occasions differ more than two samples do.
    /// Networks are loaded in turned order in every second one, so an even number is best.
    pub rounds: usize,
    /// Bytes of model files that one process may hold; more are measured in groups, each beside the first network.
    pub resident_bytes: u64,
    /// Seconds after which a round is given up.
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
    /// How long and how often this is measured: as much in each round, however many rounds there are.
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
    /// Time that passed.
    Wall,
    /// Time that the processor spent on it.
    Cpu,
}

/// How long a network's runs took, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// 90 % of the runs were faster.
    pub p90_ms: f64,
    /// 99 % of the runs were faster.
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
    /// The clock that decides: CPU time with one thread where its interval is the narrower one, else wall time.
    pub basis: Basis,
    /// On the wall clock.
    pub wall: Estimate,
    /// On the CPU clock; `None` where that clock ticks too coarsely.
    pub cpu: Option<Estimate>,
    /// Pairs that were compared.
    pub pairs: usize,
    /// Rounds that they come from.
    pub rounds: usize,
}

impl Reduction {
    /// The reduction, where there is one: an interval that reaches down to 0 is no gain.
    pub fn gain(&self) -> Option<f64> {
        (self.low > 0.0).then_some(self.value)
    }
}
