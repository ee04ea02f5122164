//! Constructed samples with a known truth.

use super::*;

/// A host with noise: every run is slowed by a random part of up to `jitter`, and by a factor three now and then.
struct Host {
    random: ChaCha8Rng,
    jitter: f64,
}

impl Host {
    fn new(seed: u64, jitter: f64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), jitter }
    }

    /// Nanoseconds of a run that needs `ms`.
    fn run(&mut self, ms: f64) -> u64 {
        let spike = if self.random.random_bool(0.03) { 3.0 } else { 1.0 };
        (ms * 1e6 * spike * (1.0 + self.jitter * self.random.random::<f64>())) as u64
    }

    /// A round of interleaved runs; the round shifts the student's advantage by a random part of up to ± `shift`.
    fn round(&mut self, pairs: usize, reduction: f64, shift: f64) -> (Vec<u64>, Vec<u64>) {
        let student = 4.0 * (1.0 - reduction + shift * (2.0 * self.random.random::<f64>() - 1.0));
        (0..pairs).map(|_| (self.run(4.0), self.run(student))).unzip()
    }

    fn rounds(&mut self, count: usize, pairs: usize, reduction: f64, shift: f64) -> Rounds {
        (0..count).map(|_| self.round(pairs, reduction, shift)).collect()
    }
}

type Rounds = Vec<(Vec<u64>, Vec<u64>)>;

fn reduction_of(wall: &Rounds, cpu: &Rounds, threads: usize) -> Option<Reduction> {
    fn borrowed(rounds: &Rounds) -> Vec<(&[u64], &[u64])> {
        rounds.iter().map(|(teacher, student)| (&teacher[..], &student[..])).collect()
    }
    reduction(&borrowed(wall), &borrowed(cpu), threads, 7)
}

/// The interval over the ratios of some rounds, from fewer resamples than in earnest: these tests repeat it often.
fn interval(rounds: &Rounds) -> Estimate {
    let borrowed: Vec<_> = rounds.iter().map(|(teacher, student)| (&teacher[..], &student[..])).collect();
    estimate(&ratios(&borrowed), 300, 7).expect("enough pairs")
}

/// The share of 100 repetitions in which `holds` is true.
fn share(holds: impl Fn(u64) -> bool) -> f64 {
    (0..100).filter(|seed| holds(*seed)).count() as f64 / 100.0
}

#[test]
fn a_known_reduction_lies_in_its_interval() {
    let covered = share(|seed| {
        let found = interval(&Host::new(seed, 0.2).rounds(1, 60, 0.15, 0.0));
        found.low <= 0.15 && 0.15 <= found.high
    });
    // 95 of 100 are promised; 100 repetitions may show a few fewer.
    assert!(covered >= 0.90, "covered {covered}");
}

#[test]
fn a_reduction_that_shifts_between_rounds_lies_in_the_interval_over_rounds() {
    let covered = |rounds: usize, pairs: usize| {
        share(|seed| {
            let found = interval(&Host::new(seed, 0.05).rounds(rounds, pairs, 0.15, 0.03));
            found.low <= 0.15 && 0.15 <= found.high
        })
    };
    // One occasion's interval is too narrow; this is why rounds exist.
    let (one, five) = (covered(1, 60), covered(5, 12));
    assert!(one < 0.6, "covered {one} with one round");
    assert!(five >= 0.90, "covered {five} with five rounds");
}

#[test]
fn no_effect_is_no_gain_and_a_real_one_is() {
    let found_gain = |truth: f64| share(|seed| interval(&Host::new(seed, 0.2).rounds(5, 12, truth, 0.0)).low > 0.0);
    let (none, real, slower) = (found_gain(0.0), found_gain(0.15), found_gain(-0.15));
    assert!(none <= 0.05, "gains out of nothing: {none}");
    assert!(real >= 0.99, "gains of 15 % found: {real}");
    assert_eq!(slower, 0.0, "a slower student is never a gain");
}

#[test]
fn a_gain_needs_an_interval_above_zero() {
    let steady = Host::new(8, 0.01).rounds(5, 12, 0.15, 0.0);
    let gain = reduction_of(&steady, &steady, 1).expect("60 pairs").gain().expect("a clear gain");
    assert!((gain - 0.15).abs() < 0.01, "{gain}");
    let nothing = Host::new(9, 0.01).rounds(5, 12, 0.0, 0.0);
    assert_eq!(reduction_of(&nothing, &nothing, 1).expect("60 pairs").gain(), None);
}

#[test]
fn cpu_time_decides_with_one_thread_where_it_is_steadier() {
    let (mut noisy, mut quiet) = (Host::new(1, 0.8), Host::new(2, 0.02));
    let (wall, cpu) = (noisy.rounds(3, 20, 0.15, 0.0), quiet.rounds(3, 20, 0.15, 0.0));
    let found = reduction_of(&wall, &cpu, 1).expect("pairs");
    assert_eq!(found.basis, Basis::Cpu);
    assert_eq!((found.value, found.low, found.high), found.cpu.map(|f| (f.value, f.low, f.high)).expect("usable"));
    assert!(found.wall.width() > found.high - found.low, "{found:?}");
    assert_eq!(reduction_of(&cpu, &wall, 1).expect("pairs").basis, Basis::Wall, "wall time is steadier here");
    let threads = reduction_of(&wall, &cpu, 2).expect("pairs");
    assert_eq!(threads.basis, Basis::Wall, "threads may wait for each other, which only wall time shows");
    assert!(threads.cpu.is_some(), "and it is still reported");
}

#[test]
fn a_cpu_clock_that_ticks_coarsely_never_decides() {
    let wall = Host::new(3, 0.3).rounds(2, 20, 0.15, 0.0);
    let ticks = |v: &Vec<u64>| v.iter().map(|ns| ns / 10_000_000 * 10_000_000).collect::<Vec<_>>();
    let cpu: Vec<_> = wall.iter().map(|(t, s)| (ticks(t), ticks(s))).collect();
    let found = reduction_of(&wall, &cpu, 1).expect("pairs");
    assert_eq!((found.basis, found.cpu), (Basis::Wall, None));
}

#[test]
fn too_few_pairs_say_nothing() {
    let pairs = |n| Host::new(4, 0.1).rounds(1, n, 0.2, 0.0);
    assert_eq!(reduction_of(&pairs(2), &pairs(2), 1), None);
    assert!(reduction_of(&pairs(3), &pairs(3), 1).is_some());
    assert_eq!(reduction_of(&Vec::new(), &Vec::new(), 1), None);
}

#[test]
fn the_same_samples_and_seed_give_the_same_interval() {
    let rounds = Host::new(5, 0.2).rounds(3, 20, 0.1, 0.01);
    assert_eq!(reduction_of(&rounds, &rounds, 1), reduction_of(&rounds, &rounds, 1));
}

#[test]
fn percentiles_are_those_of_the_runs() {
    let ns: Vec<u64> = (1..=101).rev().map(|v| v * 1_000_000).collect();
    assert_eq!(timing(&ns), Some(Timing { median_ms: 51.0, p90_ms: 91.0, p99_ms: 100.0 }));
    assert_eq!(timing(&[4_000_000, 2_000_000]).map(|t| t.median_ms), Some(3.0));
    assert_eq!(timing(&[]), None);
    assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    assert_eq!(median(&mut [9.0, 1.0, 3.0]), 3.0);
}

#[test]
fn a_median_latency_has_an_interval_too() {
    let (runs, _) = Host::new(6, 0.1).round(60, 0.0, 0.0);
    let ms: Vec<f64> = runs.iter().map(|ns| *ns as f64 / 1e6).collect();
    let found = median_estimate(&[ms], 7).expect("60 runs");
    // 4 ms slowed by 0 to 10 %: the true median is 4.2 ms and a little more for the spikes.
    assert!(found.low < 4.2 && 4.2 < found.high && found.width() < 0.2, "{found:?}");
}
