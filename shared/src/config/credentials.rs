//! Who may post, as configured: keys, client certificates, what each may write, and signatures.
//!
//! Nothing here prints a secret: `Debug` leaves them out.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Millis;
use crate::position::Class;
use crate::tenant::TenantId;

/// A credential at rest: the presented key is `<id>.<secret>`, only the secret's hash is kept.
#[derive(Clone)]
pub struct KeyConfig {
    /// The key's public id.
    pub id: String,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// What it may write.
    pub scopes: Scopes,
    /// How often.
    pub rate: Option<RateBound>,
    /// Whether it is taken at all.
    pub state: KeyState,
    /// The last moment at which it is taken.
    pub not_after: Option<Millis>,
}

/// Whether a key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyState {
    /// It is.
    #[default]
    Active,
    /// Not until it is made active again.
    Disabled,
}

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig")
            .field("id", &self.id)
            .field("secret_sha256", &"(secret)")
            .field("scopes", &self.scopes)
            .field("rate", &self.rate)
            .field("state", &self.state)
            .field("not_after", &self.not_after)
            .finish()
    }
}

/// A client certificate that posts without a key: TLS has verified its chain, here stands its name.
#[derive(Clone, Debug)]
pub struct CertificateConfig {
    /// One of its subject alternative names: a DNS name or a URI, to the letter.
    pub san: String,
    /// What it may write.
    pub scopes: Scopes,
    /// How often.
    pub rate: Option<RateBound>,
}

/// What a credential may write. A pattern is a text, or the beginning of texts with `*` at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Whose events they are that name no tenant; `None` = every event has to name one.
    pub tenant: Option<TenantId>,
    /// Tenants that an event may name beside it, as patterns.
    pub tenants: Vec<String>,
    /// Patterns of types; empty = every type.
    pub types: Vec<String>,
    /// Patterns of CloudEvents sources; empty = every source.
    pub sources: Vec<String>,
    /// Classes; empty = every class.
    pub classes: Vec<Class>,
}

impl Scopes {
    /// Everything, of one tenant.
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..Self::default() }
    }
}

/// How many requests a credential may send: a static maximum, the same however busy we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateBound {
    /// In the long run.
    pub requests_per_s: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// How a webhook's sender signs.
#[derive(Clone)]
pub struct SignatureConfig {
    /// Over what, and where the signature stands.
    pub scheme: SignatureScheme,
    /// The shared secrets; any of them verifies, so that one can be replaced by another.
    pub secrets: Vec<Vec<u8>>,
}

/// The ways to sign; all are HMAC-SHA256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// Over the body, hex in a header (GitHub's `X-Hub-Signature-256: sha256=…`).
    Body {
        /// The header, lower case.
        header: String,
        /// What stands before the hex digits in the header: `sha256=`.
        prefix: String,
    },
    /// Over time and body: `Stripe-Signature: t=…,v1=…`.
    Stripe {
        /// By how much the sender's clock and ours may differ.
        tolerance: Duration,
    },
    /// Over id, time and body: `webhook-id`, `webhook-timestamp`, `webhook-signature`
    /// (Standard Webhooks 1.0).
    StandardWebhooks {
        /// By how much the sender's clock and ours may differ.
        tolerance: Duration,
    },
}

impl SignatureScheme {
    /// The header with the signature, lower case.
    pub fn header(&self) -> &str {
        match self {
            Self::Body { header, .. } => header,
            Self::Stripe { .. } => "stripe-signature",
            Self::StandardWebhooks { .. } => "webhook-signature",
        }
    }
}

impl std::fmt::Debug for SignatureConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignatureConfig")
            .field("scheme", &self.scheme)
            .field("secrets", &format_args!("({} secret)", self.secrets.len()))
            .finish()
    }
}
