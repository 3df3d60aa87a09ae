//! Unfinished handshakes: whoever is new gets a turn, and the oldest loses its own.
//!
//! Before a handshake is finished nobody has a name, so nobody may be able to make others wait: not
//! the silent, not the slow. Somebody who means to freeze a key comes in by the same door.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The unfinished handshakes of one plane.
pub(super) struct Handshakes {
    max: usize,
    per_source_max: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// By age. Dropping an entry ends the turn.
    turns: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

/// One handshake's turn; over when it is dropped.
pub(super) struct Turn {
    number: u64,
    open: Arc<Mutex<Open>>,
    lost: oneshot::Receiver<()>,
}

impl Handshakes {
    /// At most so many for all addresses together, and for one.
    pub(super) fn new(max: usize, per_source_max: usize) -> Self {
        Self { max: max.max(1), per_source_max: per_source_max.max(1), open: Arc::default() }
    }

    /// A turn for somebody who has just connected. Where there is no room, the oldest loses its
    /// turn: of the same address if that has too many, else of all.
    pub(super) fn begin(&self, address: IpAddr) -> Turn {
        let source = source(address);
        let (keep, lost) = oneshot::channel();
        let mut open = self.open.lock();
        let mut of_source =
            open.turns.iter().filter(|(_, (other, _))| *other == source).map(|(number, _)| *number);
        let oldest_of_source = of_source.next();
        // With the first, which is already taken out of the iterator.
        let victim = if of_source.count().saturating_add(1) >= self.per_source_max {
            oldest_of_source
        } else if open.turns.len() >= self.max {
            open.turns.keys().next().copied()
        } else {
            None
        };
        if let Some(victim) = victim {
            open.turns.remove(&victim);
        }
        let number = open.next;
        open.next = number.saturating_add(1);
        open.turns.insert(number, (source, keep));
        Turn { number, open: Arc::clone(&self.open), lost }
    }
}

impl Turn {
    /// Resolves when somebody newer needs the room.
    pub(super) async fn lost(&mut self) {
        // Nobody sends: the other half is dropped.
        (&mut self.lost).await.ok();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.open.lock().turns.remove(&self.number);
    }
}

/// What counts as one address: a whole /64 of IPv6, because everybody there has all of it.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_turn(turn: &mut Turn) -> bool {
        turn.lost.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_newcomer_takes_the_turn_of_the_oldest_when_all_are_taken() {
        let handshakes = Handshakes::new(2, 2);
        let mut turns: Vec<Turn> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|at| handshakes.begin(from(at))).into();
        let left: Vec<bool> = turns.iter_mut().map(has_turn).collect();
        assert_eq!(left, [false, true, true]);
        turns.remove(1);
        let mut fourth = handshakes.begin(from("10.0.0.4"));
        assert!(has_turn(&mut fourth) && has_turn(&mut turns[1]), "there was room");
    }

    #[test]
    fn an_address_that_has_too_many_loses_its_own_oldest_and_nobody_elses() {
        let handshakes = Handshakes::new(8, 2);
        let mut other = handshakes.begin(from("10.0.0.1"));
        let mut greedy: Vec<Turn> = (0..100).map(|_| handshakes.begin(from("10.0.0.2"))).collect();
        assert!(has_turn(&mut other));
        let left: Vec<bool> = greedy.iter_mut().map(has_turn).collect();
        assert_eq!(left.iter().filter(|has| **has).count(), 2);
        assert!(left.ends_with(&[true, true]));
    }

    #[test]
    fn a_whole_network_of_ipv6_is_one_address_and_ipv4_in_ipv6_is_ipv4() {
        assert_eq!(source(from("2001:db8::1")), source(from("2001:db8::ffff:2")));
        assert_ne!(source(from("2001:db8::1")), source(from("2001:db8:0:1::1")));
        assert_eq!(source(from("::ffff:10.0.0.1")), from("10.0.0.1"));
        assert_ne!(source(from("::ffff:10.0.0.1")), source(from("::ffff:10.0.0.2")));
    }

    #[test]
    fn a_turn_that_is_over_leaves_nothing_behind() {
        let handshakes = Handshakes::new(1, 1);
        let first = handshakes.begin(from("10.0.0.1"));
        let second = handshakes.begin(from("10.0.0.1"));
        drop((first, second));
        assert!(handshakes.open.lock().turns.is_empty());
    }
}
