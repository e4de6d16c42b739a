//! Ports that cannot be had: taken by somebody else (who may go) or wrong in the configuration.

use std::io;
use std::net::SocketAddr;

use ingress::BindError;
use tokio::net::TcpListener;

use crate::exit::End;

/// Opens the admin port.
pub async fn admin(address: SocketAddr) -> Result<TcpListener, End> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| refused(&error, format!("admin.listen {address}: {error}")))
}

/// Why there is no ingress, as the end of a process.
pub fn ingress(error: &BindError) -> End {
    match error {
        BindError::Schema(_) | BindError::Tls(_) => End::Config(error.to_string()),
        BindError::Listen { error: cause, .. } => refused(cause, error.to_string()),
    }
}

/// A process that is being replaced may hold its port a little longer: the next try can succeed.
fn refused(error: &io::Error, text: String) -> End {
    match error.kind() {
        io::ErrorKind::AddrInUse => End::Unavailable(text),
        _ => End::Config(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_worth_another_try() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = admin(any).await.expect("a free port");
        let taken = first.local_addr().expect("bound");
        assert!(
            matches!(admin(taken).await, Err(End::Unavailable(text)) if text.contains("in use"))
        );
        let foreign = SocketAddr::from(([192, 0, 2, 1], 9));
        assert!(matches!(admin(foreign).await, Err(End::Config(_))));
    }
}
