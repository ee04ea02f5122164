//! Wall time and CPU time of one sample.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The two clocks that a sample is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    cpu: ClockId,
}

/// Wall and CPU nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elapsed {
    pub wall_ns: u64,
    pub cpu_ns: u64,
}

impl Clocks {
    /// With one thread, the engine computes on the calling thread, whose CPU time is that of the run. With more, the CPU time
    /// of the whole process is used, which runs nothing else.
    pub fn for_threads(threads: usize) -> Self {
        let cpu = if threads == 1 { ClockId::CLOCK_THREAD_CPUTIME_ID } else { ClockId::CLOCK_PROCESS_CPUTIME_ID };
        Self { cpu }
    }

    /// Times one call.
    pub fn time<T>(self, run: impl FnOnce() -> T) -> (T, Elapsed) {
        let (cpu, wall) = (self.cpu_now(), Instant::now());
        let result = run();
        let (wall, cpu_after) = (wall.elapsed(), self.cpu_now());
        let cpu_ns = cpu_after.saturating_sub(cpu).as_nanos() as u64;
        (result, Elapsed { wall_ns: wall.as_nanos() as u64, cpu_ns })
    }

    fn cpu_now(self) -> Duration {
        clock_gettime(self.cpu).map(Duration::from).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_costs_wall_time_and_no_cpu_time() {
        let (_, slept) = Clocks::for_threads(1).time(|| std::thread::sleep(Duration::from_millis(30)));
        assert!(slept.wall_ns >= 30_000_000, "{slept:?}");
        assert!(slept.cpu_ns < 10_000_000, "{slept:?}");
    }

    #[test]
    fn work_on_another_thread_counts_only_with_more_than_one_thread() {
        let elsewhere = || std::thread::spawn(burn_10_ms).join().expect("burns");
        let (_, one) = Clocks::for_threads(1).time(elsewhere);
        let (_, two) = Clocks::for_threads(2).time(elsewhere);
        assert!(one.cpu_ns < 5_000_000, "{one:?}");
        assert!(two.cpu_ns >= 9_000_000, "{two:?}");
    }

    /// Spends 10 ms of the thread's own CPU time, however busy the host is.
    fn burn_10_ms() {
        let clock = Clocks::for_threads(1);
        let start = clock.cpu_now();
        while clock.cpu_now() - start < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
    }
}
