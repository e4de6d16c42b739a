//! Who is at the other end of a connection: what the transport proves, never what a request claims.
//!
//! Made once per connection and handed to the pipeline with each of its requests.

use std::net::IpAddr;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    address: IpAddr,
    names: Box<[Box<str>]>,
}

impl Peer {
    /// The sender at this address, with the names that its verified certificate carries.
    pub fn new(address: IpAddr, names: Box<[Box<str>]>) -> Self {
        // An IPv4 sender is one and the same on a listener of either family.
        Self { address: address.to_canonical(), names }
    }

    /// Where it sends from; behind a proxy that speaks the PROXY protocol, where its client does.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The DNS names and URIs (subject alternative names) of the client certificate that the
    /// handshake verified; none without one.
    pub const fn names(&self) -> &[Box<str>] {
        &self.names
    }
}
