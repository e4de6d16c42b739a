//! GitHub's own example bodies, from the npm package `@octokit/webhooks-examples`.

use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::canonical::{self, Digest};

/// The one event whose body names neither a repository nor an account belongs to this tenant.
const TENANT_DEFAULT: &str = "github";

/// Where a body says whose it is; the first that is there counts. As in config/sources/github.toml,
/// and written down a second time here on purpose: the checker has its own opinion.
const TENANT_POINTERS: [&str; 4] = [
    "/repository/owner/login",
    "/organization/login",
    "/installation/account/login",
    "/sender/login",
];

/// One example: an event and its body, byte for byte as it will be posted.
#[derive(Clone, Debug)]
pub struct Example {
    /// `X-GitHub-Event`.
    pub event: String,
    /// The body.
    pub body: Bytes,
    /// The body, parsed.
    pub value: Value,
    /// Whose event it is.
    pub tenant: String,
    /// Of the body's bytes.
    pub value_digest: Digest,
    /// Of what the body means.
    pub data_digest: Digest,
}

#[derive(Deserialize)]
struct Entry<'a> {
    name: String,
    #[serde(borrow)]
    examples: Vec<&'a RawValue>,
}

/// Reads `api.github.com/index.json` of the unpacked package.
pub fn read_examples(package: &Path) -> anyhow::Result<Vec<Example>> {
    let path = package.join("api.github.com/index.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} (got by `cargo xtask real-input`)", path.display()))?;
    let entries: Vec<Entry<'_>> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let examples = entries
        .into_iter()
        .flat_map(|entry| entry.examples.into_iter().map(move |raw| (entry.name.clone(), raw)))
        .map(|(event, raw)| example(event, raw))
        .collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!examples.is_empty(), "{} has no examples", path.display());
    Ok(examples)
}

/// GitHub posts compact JSON; the package keeps it indented.
fn example(event: String, raw: &RawValue) -> anyhow::Result<Example> {
    let value: Value = serde_json::from_str(raw.get()).context("an example is JSON")?;
    let body = Bytes::from(serde_json::to_vec(&value).context("a value is JSON")?);
    let tenant = TENANT_POINTERS
        .iter()
        .filter_map(|pointer| value.pointer(pointer)?.as_str())
        .find(|login| names_a_tenant(login))
        .unwrap_or(TENANT_DEFAULT)
        .to_owned();
    let value_digest = canonical::of_bytes(&body);
    let data_digest = canonical::of_value(&value);
    Ok(Example { event, body, value, tenant, value_digest, data_digest })
}

/// `[A-Za-z0-9._-]{1,64}`: a login such as `dependabot[bot]` is none.
fn names_a_tenant(login: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&login.len()) && login.bytes().all(allowed)
}
