//! The edge of the ingress: what bounds connections before a request is known, and who they are from.

use std::path::PathBuf;
use std::time::Duration;

use super::build::{integer, milliseconds, name, path};
use super::network::Network;
use super::settings::Settings;
use super::value::{Value, Wrong};

/// The bounds and the identity of connections.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The most connections of one address.
    pub connections_per_address_max: usize,
    /// The most requests served at one time; beyond it 503.
    pub requests_max: usize,
    /// What the process may take in all, in bytes; 0 = what its control group allows.
    pub memory_bytes_max: u64,
    /// A connection between two requests is closed after so long.
    pub idle_timeout: Duration,
    /// For TLS's handshake.
    pub handshake_timeout: Duration,
    /// The slowest body, in bytes a second.
    pub body_bytes_per_s_min: u64,
    /// Who is believed about somebody else's address.
    pub trusted_networks: Vec<Network>,
    /// Whether the PROXY protocol begins each connection.
    pub proxy_protocol: ProxyProtocol,
    /// TLS; cleartext without it.
    pub tls: Option<TlsConfig>,
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does.
    Off,
    /// Each does, and comes from a trusted network.
    Required,
}

/// Files of TLS on the ingress's port; PEM, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and its intermediates.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Whose client certificates are taken.
    pub clients: Option<ClientCertificates>,
}

/// Mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities.
    pub ca_file: PathBuf,
    /// Whether a connection without a certificate is refused.
    pub required: bool,
}

/// Builds it.
pub(super) fn edge(settings: &mut Settings) -> EdgeConfig {
    EdgeConfig {
        connections_per_address_max: integer(settings, "ingress.connections_per_address_max"),
        requests_max: integer(settings, "ingress.requests_max"),
        memory_bytes_max: integer(settings, "ingress.memory_bytes_max"),
        idle_timeout: milliseconds(settings, "ingress.idle_timeout_ms"),
        handshake_timeout: milliseconds(settings, "ingress.handshake_timeout_ms"),
        body_bytes_per_s_min: integer(settings, "ingress.body_bytes_per_s_min"),
        trusted_networks: match settings.value("ingress.trusted_networks") {
            Some(Value::Networks(networks)) => networks.clone(),
            _ => Vec::new(),
        },
        proxy_protocol: proxy_protocol(settings),
        tls: tls(settings),
    }
}

fn proxy_protocol(settings: &mut Settings) -> ProxyProtocol {
    let path = "ingress.proxy_protocol";
    if name(settings, path) != "required" {
        return ProxyProtocol::Off;
    }
    let networks = "ingress.trusted_networks";
    if settings.value(networks).is_none() && !settings.is_faulty(networks) {
        let message = format!("is `required`, and `{networks}` names nobody who may send it");
        settings.fault(settings.origin(path), path, Wrong::new(message));
    }
    ProxyProtocol::Required
}

fn tls(settings: &mut Settings) -> Option<TlsConfig> {
    let member = |name: &str| format!("ingress.tls.{name}");
    let files = ["cert_file", "key_file", "client_ca_file"].map(|name| {
        let file = path(settings, &member(name));
        if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
            let message = format!("the file {} does not exist", file.display());
            settings.fault(settings.origin(&member(name)), &member(name), Wrong::new(message));
        }
        file
    });
    match files {
        [Some(cert_file), Some(key_file), authorities] => {
            let required = name(settings, &member("client_certificates")) != "optional";
            let clients = authorities.map(|ca_file| ClientCertificates { ca_file, required });
            Some(TlsConfig { cert_file, key_file, clients })
        }
        [None, None, None] => None,
        [cert_file, key_file, _] => {
            let lacking = [("cert_file", cert_file), ("key_file", key_file)];
            for (name, _) in lacking.iter().filter(|(_, file)| file.is_none()) {
                let path = member(name);
                if !settings.is_faulty(&path) {
                    let message = "is missing, and other files of `ingress.tls` are given";
                    let given = ["cert_file", "key_file", "client_ca_file"].map(member);
                    let typed = given.iter().find(|path| settings.value(path).is_some());
                    let origin = typed.map_or(settings.origin(&path), |path| settings.origin(path));
                    settings.fault(origin, &path, Wrong::new(message));
                }
            }
            None
        }
    }
}
