//! The time budget of a client for sending and reading bytes.

use std::time::Duration;

/// Minimum rate in bytes per second at which a client keeps its budget.
pub const LEAST_RATE: u32 = 500;

/// Remaining time of a client. Waiting spends it, and bytes earn it at [`LEAST_RATE`], up to its initial value. So silence ends
/// the connection after that time, and a trickle a little later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    most: Duration,
    left: Duration,
}

impl Patience {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, left: most }
    }

    /// Time limit of the next byte.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Records bytes that moved after a wait.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) {
        let earned = Duration::from_secs(bytes as u64) / LEAST_RATE;
        self.left = (self.left.saturating_sub(waited) + earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(30);

    /// Seconds until the budget is spent if the client moves some bytes after every pause of some seconds.
    fn lasts(bytes: usize, pause: u64) -> Option<u64> {
        let (mut patience, pause) = (Patience::new(MOST), Duration::from_secs(pause));
        for round in 0..10_000 {
            if patience.left() < pause {
                return Some(round * pause.as_secs() + patience.left().as_secs());
            }
            patience.moved(bytes, pause);
        }
        None
    }

    #[test]
    fn a_trickle_ends_as_silence_does_and_a_slow_client_is_borne() {
        assert_eq!(lasts(0, 31), Some(30), "silence");
        assert_eq!(lasts(1, 1), Some(30), "a byte each second");
        assert!(lasts(5_000, 25).is_some_and(|seconds| seconds < 100), "200 bytes per second");
        assert_eq!(lasts(500, 1), None, "the least rate");
        assert_eq!(lasts(64 << 10, 29), None, "long pauses between much");
    }

    #[test]
    fn a_burst_earns_no_more_than_was_there_at_first() {
        let mut patience = Patience::new(MOST);
        patience.moved(1 << 30, Duration::ZERO);
        assert_eq!(patience.left(), MOST);
    }
}
