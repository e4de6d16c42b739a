//! TLS on the ingress's port: both protocols, mutual, certificates that change under open connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use shared::config::{CertificateConfig, ClientCertificates, Scopes, TlsConfig};
use shared::tenant::TenantId;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Post;
use crate::fixture::{Fixture, KEY};

const EVENT: &str = r#"{"type":"order.placed","id":"1","data":{"n":1}}"#;
const RELOADS: &str = "shock_ingress_tls_reloads_total";

/// An authority, and a directory with a server's files.
struct Certificates {
    authority: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    directory: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("signed");
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::write(directory.path().join("ca.pem"), root.pem()).expect("written");
        let own = Self { authority: Issuer::new(params, key), root: root.der().clone(), directory };
        own.write("localhost");
        own
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let uri = "spiffe://test/producer".try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.authority).expect("signed"), key)
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    /// A new pair for the server, under one that was.
    fn write(&self, name: &str) -> Vec<u8> {
        let (certificate, key) = self.issue(name);
        std::fs::write(self.path("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(self.path("key.pem"), key.serialize_pem()).expect("written");
        certificate.der().to_vec()
    }

    fn config(&self, required: Option<bool>) -> TlsConfig {
        TlsConfig {
            cert_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            clients: required
                .map(|required| ClientCertificates { ca_file: self.path("ca.pem"), required }),
        }
    }

    fn start(&self, required: Option<bool>) -> Fixture {
        Fixture::start_with(|config| config.edge.tls = Some(self.config(required)))
    }

    /// A client that trusts the authority and shows a certificate of its or none.
    async fn connect(
        &self,
        server: &Fixture,
        protocol: &[u8],
        own: bool,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as(server, protocol, own.then_some((self, "producer.test"))).await
    }

    /// With a certificate for a name, by this authority or another.
    async fn connect_as(
        &self,
        server: &Fixture,
        protocol: &[u8],
        shown: Option<(&Self, &str)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = if let Some((authority, name)) = shown {
            let (certificate, key) = authority.issue(name);
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).expect("a pair")
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(server.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// Posts over HTTP/1.1; the status, and whether more may be asked.
async fn post(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    send(stream, &Post::json(EVENT)).await
}

async fn send(stream: &mut TlsStream<TcpStream>, post: &Post) -> std::io::Result<String> {
    stream.write_all(&post.bytes()).await?;
    let mut answer = [0; 4096];
    let read = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.expect("in time")?;
    Ok(String::from_utf8_lossy(&answer[..read]).chars().take(12).collect())
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_by_alpn() {
    let certificates = Certificates::new();
    let server = certificates.start(None);
    let mut first = certificates.connect(&server, b"http/1.1", false).await.expect("a handshake");
    assert_eq!(post(&mut first).await.expect("an answer"), "HTTP/1.1 202");
    let stream = certificates.connect(&server, b"h2", false).await.expect("a handshake");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::post("https://localhost/v1/events")
        .header("authorization", KEY)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(EVENT.as_bytes())))
        .expect("a valid request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    answer.into_body().collect().await.expect("a body");
    // A drain ends both in good order.
    server.shutdown.cancel();
    connection.await.expect("no panic").expect("a clean end");
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.expect("no reset");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_tls_or_without_an_end_of_its_handshake_is_closed() {
    let certificates = Certificates::new();
    let server = certificates.start(None);
    for bytes in [&Post::json(EVENT).bytes()[..], b"\x16\x03\x01", b""] {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{:?}", read.expect("closed in time"));
    }
    server.metric_reaches("shock_ingress_connections_refused_total", 3).await;
    assert_eq!(server.log.records(), []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_required_and_optional() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    for (required, own, served) in
        [(true, true, true), (true, false, false), (false, true, true), (false, false, true)]
    {
        let server = certificates.start(Some(required));
        let stream = certificates.connect(&server, b"http/1.1", own).await;
        // In TLS 1.3 a client learns with its first read that it was refused.
        let answer = match stream {
            Ok(mut stream) => post(&mut stream).await,
            Err(error) => Err(error),
        };
        assert_eq!(answer.is_ok_and(|answer| answer == "HTTP/1.1 202"), served, "{required} {own}");
        server.shutdown.cancel();
    }
    // Somebody else's authority.
    let server = Fixture::start_with(|config| {
        let mut tls = certificates.config(Some(false));
        tls.clients.as_mut().expect("given").ca_file = strangers.path("ca.pem");
        config.edge.tls = Some(tls);
    });
    let answer = match certificates.connect(&server, b"http/1.1", true).await {
        Ok(mut stream) => post(&mut stream).await.map(|answer| answer == "HTTP/1.1 202"),
        Err(error) => Err(error),
    };
    assert!(!answer.unwrap_or(false), "a certificate that is not verified is none");
    server.shutdown.cancel();
}

/// From the handshake to the tenant: a configured name needs no key, and no other name opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_posts_without_a_key() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let server = Fixture::start_with(|config| {
        config.edge.tls = Some(certificates.config(Some(true)));
        let scopes = Scopes::of(TenantId::parse("mesh").expect("a valid name"));
        config.certificates =
            vec![CertificateConfig { san: "shop.test".to_owned(), scopes, rate: None }];
    });
    let keyless = Post::json(EVENT).without("authorization");
    let wrong = Post::json(EVENT).header("authorization", "Bearer k1.wrong");
    for (shown, post, expected) in [
        (Some((&certificates, "shop.test")), &keyless, Some("HTTP/1.1 202")),
        (Some((&certificates, "shop.test")), &wrong, Some("HTTP/1.1 401")),
        (Some((&certificates, "other.test")), &keyless, Some("HTTP/1.1 401")),
        (Some((&strangers, "shop.test")), &keyless, None),
        (None, &keyless, None),
    ] {
        let answer = match certificates.connect_as(&server, b"http/1.1", shown).await {
            Ok(mut stream) => send(&mut stream, post).await.ok().filter(|text| !text.is_empty()),
            Err(_) => None,
        };
        assert_eq!(answer.as_deref(), expected, "{:?}", shown.map(|(_, name)| name));
    }
    assert_eq!(server.only_record().key.as_ref(), b"mesh");
    server.stop().await;
}

/// Open connections go on, new ones get the new certificate; a pair that does not fit changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again() {
    let certificates = Certificates::new();
    let server = certificates.start(None);
    let mut old = certificates.connect(&server, b"http/1.1", false).await.expect("a handshake");
    let first = shown(&old);
    assert_eq!(post(&mut old).await.expect("an answer"), "HTTP/1.1 202");

    let (_, foreign) = certificates.issue("localhost");
    std::fs::write(certificates.path("key.pem"), foreign.serialize_pem()).expect("written");
    server.metric_reaches(RELOADS, 1).await;
    let kept = certificates.connect(&server, b"http/1.1", false).await.expect("a handshake");
    assert_eq!(shown(&kept), first);

    let second = certificates.write("localhost");
    server.metric_reaches(RELOADS, 2).await;
    let text = server.registry.text();
    for line in [r#"{outcome="refused"} 1"#, r#"{outcome="loaded"} 1"#] {
        assert!(text.contains(&format!("{RELOADS}{line}")), "{text}");
    }
    let new = certificates.connect(&server, b"http/1.1", false).await.expect("a handshake");
    assert_eq!(shown(&new), second);
    assert_eq!(post(&mut old).await.expect("an answer"), "HTTP/1.1 202", "it was open before");
    server.stop().await;
}

/// Kubernetes replaces a secret's files by moving a link to another directory over the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_s_link_is_followed_to_its_new_files() {
    let certificates = Certificates::new();
    let link = |from: &Path, to: &str| {
        let next = certificates.path("..next");
        std::os::unix::fs::symlink(from, &next).expect("linked");
        std::fs::rename(next, certificates.path(to)).expect("moved");
    };
    let version = |name: &str| {
        let directory = certificates.path(name);
        std::fs::create_dir(&directory).expect("made");
        for file in ["cert.pem", "key.pem"] {
            std::fs::rename(certificates.path(file), directory.join(file)).expect("moved");
        }
    };
    version("..1");
    link(Path::new("..1"), "..data");
    let second = certificates.write("localhost");
    version("..2");
    for file in ["cert.pem", "key.pem"] {
        link(&Path::new("..data").join(file), file);
    }
    let server = certificates.start(None);
    link(Path::new("..2"), "..data");
    server.metric_reaches(RELOADS, 1).await;
    let stream = certificates.connect(&server, b"http/1.1", false).await.expect("a handshake");
    assert_eq!(shown(&stream), second);
    server.stop().await;
}

/// Files that cannot be used are no start, and nothing of them is in the error.
#[test]
fn unusable_files_are_named_without_their_content() {
    let certificates = Certificates::new();
    std::fs::write(certificates.path("key.pem"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n")
        .expect("written");
    let error = Fixture::bind_error(|config| config.edge.tls = Some(certificates.config(None)));
    assert!(error.contains("key.pem") && !error.contains("c2VjcmV0"), "{error}");
}
