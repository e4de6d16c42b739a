//! How many connections each sender's address has: no single one takes all there are.
//!
//! An IPv6 sender has a /64 to itself, so that is what counts there. The table holds only addresses
//! with something open, and so is bounded by what may be open.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The process's table, shared by its threads.
#[derive(Clone, Debug)]
pub(crate) struct Addresses(Arc<Table>);

#[derive(Debug)]
struct Table {
    each_max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One of an address's places; given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    address: IpAddr,
}

impl Addresses {
    /// A table in which each address has so many places.
    pub fn new(each_max: usize) -> Self {
        Self(Arc::new(Table { each_max, counts: Mutex::default() }))
    }

    /// A place for one more; `None` where the address has all it may have.
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let address = counted_as(address);
        let mut counts = self.0.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.0.each_max {
            return None;
        }
        *count += 1;
        Some(Place { table: Arc::clone(&self.0), address })
    }
}

/// Whom a sender at this address is counted as, here and wherever senders are counted.
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.table.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places_and_gives_them_back() {
        let addresses = Addresses::new(2);
        let take = |text: &str| addresses.take(text.parse().expect("an address"));
        let first = (take("192.0.2.1"), take("::ffff:192.0.2.1"));
        assert!(first.0.is_some() && first.1.is_some());
        assert!(take("192.0.2.1").is_none(), "the same in either family");
        assert!(take("192.0.2.2").is_some());
        let second = (take("2001:db8::1"), take("2001:db8::2"));
        assert!(second.0.is_some() && second.1.is_some());
        assert!(take("2001:db8::ffff:0:0:3").is_none(), "one network");
        assert!(take("2001:db8:0:1::1").is_some(), "another network");
        drop((first, second));
        assert!(addresses.0.counts.lock().is_empty());
    }
}
