//! Keys and client certificates, and what each may write.

use std::num::NonZeroU32;

use super::super::build::text;
use super::super::settings::Settings;
use super::super::value::{Value, Wrong, digest};
use super::super::{CertificateConfig, KeyConfig, KeyState, Purpose, RateBound, Scopes, Sources};
use super::{missing, required, serves, tenant};
use crate::position::Class;

/// The keys; none where no producer is served.
pub(in super::super) fn keys(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
) -> Vec<KeyConfig> {
    let mut keys = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for entry in settings.entries("key") {
        let id = required(settings, &entry, "id", text);
        unique(settings, &mut ids, id.as_ref(), &format!("{entry}.id"), "another key's id");
        let scopes = scopes(settings, &entry);
        let rate = rate(settings, &entry);
        let secret_sha256 = secret_digest(settings, sources, purpose, &entry);
        if let (Some(id), Some(secret_sha256)) = (id, secret_sha256) {
            let state = state(settings, &entry);
            let not_after = match settings.value(&format!("{entry}.not_after")) {
                Some(Value::Time(time)) => Some(*time),
                _ => None,
            };
            keys.push(KeyConfig { id, secret_sha256, scopes, rate, state, not_after });
        }
    }
    if serves(purpose) { keys } else { Vec::new() }
}

/// The certificates; none where no producer is served.
pub(in super::super) fn certificates(
    settings: &mut Settings,
    purpose: Purpose,
) -> Vec<CertificateConfig> {
    let mut certificates = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for entry in settings.entries("certificate") {
        let san = required(settings, &entry, "san", text);
        let path = format!("{entry}.san");
        unique(settings, &mut names, san.as_ref(), &path, "another certificate's name");
        let scopes = scopes(settings, &entry);
        let rate = rate(settings, &entry);
        certificates.extend(san.map(|san| CertificateConfig { san, scopes, rate }));
    }
    if serves(purpose) { certificates } else { Vec::new() }
}

fn unique(
    settings: &mut Settings,
    known: &mut Vec<String>,
    name: Option<&String>,
    path: &str,
    whose: &str,
) {
    let Some(name) = name else { return };
    if known.contains(name) {
        let message = format!("`{name}` is {whose}");
        settings.fault(settings.origin(path), path, Wrong::new(message));
    }
    known.push(name.clone());
}

fn scopes(settings: &mut Settings, entry: &str) -> Scopes {
    let member = |name: &str| format!("{entry}.{name}");
    let own = tenant(settings, &member("tenant"));
    let tenants = list(settings, &member("tenants"));
    let faulty = ["tenant", "tenants"].map(|name| settings.is_faulty(&member(name)));
    if own.is_none() && tenants.is_empty() && faulty == [false; 2] {
        missing(settings, entry, "tenant", "give it, or `tenants` where events name theirs");
    }
    let classes = list(settings, &member("classes"));
    Scopes {
        tenant: own,
        tenants,
        types: list(settings, &member("types")),
        sources: list(settings, &member("sources")),
        classes: Class::ALL.into_iter().filter(|c| classes.iter().any(|n| n == c.name())).collect(),
    }
}

/// A list that narrows what may be written. An empty one would read as "nothing" and mean
/// "everything".
fn list(settings: &mut Settings, path: &str) -> Vec<String> {
    let items = match settings.value(path) {
        Some(Value::Patterns(items) | Value::Names(items)) => items.clone(),
        _ => return Vec::new(),
    };
    if items.is_empty() {
        let message = "an empty list allows nothing".to_owned();
        let wrong = Wrong { message, hint: Some("leave it out to allow everything".to_owned()) };
        settings.fault(settings.origin(path), path, wrong);
    }
    items
}

fn rate(settings: &mut Settings, entry: &str) -> Option<RateBound> {
    let number = |settings: &Settings, name: &str| match settings.value(&format!("{entry}.{name}"))
    {
        Some(Value::Integer(number)) => u32::try_from(*number).ok().and_then(NonZeroU32::new),
        _ => None,
    };
    let requests_per_s = number(settings, "requests_per_s");
    let burst = number(settings, "requests_burst");
    match requests_per_s {
        Some(requests_per_s) => {
            Some(RateBound { requests_per_s, burst: burst.unwrap_or(requests_per_s) })
        }
        None if burst.is_some() && !settings.is_faulty(&format!("{entry}.requests_per_s")) => {
            missing(settings, entry, "requests_per_s", "a burst is above a rate");
            None
        }
        None => None,
    }
}

fn state(settings: &Settings, entry: &str) -> KeyState {
    match text(settings, &format!("{entry}.state")).as_deref() {
        Some("disabled") => KeyState::Disabled,
        _ => KeyState::Active,
    }
}

fn secret_digest(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
    entry: &str,
) -> Option<[u8; 32]> {
    let inline = format!("{entry}.secret_sha256");
    let variable = format!("{entry}.secret_sha256_env");
    match (settings.value(&inline).cloned(), text(settings, &variable)) {
        (Some(Value::Digest(digest)), None) => Some(digest),
        (None, Some(name)) if serves(purpose) => {
            let wrong = match sources.variable(&name) {
                None => Wrong::new(format!("the variable {name} is not set")),
                Some(hex) => match digest(hex.trim()) {
                    Some(digest) => return Some(digest),
                    None => Wrong::new(format!(
                        "the variable {name} does not hold a SHA-256 in hex (64 digits)"
                    )),
                },
            };
            settings.fault(settings.origin(&variable), &variable, wrong);
            None
        }
        (None, Some(_)) => Some([0; 32]),
        (None, None) if settings.is_faulty(&inline) || settings.is_faulty(&variable) => None,
        (None, None) => {
            missing(settings, entry, "secret_sha256", "give it or `secret_sha256_env`");
            None
        }
        _ => {
            let message = "`secret_sha256` is given too; one of them is enough";
            settings.fault(settings.origin(&variable), &variable, Wrong::new(message));
            None
        }
    }
}
