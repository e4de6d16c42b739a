//! Listeners of one address, one per thread: the kernel divides the connections among them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait for a thread; Linux holds it to `net.core.somaxconn`, 4,096 by default.
/// What is beyond has its handshake tried again after 1, 2, 4 and 8 seconds: whoever opens thousands of
/// connections at once would make the next client wait 15 s to be heard.
const BACKLOG: i32 = 4096;

/// `count` listeners. Port 0: the first picks a port, the others share it.
pub(crate) fn bind(
    address: SocketAddr,
    count: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    claim(address)?;
    let first = bind_one(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind_one(bound)?);
    }
    Ok((bound, listeners))
}

/// Sharing a port among our threads would also share it with another process of this user, and each
/// would get a part of the other's connections: somebody listens there already, so we do not.
fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shared_among_threads_only() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, listeners) = bind(any, 3).expect("binds");
        assert_eq!(listeners.len(), 3);
        let second = bind(address, 1).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(second, Err(io::ErrorKind::AddrInUse));
        drop(listeners);
        assert!(bind(address, 1).is_ok());
    }
}
