//! What a job's tasks find out, as it is stored for the tasks that follow and for the customer who looks at a running job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::BlockInfo;
use super::latency::Basis;
use super::report::{BlockRow, Figure, Recoverability};

/// Latency of the teacher and of every single drop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Latency reduction of each single drop, by block.
    pub reductions: BTreeMap<String, SingleReduction>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Latency reduction of one single drop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SingleReduction {
    /// (teacher − student) / teacher.
    pub reduction: Figure,
    /// Whether it is above its own noise; a block without measurable gain is never dropped.
    pub measurable: bool,
    /// What decided.
    pub basis: Basis,
}

/// Recoverability of one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockScore {
    /// The block's name.
    pub block: String,
    /// What loss is left without it.
    pub recoverability: Recoverability,
    /// Adapters that were fitted.
    pub adapters: usize,
    /// Images that the teacher was asked about.
    pub teacher_forwards: u64,
    /// Seconds it took.
    pub seconds: f64,
}

impl BlockScore {
    /// The same for a job that takes it from an earlier one, which has paid for it.
    pub fn reused(self) -> Self {
        Self { teacher_forwards: 0, seconds: 0.0, ..self }
    }
}

/// A candidate with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The block's name.
    pub block: String,
    /// Recoverability ÷ latency reduction.
    pub score: f64,
    /// Half the width of its 95 % interval, as a share of it.
    #[serde(default)]
    pub noise: f64,
}

/// Which blocks go: the part of a selection that is about single blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Candidates with a score, lowest first.
    pub ranking: Vec<Ranked>,
    /// Names of the blocks that go, in the order of their scores.
    pub dropped: Vec<String>,
}

/// What the tasks of a job have found out about its blocks so far.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Of the measurement.
    pub measured: Option<Measured>,
    /// Of each score.
    pub scores: Vec<BlockScore>,
    /// Of the selection.
    pub chosen: Option<Chosen>,
}

impl Findings {
    /// A block with what was found out about it.
    pub fn row(&self, info: BlockInfo) -> BlockRow {
        let single = self.measured.as_ref().and_then(|measured| measured.reductions.get(&info.name));
        let score = self.scores.iter().find(|score| score.block == info.name);
        let chosen = self.chosen.as_ref();
        let ranked = chosen.and_then(|chosen| chosen.ranking.iter().find(|ranked| ranked.block == info.name));
        BlockRow {
            recoverability: score.map(|score| score.recoverability.clone()),
            latency_reduction: single.map(|single| single.reduction),
            score: ranked.map(|ranked| ranked.score),
            dropped: chosen.map(|chosen| chosen.dropped.contains(&info.name)),
            info,
        }
    }
}
