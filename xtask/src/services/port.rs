//! Picks ports for the services, once; they are kept in `services.json`, so that a service that
//! is killed and started again is found where it was.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below Linux's range for outgoing connections (32768–60999): a client's ephemeral port must not
/// sit on a service's port while that service is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// `count` distinct ports that nothing listens on now. `seed` spreads the picks of directories
/// that are set up at the same time.
pub fn pick(count: usize, seed: u32) -> Result<Vec<u16>> {
    let span = u32::from(PORTS.end - PORTS.start);
    // A step that shares no factor with the span visits every port once.
    let candidates = (0..span).filter_map(|index| {
        let place = (seed % span).wrapping_add(index.wrapping_mul(7)) % span;
        u16::try_from(place).ok().map(|place| PORTS.start + place)
    });
    let ports = candidates.filter(|port| is_free(*port)).take(count).collect::<Vec<_>>();
    if ports.len() < count {
        bail!("no {count} free ports between {} and {}", PORTS.start, PORTS.end);
    }
    Ok(ports)
}

/// True when nothing listens on the loopback's `port`.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_skip_what_is_taken() {
        let first = pick(1, 4711).expect("some port is free")[0];
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).expect("it was free");
        let mut ports = pick(8, 4711).expect("eight ports are free");
        assert!(!ports.contains(&first));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        drop(taken);
    }
}
