//! A JSON document that is served as it is, with the validator of its text.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The document and its validator.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The JSON text.
    pub text: Bytes,
    /// Changes with the text.
    pub etag: HeaderValue,
}

impl Document {
    /// Of this value.
    pub fn of(value: &Value) -> Self {
        let text = serde_json::to_vec(value).expect("a document has only string keys");
        let digest = hex::encode(&Sha256::digest(&text)[..16]);
        let etag = HeaderValue::try_from(format!("\"{digest}\"")).expect("hex digits in quotes");
        Self { text: Bytes::from(text), etag }
    }
}
