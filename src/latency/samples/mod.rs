//! Raw samples of a measurement, from which every reported figure can be recomputed.

mod reduction;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::error::LatencyError;
use crate::exec::Device;
use crate::spec::latency::{Basis, Engine, Estimate, Reduction, Timing};

/// The samples of one or more rounds, all taken on one device with one engine, batch and number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Engine that ran the networks.
    pub engine: Engine,
    /// Version of the engine.
    pub engine_version: String,
    /// The name of the processor, or of the GPU.
    pub device: String,
    /// Device that the networks ran on.
    #[serde(default)]
    pub computed_on: Device,
    /// Images per run.
    pub batch: usize,
    /// Threads of the engine.
    pub threads: usize,
    /// One entry for each measuring process.
    pub rounds: Vec<Round>,
}

/// Samples of one process: the n-th samples of its series were taken directly after each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// One series for each network, all of the same length.
    pub series: Vec<Series>,
}

/// The samples of one network in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Label of the network.
    pub label: String,
    /// Wall time of each run, nanoseconds.
    pub wall_ns: Vec<u64>,
    /// CPU time of each run, nanoseconds: the thread's with one thread, else the process's.
    pub cpu_ns: Vec<u64>,
}

impl Samples {
    /// Median, 90th and 99th percentile of a network's runs; `None` if it was not measured.
    pub fn timing(&self, label: &str, basis: Basis) -> Option<Timing> {
        reduction::timing(&self.pooled(label, basis))
    }

    /// A network's median latency in ms with its 95 % interval; `None` if it was not measured.
    pub fn median_ms(&self, label: &str, basis: Basis, seed: u64) -> Option<Estimate> {
        let rounds = self.series(label).map(|series| series.ns(basis).iter().map(|ns| *ns as f64 / 1e6).collect());
        reduction::median_estimate(&rounds.collect::<Vec<_>>(), seed)
    }

    /// (teacher − student) / teacher with its 95 % interval, over all pairs of all rounds that measured both; `None` with fewer
    /// than three pairs.
    pub fn reduction(&self, teacher: &str, student: &str, seed: u64) -> Option<Reduction> {
        let both = |basis| -> Vec<(&[u64], &[u64])> {
            let rounds = self.rounds.iter();
            rounds.filter_map(|r| Some((r.get(teacher)?.ns(basis), r.get(student)?.ns(basis)))).collect()
        };
        // With a GPU, the CPU only waits: its time does not measure the network.
        let cpu = if self.computed_on == Device::Cpu { both(Basis::Cpu) } else { Vec::new() };
        reduction::reduction(&both(Basis::Wall), &cpu, self.threads, seed)
    }

    /// The labels, in the order in which they were first measured.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = Vec::new();
        for series in self.rounds.iter().flat_map(|round| &round.series) {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
        }
        labels
    }

    /// What two occasions have in common whose samples say something together.
    pub fn setting(&self) -> (Engine, &str, &str, Device, usize, usize) {
        (self.engine, &self.engine_version, &self.device, self.computed_on, self.batch, self.threads)
    }

    /// Adds the rounds of another occasion.
    ///
    /// # Errors
    /// [`LatencyError::Request`] if device, engine, batch or threads differ: such samples cannot be combined.
    pub fn merge(&mut self, other: Samples) -> Result<(), LatencyError> {
        let (ours, theirs) = (self.setting(), other.setting());
        if ours != theirs {
            return Err(LatencyError::Request(format!("samples of {theirs:?} cannot be added to those of {ours:?}")));
        }
        self.rounds.extend(other.rounds);
        Ok(())
    }

    /// One line a sample: `round,pair,label,wall_ns,cpu_ns`.
    pub fn to_csv(&self) -> String {
        let mut csv = "round,pair,label,wall_ns,cpu_ns\n".to_owned();
        for (r, round) in self.rounds.iter().enumerate() {
            for series in &round.series {
                let label = csv_field(&series.label);
                for (pair, (wall, cpu)) in series.wall_ns.iter().zip(&series.cpu_ns).enumerate() {
                    writeln!(csv, "{r},{pair},{label},{wall},{cpu}").expect("writing to a string");
                }
            }
        }
        csv
    }

    fn series(&self, label: &str) -> impl Iterator<Item = &Series> {
        self.rounds.iter().filter_map(move |round| round.get(label))
    }

    fn pooled(&self, label: &str, basis: Basis) -> Vec<u64> {
        self.series(label).flat_map(|series| series.ns(basis)).copied().collect()
    }
}

impl Round {
    /// The series of a network.
    pub fn get(&self, label: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.label == label)
    }
}

impl Series {
    /// The samples on one clock.
    pub fn ns(&self, basis: Basis) -> &[u64] {
        match basis {
            Basis::Wall => &self.wall_ns,
            Basis::Cpu => &self.cpu_ns,
        }
    }
}

/// Quoted if necessary (RFC 4180).
fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rounds: Vec<Round>) -> Samples {
        Samples {
            engine: Engine::OnnxRuntime,
            engine_version: "1.32.0".to_owned(),
            device: "a processor".to_owned(),
            computed_on: Device::Cpu,
            batch: 1,
            threads: 1,
            rounds,
        }
    }

    fn series(label: &str, ns: &[u64]) -> Series {
        Series { label: label.to_owned(), wall_ns: ns.to_vec(), cpu_ns: ns.iter().map(|v| v / 2).collect() }
    }

    #[test]
    fn networks_measured_in_different_processes_are_paired_within_their_own() {
        // The second process ran on a host half as fast; only pairing within a process gives 10 % and 20 %.
        let round = |label, t: u64, s: u64| Round { series: vec![series("t", &[t; 9]), series(label, &[s; 9])] };
        let both = samples(vec![round("a", 1_000_000, 900_000), round("b", 2_000_000, 1_600_000)]);
        let value = |student| both.reduction("t", student, 7).expect("measured").value;
        assert!((value("a") - 0.1).abs() < 1e-9 && (value("b") - 0.2).abs() < 1e-9);
        assert_eq!(both.reduction("t", "c", 7), None);
        assert_eq!(both.labels(), ["t", "a", "b"]);
        assert_eq!(both.timing("b", Basis::Wall).expect("measured").median_ms, 1.6);
        assert_eq!(both.timing("b", Basis::Cpu).expect("measured").median_ms, 0.8);
        assert_eq!(both.timing("c", Basis::Wall), None);
    }

    #[test]
    fn beside_a_gpu_only_wall_time_counts() {
        // The processor waits evenly, the GPU computes unevenly: CPU time would have the narrower interval.
        let wall = |scale: u64| (0..30).map(|i| scale * 1_000_000 + i * scale * 7_919 % 50_000).collect::<Vec<_>>();
        let of = |label, scale| Series {
            label: String::from(label),
            wall_ns: wall(scale),
            cpu_ns: (0..30).map(|i| 900_000 + i).collect(),
        };
        let rounds = vec![Round { series: vec![of("t", 2), of("s", 1)] }; 2];
        let on = |computed_on| Samples { computed_on, ..samples(rounds.clone()) };
        let found = |on: Samples| on.reduction("t", "s", 7).expect("measured");
        assert_eq!(found(on(Device::Cpu)).basis, Basis::Cpu);
        let gpu = found(on(Device::Cuda(0)));
        assert_eq!((gpu.basis, gpu.cpu), (Basis::Wall, None));
        assert!((gpu.value - 0.5).abs() < 0.01, "{gpu:?}");
    }

    #[test]
    fn occasions_are_merged_only_where_they_measured_the_same_thing() {
        let mut first = samples(vec![Round { series: vec![series("t", &[1, 2])] }]);
        first.merge(samples(vec![Round { series: vec![series("t", &[3])] }])).expect("same setting");
        assert_eq!(first.rounds.len(), 2);
        let other = Samples { batch: 8, ..samples(Vec::new()) };
        assert!(first.merge(other).expect_err("another batch").is_input());
    }

    #[test]
    fn the_csv_has_a_line_for_each_sample_and_quotes_names() {
        let csv = samples(vec![Round { series: vec![series("t", &[10, 20]), series("without \"a,b\"", &[30, 40])] }])
            .to_csv();
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines[0], "round,pair,label,wall_ns,cpu_ns");
        assert_eq!(lines[2], "0,1,t,20,10");
        assert_eq!(lines[3], "0,0,\"without \"\"a,b\"\"\",30,15");
        assert_eq!(lines.len(), 5);
    }
}
