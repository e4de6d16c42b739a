//! How the load reaches the server: in the clear or under TLS, and with which protocol.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use loadtest::deployment::Settings;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Accepted, End, http1, http2};

/// The way in.
#[derive(Clone)]
pub enum Door {
    InTheClear,
    UnderTls(Arc<Tls>),
}

/// A server's files, and the client that trusts them.
pub struct Tls {
    directory: TempDir,
    client: Arc<ClientConfig>,
}

impl Door {
    pub const fn in_the_clear() -> Self {
        Self::InTheClear
    }

    /// Under a certificate of its own; `protocol` as ALPN names it.
    pub fn under_tls(protocol: &[u8]) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("cert.pem"), certificate.pem())?;
        std::fs::write(directory.path().join("key.pem"), key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self::UnderTls(Arc::new(Tls { directory, client: Arc::new(client) })))
    }

    /// What the server is told.
    pub fn settings(&self) -> Settings {
        let Self::UnderTls(tls) = self else { return Settings::default() };
        let set = |key: &str, file: &str| {
            let path: PathBuf = tls.directory.path().join(file);
            format!("ingress.tls.{key}={}", path.display())
        };
        let set = vec![set("cert_file", "cert.pem"), set("key_file", "key.pem")];
        Settings { set, ..Settings::default() }
    }

    /// Keeps one connection busy until the server closes it. Any error of the connection is one.
    pub async fn keep_busy(
        &self,
        server: SocketAddr,
        connection: usize,
        accepted: &Accepted,
    ) -> anyhow::Result<End> {
        let stream = TcpStream::connect(server).await.context("connect")?;
        stream.set_nodelay(true)?;
        let Self::UnderTls(tls) = self else {
            return http1::post_until_closed(stream, connection, accepted).await;
        };
        let name = ServerName::try_from("localhost")?;
        let connector = TlsConnector::from(Arc::clone(&tls.client));
        let stream = connector.connect(name, stream).await.context("a handshake")?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => http2::post_until_closed(stream, connection, accepted).await,
            _ => http1::post_until_closed(stream, connection, accepted).await,
        }
    }
}
