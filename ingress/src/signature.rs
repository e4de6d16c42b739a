//! A webhook sender's signature: HMAC-SHA256 over the raw body as sent, in one of three schemes.
//!
//! Whether the header is well-formed and its time is near is known before the body is read; whether
//! the signature is right, only after. A malformed and a wrong one are the same 401 to the sender.
//!
//! Replay: whoever has seen a delivery can send it again. The schemes with a time bound that to the
//! tolerance, and inside it the repeated delivery is a duplicate of the first, because the
//! configuration takes the id from what is signed and a tolerance within the deduplication window.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use shared::clock::Millis;
use shared::config::{SignatureConfig, SignatureScheme};
use subtle::ConstantTimeEq;

use crate::reject::Reject;

/// The most signatures of one delivery that are looked at: a sender that changes its secret sends
/// one for each.
const MACS_MAX: usize = 4;

/// What HMAC-SHA256 gives.
type Digest = [u8; 32];

/// A well-formed signature, not verified yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed<'c> {
    config: &'c SignatureConfig,
    /// What is signed before the body, each followed by a full stop.
    before: [Option<&'c str>; 2],
    macs: [Option<Digest>; MACS_MAX],
}

/// What a header says before it is known to be true.
#[derive(Clone, Copy, Debug, Default)]
struct Read<'h> {
    id: Option<&'h str>,
    time: Option<&'h str>,
    macs: [Option<Digest>; MACS_MAX],
}

impl<'c> Claimed<'c> {
    /// Reads the headers.
    pub fn read(
        config: &'c SignatureConfig,
        headers: &'c HeaderMap,
        now: Millis,
    ) -> Result<Self, Reject> {
        let (read, tolerance) = match &config.scheme {
            SignatureScheme::Body { header, prefix } => (body(headers, header, prefix), None),
            SignatureScheme::Stripe { tolerance } => (stripe(headers), Some(*tolerance)),
            SignatureScheme::StandardWebhooks { tolerance } => {
                (standard_webhooks(headers), Some(*tolerance))
            }
        };
        let Some(read) = read else { return Err(refused(config)) };
        if let Some(tolerance) = tolerance {
            let near = read.time.is_some_and(|time| is_near(time, now, tolerance));
            if !near {
                let header = config.scheme.header().to_owned();
                return Err(Reject::SignatureTime { header, tolerance_s: tolerance.as_secs() });
            }
        }
        Ok(Self { config, before: [read.id, read.time], macs: read.macs })
    }

    /// Verifies the raw body, in constant time: every secret against every signature.
    pub fn verify(&self, raw: &[u8]) -> Result<(), Reject> {
        let mut equal = false;
        for secret in &self.config.secrets {
            let mut hmac =
                Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            for part in self.before.iter().flatten() {
                hmac.update(part.as_bytes());
                hmac.update(b".");
            }
            hmac.update(raw);
            let right: Digest = hmac.finalize().into_bytes().into();
            for mac in self.macs.iter().flatten() {
                equal |= bool::from(right.ct_eq(mac));
            }
        }
        if equal { Ok(()) } else { Err(refused(self.config)) }
    }
}

fn refused(config: &SignatureConfig) -> Reject {
    Reject::Signature { header: config.scheme.header().to_owned() }
}

/// The one value of a header: of two, another reader might take the other.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_none() { value.to_str().ok() } else { None }
}

fn body<'h>(headers: &'h HeaderMap, header: &str, prefix: &str) -> Option<Read<'h>> {
    let mac = from_hex(only(headers, header)?.strip_prefix(prefix)?)?;
    let mut read = Read::default();
    read.macs[0] = Some(mac);
    Some(read)
}

/// `t=1492774577,v1=HEX,v1=HEX,v0=HEX`: only `v1` is one that counts.
fn stripe(headers: &HeaderMap) -> Option<Read<'_>> {
    let mut read = Read::default();
    let mut count = 0;
    for item in only(headers, "stripe-signature")?.split(',') {
        match item.trim().split_once('=')? {
            ("t", time) if read.time.is_none() => read.time = Some(time),
            ("t", _) => return None,
            ("v1", digits) if count < MACS_MAX => {
                read.macs[count] = Some(from_hex(digits)?);
                count += 1;
            }
            _ => {}
        }
    }
    (count > 0 && read.time.is_some()).then_some(read)
}

/// `webhook-signature: v1,BASE64 v1,BASE64 v1a,…`: only `v1` is one that counts.
fn standard_webhooks(headers: &HeaderMap) -> Option<Read<'_>> {
    let id = only(headers, "webhook-id").filter(|id| !id.is_empty())?;
    let time = only(headers, "webhook-timestamp")?;
    let mut read = Read { id: Some(id), time: Some(time), ..Read::default() };
    let mut count = 0;
    for item in only(headers, "webhook-signature")?.split(' ').filter(|item| !item.is_empty()) {
        match item.split_once(',')? {
            ("v1", text) if count < MACS_MAX => {
                read.macs[count] = Some(from_base64(text)?);
                count += 1;
            }
            _ => {}
        }
    }
    (count > 0).then_some(read)
}

fn from_hex(digits: &str) -> Option<Digest> {
    let mut mac = [0; 32];
    hex::decode_to_slice(digits, &mut mac).ok().map(|()| mac)
}

fn from_base64(text: &str) -> Option<Digest> {
    // Room for what 44 characters could at most be.
    let mut bytes = [0; 33];
    let length = BASE64.decode_slice(text, &mut bytes).ok()?;
    bytes.get(..length)?.try_into().ok()
}

/// Whether a time in seconds is near enough, on either side: a clock that is ahead is as wrong.
fn is_near(time: &str, now: Millis, tolerance: Duration) -> bool {
    let digits = !time.is_empty() && time.len() <= 12 && time.bytes().all(|b| b.is_ascii_digit());
    let seconds = time.parse::<i64>().ok().filter(|_| digits);
    seconds.is_some_and(|seconds| {
        u128::from((now.0 - seconds * 1_000).unsigned_abs()) <= tolerance.as_millis()
    })
}

#[cfg(test)]
mod tests;
