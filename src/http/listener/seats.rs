//! Limits on connections, in total and per address.
//!
//! A connection that waits for a request yields to a new one, the longest waiting first, so silent connections cannot keep
//! others out. If all are in use, a few more are accepted to tell their clients, and for `/healthz`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Limits;
use super::watch::Watch;

/// Connections beyond the limit, which get a 503.
const EXTRA: usize = 64;

/// Time that a connection may wait for a request before it yields to others: long enough for a request that follows at once
/// over a long distance.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// Maximum number of connections from one address (IPv6: one /64 network).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerPeer {
    /// A quarter of all; no limit for loopback addresses, because a proxy there serves many clients.
    Usual,
    /// At most this many, loopback addresses included.
    AtMost(usize),
    /// No limit except the total one.
    Unlimited,
}

impl PerPeer {
    /// The limit for addresses of other hosts, given the total limit.
    pub(in crate::http) fn of_others(self, all: usize) -> usize {
        match self {
            Self::Usual => all.div_ceil(4),
            Self::AtMost(most) => most.min(all),
            Self::Unlimited => all,
        }
    }

    fn of(self, peer: Peer, all: usize) -> usize {
        match (self, peer) {
            (Self::Usual, Peer::Loopback) => all,
            _ => self.of_others(all),
        }
    }
}

/// The peer of a connection: an address, or an IPv6 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    Loopback,
    Address(IpAddr),
    /// A provider's customer has at least a network of this size.
    Network([u16; 4]),
}

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::Network([a, b, c, d])
            }
            address => Self::Address(address),
        }
    }
}

/// Why a connection gets a 503; an extension of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    Service,
    Peer,
}

impl Crowded {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Service => "all connections of this service are in use (--max-connections); try again later",
            Self::Peer => {
                "all connections allowed from one address are in use (--max-connections-per-peer); close some, or try again \
                 later"
            }
        }
    }
}

/// All connections and their limits.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// Connections by number.
    all: HashMap<u64, Guest>,
    /// Number of connections of each peer, without the extra ones.
    of_peer: HashMap<Peer, usize>,
    /// Number of extra connections.
    extra: usize,
}

#[derive(Debug)]
struct Guest {
    peer: Peer,
    crowded: Option<Crowded>,
    watch: Arc<Watch>,
    leave: CancellationToken,
}

/// A connection's place; it is freed on drop.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    seats: Arc<Seats>,
    pub(super) watch: Arc<Watch>,
    /// Set if the connection gets a 503.
    pub(super) crowded: Option<Crowded>,
    /// Cancelled if another connection needs the place.
    pub(super) leave: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().remove(self.number);
    }
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address; `None` if even the extra ones are taken.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let (peer, mut taken) = (Peer::of(address), self.taken());
        let crowded = self.crowded(&mut taken, peer);
        if crowded.is_some() && taken.extra >= EXTRA && !taken.send_away(|guest| guest.crowded.is_some()) {
            return None;
        }
        let (watch, leave) = (Arc::new(Watch::new(self.limits)), CancellationToken::new());
        let guest = Guest { peer, crowded, watch: Arc::clone(&watch), leave: leave.clone() };
        let number = taken.add(guest);
        Some(Seat { number, seats: Arc::clone(self), watch, crowded, leave })
    }

    /// True if there is no place for another connection of this peer, even if the longest waiting one leaves.
    fn crowded(&self, taken: &mut Taken, peer: Peer) -> Option<Crowded> {
        let all = self.limits.connections;
        let its_own = taken.of_peer.get(&peer).copied().unwrap_or(0);
        if its_own >= self.limits.per_peer.of(peer, all)
            && !taken.send_away(|guest| guest.crowded.is_none() && guest.peer == peer)
        {
            return Some(if its_own >= all { Crowded::Service } else { Crowded::Peer });
        }
        let full = taken.all.len() - taken.extra >= all;
        (full && !taken.send_away(|guest| guest.crowded.is_none())).then_some(Crowded::Service)
    }

    /// Closes the longest waiting connection, if one waits.
    pub(super) fn make_room(&self) {
        self.taken().send_away(|_| true);
    }
}

impl Taken {
    fn add(&mut self, guest: Guest) -> u64 {
        if guest.crowded.is_some() {
            self.extra += 1;
        } else {
            *self.of_peer.entry(guest.peer).or_default() += 1;
        }
        self.next += 1;
        self.all.insert(self.next, guest);
        self.next
    }

    fn remove(&mut self, number: u64) -> Option<Guest> {
        // A closed connection is already removed.
        let guest = self.all.remove(&number)?;
        if guest.crowded.is_some() {
            self.extra -= 1;
        } else if let Some(count) = self.of_peer.get_mut(&guest.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&guest.peer);
            }
        }
        Some(guest)
    }

    /// Closes the connection that has waited longest among those that `may` leave; false if there is none.
    fn send_away(&mut self, may: impl Fn(&Guest) -> bool) -> bool {
        let waiting = self.all.iter().filter(|(_, guest)| may(guest));
        let waiting = waiting.filter_map(|(number, guest)| Some((guest.watch.waits_since()?, *number)));
        let Some((_, number)) = waiting.min().filter(|(since, _)| since.elapsed() >= UNDISTURBED) else { return false };
        if let Some(guest) = self.remove(number) {
            guest.leave.cancel();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, per_peer: PerPeer) -> Arc<Seats> {
        Arc::new(Seats::new(Limits { connections, per_peer, ..Limits::default() }))
    }

    fn from(seats: &Arc<Seats>, address: &str) -> Seat {
        seats.admit(address.parse().expect("an address")).expect("a place")
    }

    #[tokio::test]
    async fn the_longest_waiting_connection_makes_room_and_one_in_use_does_not() {
        let seats = seats(2, PerPeer::Usual);
        let busy = from(&seats, "127.0.0.1");
        busy.watch.requested();
        let silent = from(&seats, "127.0.0.1");
        assert_eq!(from(&seats, "127.0.0.1").crowded, Some(Crowded::Service), "it may be about to ask");
        tokio::time::sleep(UNDISTURBED).await;
        let new = from(&seats, "127.0.0.1");
        assert_eq!((new.crowded, silent.leave.is_cancelled(), busy.leave.is_cancelled()), (None, true, false));
        drop(silent);
        new.watch.requested();
        tokio::time::sleep(UNDISTURBED).await;
        assert_eq!(from(&seats, "127.0.0.1").crowded, Some(Crowded::Service));
        drop(busy);
        assert_eq!(from(&seats, "127.0.0.1").crowded, None);
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_and_loopback_may_unless_it_is_said() {
        let of_peer = |per_peer, address: &str| {
            let seats = seats(8, per_peer);
            let taken = (0..8).map(|_| from(&seats, address)).collect::<Vec<_>>();
            taken.iter().filter(|seat| seat.crowded.is_none()).count()
        };
        assert_eq!(of_peer(PerPeer::Usual, "192.0.2.7"), 2);
        assert_eq!(of_peer(PerPeer::Usual, "::1"), 8);
        assert_eq!(of_peer(PerPeer::Usual, "::ffff:127.0.0.9"), 8);
        assert_eq!(of_peer(PerPeer::AtMost(3), "127.0.0.1"), 3);
        assert_eq!(of_peer(PerPeer::Unlimited, "192.0.2.7"), 8);

        let seats = seats(8, PerPeer::AtMost(1));
        let _first = from(&seats, "2001:db8::1");
        assert_eq!(from(&seats, "2001:db8::ffff").crowded, Some(Crowded::Peer), "the same network");
        assert_eq!(from(&seats, "2001:db8:0:1::1").crowded, None);
        assert_eq!(from(&seats, "192.0.2.7").crowded, None);
    }

    #[tokio::test]
    async fn refusals_are_bounded_too() {
        let seats = seats(1, PerPeer::Usual);
        let _all: Vec<_> = (0..=EXTRA).map(|_| from(&seats, "127.0.0.1")).collect();
        assert!(seats.admit("127.0.0.1".parse().expect("an address")).is_none());
        tokio::time::sleep(UNDISTURBED).await;
        assert_eq!(from(&seats, "127.0.0.1").crowded, None, "the silent one has left");
        assert!(seats.taken().extra <= EXTRA);
    }
}
