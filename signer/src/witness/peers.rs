//! How many connections one peer has: with a few, nobody takes them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The peers that are connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A connection that counts until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it is leaving"]
pub(super) struct Visit {
    peers: Peers,
    network: IpAddr,
}

impl Peers {
    /// One more of this address; `None`: it has as many as one may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Visit> {
        let network = network(address);
        let mut connected = self.0.lock();
        let count = connected.entry(network).or_insert(0);
        if *count >= CONNECTIONS_EACH_MAX {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Visit { peers: self.clone(), network })
    }

    /// Whether nobody is connected.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut connected = self.peers.0.lock();
        let left = connected.get(&self.network).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            connected.remove(&self.network);
        } else {
            connected.insert(self.network, left);
        }
    }
}

/// Whoever has one IPv6 address has its /64 (RFC 4291).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

/// A signer has one at a time; several may come from one address.
const CONNECTIONS_EACH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_a_few_connections_and_gets_back_what_it_leaves() {
        let peers = Peers::default();
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        let mut visits: Vec<Visit> = (0..4).map(|_| enter("192.0.2.1").unwrap()).collect();
        assert!(enter("192.0.2.1").is_none() && enter("::ffff:192.0.2.1").is_none());
        let other = enter("192.0.2.2").unwrap();
        visits.pop();
        visits.push(enter("192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        let six: Vec<Visit> = (1..5).map(|n| enter(&format!("2001:db8::{n}")).unwrap()).collect();
        assert!(enter("2001:db8::ffff:1").is_none(), "of one network");
        drop((enter("2001:db8:0:1::1").unwrap(), other, six, visits));
        assert!(peers.is_empty(), "nobody is remembered who has gone");
    }
}
