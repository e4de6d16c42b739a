//! How a webhook source's sender signs, and the secrets that verify it.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::super::build::text;
use super::super::settings::Settings;
use super::super::value::{Value, Wrong};
use super::super::{Extract, Purpose, SignatureConfig, SignatureScheme, Sources};
use super::{extract, missing, required, secret_file, serves};

/// The most secrets of one source: each costs an HMAC over the body.
const SECRETS_MAX: usize = 4;
/// By how much clocks may differ where nothing is said: what Stripe's libraries and Standard Webhooks
/// take.
const TOLERANCE: Duration = Duration::from_secs(300);
/// What a secret of Standard Webhooks begins with, before the Base64.
const SECRET_PREFIX: &str = "whsec_";

/// The signature of the source at `entry`; `None` where it says so, or where something is wrong.
pub(super) fn read(
    settings: &mut Settings,
    sources: &Sources,
    purpose: Purpose,
    entry: &str,
) -> Option<SignatureConfig> {
    let table = format!("{entry}.signature");
    let is_table = !settings.names(&table).is_empty();
    if text(settings, &table).is_some() {
        if is_table {
            let message = "is `none`, and a scheme is given too";
            settings.fault(settings.origin(&table), &table, Wrong::new(message));
        }
        return None;
    }
    if !is_table {
        if !settings.is_faulty(&table) {
            missing(
                settings,
                entry,
                "signature",
                "write a table, or `signature = \"none\"` for unsigned bodies",
            );
        }
        return None;
    }
    let name = required(settings, &table, "scheme", text);
    let secrets = secrets(settings, sources, serves(purpose), &table);
    let scheme = scheme(settings, entry, &table, &name?)?;
    let mut secrets = secrets?;
    if matches!(scheme, SignatureScheme::StandardWebhooks { .. }) && serves(purpose) {
        secrets = decoded(settings, &table, &secrets)?;
    }
    Some(SignatureConfig { scheme, secrets })
}

fn scheme(
    settings: &mut Settings,
    entry: &str,
    table: &str,
    name: &str,
) -> Option<SignatureScheme> {
    let tolerance = tolerance(settings, table);
    if name == "hmac-sha256" {
        refuse(settings, table, &["tolerance_s"], "scheme", name);
        let header = required(settings, table, "header", text)?;
        let prefix = text(settings, &format!("{table}.prefix")).unwrap_or_default();
        return Some(SignatureScheme::Body { header, prefix });
    }
    refuse(settings, table, &["header", "prefix"], "scheme", name);
    signed_id(settings, entry, name);
    Some(match name {
        "stripe" => SignatureScheme::Stripe { tolerance },
        _ => SignatureScheme::StandardWebhooks { tolerance },
    })
}

/// By how much clocks may differ.
fn tolerance(settings: &Settings, table: &str) -> Duration {
    match settings.value(&format!("{table}.tolerance_s")) {
        Some(Value::Integer(seconds)) => Duration::from_secs(*seconds),
        _ => TOLERANCE,
    }
}

/// What has no meaning where another member of the table has this value.
pub(super) fn refuse(
    settings: &mut Settings,
    table: &str,
    members: &[&str],
    other: &str,
    value: &str,
) {
    for member in members {
        let path = format!("{table}.{member}");
        if settings.value(&path).is_some() {
            let message = format!("has no meaning with `{other}` = `{value}`");
            settings.fault(settings.origin(&path), &path, Wrong::new(message));
        }
    }
}

/// Inside the tolerance a delivery can be sent again by whoever saw it. It has no second effect as
/// long as its id is one that the signature covers.
fn signed_id(settings: &mut Settings, entry: &str, scheme: &str) {
    let path = format!("{entry}.id");
    let unsigned = match extract(settings, &path) {
        Some(Extract::Header(name)) => scheme == "stripe" || name != "webhook-id",
        Some(Extract::Pointer(_)) | None => false,
    };
    if unsigned {
        let message = "the signature does not cover this header: a repeated delivery could pass \
                       under another id";
        let hint = match scheme {
            "stripe" => "take the id from the body: `pointer:/id`",
            _ => "take `header:webhook-id`, or a pointer into the body",
        };
        let wrong = Wrong { message: message.to_owned(), hint: Some(hint.to_owned()) };
        settings.fault(settings.origin(&path), &path, wrong);
    }
}

/// What was typed for the secrets below `table`; nothing is read where they are not `needed`.
pub(super) fn secrets(
    settings: &mut Settings,
    sources: &Sources,
    needed: bool,
    table: &str,
) -> Option<Vec<Vec<u8>>> {
    let variable = format!("{table}.secret_env");
    let file = format!("{table}.secret_file");
    let names = match settings.value(&variable) {
        Some(Value::Names(names)) => names.clone(),
        _ => Vec::new(),
    };
    let files = match settings.value(&file) {
        Some(Value::Paths(paths)) => paths.clone(),
        _ => Vec::new(),
    };
    match (names.len(), files.len()) {
        (0, 0) => {
            if !settings.is_faulty(&variable) && !settings.is_faulty(&file) {
                missing(settings, table, "secret_env", "give it or `secret_file`");
            }
            None
        }
        (1.., 1..) => {
            let wrong = Wrong::new("`secret_env` is given too; one of them is enough");
            settings.fault(settings.origin(&file), &file, wrong);
            None
        }
        (count, 0) | (0, count) if count > SECRETS_MAX => {
            let path = if names.is_empty() { file } else { variable };
            let wrong = Wrong::new(format!("{count} secrets are above the bound of {SECRETS_MAX}"));
            settings.fault(settings.origin(&path), &path, wrong);
            None
        }
        _ if !needed => Some(Vec::new()),
        (1.., 0) => from_variables(settings, sources, &variable, &names),
        (0, 1..) => from_files(settings, &file, &files),
    }
}

fn from_variables(
    settings: &mut Settings,
    sources: &Sources,
    path: &str,
    names: &[String],
) -> Option<Vec<Vec<u8>>> {
    let secret = |name: &String| match sources.variable(name) {
        Some(secret) => Ok(secret.as_bytes().to_vec()),
        None => Err(Wrong::new(format!("the variable {name} is not set"))),
    };
    let found = names.iter().map(secret).collect::<Result<_, _>>();
    found.map_err(|wrong| settings.fault(settings.origin(path), path, wrong)).ok()
}

fn from_files(settings: &mut Settings, path: &str, files: &[PathBuf]) -> Option<Vec<Vec<u8>>> {
    // All of them, whether or not the first can be read: whoever mends one is noticed.
    files.iter().for_each(|file| settings.read.add(file));
    let secret = |file: &PathBuf| secret_file(file).map(String::into_bytes);
    let found = files.iter().map(secret).collect::<Result<_, _>>();
    found.map_err(|wrong| settings.fault(settings.origin(path), path, wrong)).ok()
}

/// The bytes of `whsec_BASE64`.
pub(super) fn decoded(
    settings: &mut Settings,
    table: &str,
    secrets: &[Vec<u8>],
) -> Option<Vec<Vec<u8>>> {
    let bytes = |secret: &Vec<u8>| {
        let text = std::str::from_utf8(secret).ok()?;
        let key = BASE64.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).ok();
        // Whatever is signed with nothing is signed by anybody.
        key.filter(|key| !key.is_empty())
    };
    let all: Option<Vec<_>> = secrets.iter().map(bytes).collect();
    if all.is_none() {
        let file = format!("{table}.secret_file");
        let path =
            if settings.value(&file).is_some() { file } else { format!("{table}.secret_env") };
        let wrong =
            Wrong::new(format!("a secret is not Base64, with or without `{SECRET_PREFIX}`"));
        settings.fault(settings.origin(&path), &path, wrong);
    }
    all
}
