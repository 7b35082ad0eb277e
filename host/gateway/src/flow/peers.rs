//! Connections of one peer address: one that opens more than its part gets no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open connections by peer. Holds an entry only for peers that have one.
#[derive(Debug)]
pub(crate) struct Peers {
    each_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

/// A connection of a peer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    pub(crate) fn new(each_max: usize) -> Arc<Peers> {
        let refused = AtomicU64::new(0);
        Arc::new(Peers { each_max, open: Mutex::default(), refused })
    }

    /// One more connection of a peer, unless it has as many as it may.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Connected> {
        let peer = peer(address);
        let mut open = self.open();
        let count = open.get(&peer).copied().unwrap_or(0);
        if count >= self.each_max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        open.insert(peer, count + 1);
        Some(Connected { peers: self.clone(), peer })
    }

    /// Connections that are open, and those that were closed at once.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.open().values().sum(), self.refused.load(Ordering::Relaxed))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut open = self.peers.open();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// Whom an address stands for: itself, or for IPv6 its /64, which is what one site gets.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let site = u128::from(address) & (u128::from(u64::MAX) << 64);
            IpAddr::V6(site.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_peer_has_so_many_and_a_closed_one_makes_room() {
        let peers = Peers::new(2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(address);
        let first = peers.connect(one).unwrap();
        let _second = peers.connect(one).unwrap();
        assert!(peers.connect(one).is_none());
        assert!(peers.connect(other).is_some());
        drop(first);
        assert!(peers.connect(one).is_some());
        assert_eq!(peers.counts(), (1, 1));
    }

    #[test]
    fn a_site_is_one_peer_and_nothing_is_kept_of_peers_that_are_gone() {
        let peers = Peers::new(1);
        let first = peers.connect(address("2001:db8:0:1::1")).unwrap();
        assert!(peers.connect(address("2001:db8:0:1:ffff::2")).is_none());
        let second = peers.connect(address("2001:db8:0:2::1")).unwrap();
        let third = peers.connect(address("::ffff:10.0.0.1")).unwrap();
        assert!(peers.connect(address("10.0.0.1")).is_none());
        drop((first, second, third));
        assert!(peers.open().is_empty());
    }
}
