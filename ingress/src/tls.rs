//! TLS on the ingress's port: certificate, key and the authority of client certificates from files,
//! read again when they change.
//!
//! Connections that are open keep what they were accepted with. Files that do not fit together change
//! nothing: a half-written pair is looked at again when the other half is there. The key is never
//! logged, nor is any byte of it kept beside what rustls holds.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::IntCounterVec;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use sha2::{Digest, Sha256};
use shared::Shutdown;
use shared::config::{ClientCertificates, TlsConfig};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// The largest of the files.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The protocols of [`crate::connection`], the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What new connections are accepted with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsConfig,
    current: RwLock<Arc<ServerConfig>>,
    /// Of the files it began with: they may have changed before they are watched.
    first: [u8; 32],
    reloads: IntCounterVec,
}

/// Why the files cannot be used; never says what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Which.
        file: String,
        /// Why not.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file}: {error}")]
    Content {
        /// Which.
        file: String,
        /// What is wrong with it.
        error: String,
    },
    /// They do not fit together.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// Client certificates cannot be checked.
    #[error("the authorities of client certificates cannot be used: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// The files' bytes, read at one time.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files; without a usable pair there is nothing to start with.
    pub fn load(files: &TlsConfig, reloads: IntCounterVec) -> Result<Self, TlsError> {
        let read = Files::read(files)?;
        Ok(Self {
            files: files.clone(),
            current: RwLock::new(Arc::new(read.build(files)?)),
            first: read.digest(),
            reloads,
        })
    }

    /// Whether the files make a server.
    pub fn check(files: &TlsConfig) -> Result<(), TlsError> {
        Files::read(files)?.build(files).map(drop)
    }

    /// For one handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }

    /// Looks for changes until `shutdown`.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut seen = Some(self.first);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let now = self.fingerprint().await;
            if now != seen {
                seen = now;
                self.reload().await;
            }
        }
    }

    async fn reload(self: &Arc<Self>) {
        let own = Arc::clone(self);
        let built = on_a_thread(move || Files::read(&own.files)?.build(&own.files)).await;
        let outcome = match built {
            Ok(config) => {
                *self.current.write() = Arc::new(config);
                tracing::info!("new connections get the changed certificate");
                "loaded"
            }
            Err(error) => {
                tracing::warn!(%error, "the changed certificate is not used, the old one goes on");
                "refused"
            }
        };
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// A digest of the files; none where one cannot be read.
    async fn fingerprint(self: &Arc<Self>) -> Option<[u8; 32]> {
        let own = Arc::clone(self);
        on_a_thread(move || Files::read(&own.files).ok().map(|files| files.digest())).await
    }
}

/// Files may be on a disk that is slow today.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading certificates does not panic")
}

impl Files {
    fn read(files: &TlsConfig) -> Result<Self, TlsError> {
        let client = files.clients.as_ref();
        Ok(Self {
            certificate: read(&files.cert_file)?,
            key: read(&files.key_file)?,
            authorities: client.map(|client| read(&client.ca_file)).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [Some(&self.certificate), Some(&self.key), self.authorities.as_ref()];
        let hash = parts.into_iter().flatten().fold(Sha256::new(), |hash, part| {
            hash.chain_update(part.len().to_be_bytes()).chain_update(part)
        });
        hash.finalize().into()
    }

    fn build(&self, files: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate, &files.cert_file)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(&files.key_file, &error))?;
        let provider = Arc::new(ring::default_provider());
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match (&files.clients, &self.authorities) {
            (Some(clients), Some(authorities)) => {
                versions.with_client_cert_verifier(verifier(clients, authorities, provider)?)
            }
            _ => versions.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { file: file.display().to_string(), error };
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read(file).map_err(failed)
}

fn content(file: &Path, error: &pem::Error) -> TlsError {
    // What the error would show of a section's text stays out of the log.
    let error = match error {
        pem::Error::NoItemsFound => "holds none of what it should hold",
        _ => "is not PEM",
    };
    TlsError::Content { file: file.display().to_string(), error: error.to_owned() }
}

fn certificates(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(content(file, &pem::Error::NoItemsFound)),
        Ok(chain) => Ok(chain),
        Err(error) => Err(content(file, &error)),
    }
}

fn verifier(
    clients: &ClientCertificates,
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities, &clients.ca_file)? {
        roots.add(authority)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build()?)
}

/// The DNS names and URIs of the certificate that the client showed and the handshake verified.
pub(crate) fn client_names(session: &ServerConnection) -> Box<[Box<str>]> {
    let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else {
        return Box::default();
    };
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return Box::default();
    };
    let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    names.map(Box::from).collect()
}
