//! What `limits` and `mode` have in common: a wish is sent to an admin port, what is set is shown.

use anyhow::Context;
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use shared::plane::routes::{STATE_PATH, Told, ToldEntry};
use shared::plane::wish::Wish;

use super::span;
use crate::cli::{AdminOptions, RemovalOptions, SettingOptions};
use crate::{admin_client, output};

/// All but what separates a subject's parts, and what tenants' names are made of.
const IN_SUBJECT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-');

/// Sets something; `wish` says what.
pub async fn set(
    subject: &str,
    wish: Wish,
    forever: bool,
    options: SettingOptions,
) -> anyhow::Result<()> {
    let for_s = (!forever).then_some(options.for_s);
    let wish = Wish { for_s, forever, by: author(options.by)?, why: options.why, ..wish };
    send(Method::PUT, subject, &wish, &options.at).await
}

/// Removes what is set.
pub async fn remove(subject: &str, options: RemovalOptions) -> anyhow::Result<()> {
    let wish = Wish { by: author(options.by)?, why: options.why, ..Wish::default() };
    send(Method::DELETE, subject, &wish, &options.at).await
}

async fn send(method: Method, subject: &str, wish: &Wish, at: &AdminOptions) -> anyhow::Result<()> {
    let target = format!("{STATE_PATH}/{}", utf8_percent_encode(subject, IN_SUBJECT));
    let body = serde_json::to_string(wish)?;
    let answer = admin_client::send(method, &at.admin, &target, body).await?;
    Ok(output::line(&answer)?)
}

/// What is set there.
pub async fn told(at: &AdminOptions) -> anyhow::Result<Vec<ToldEntry>> {
    let answer = admin_client::get(&at.admin, STATE_PATH, &[]).await?;
    let told: Told = serde_json::from_str(&answer).context("an answer of another version")?;
    Ok(told.entries)
}

/// One line: what, how long, who, why.
pub fn line(entry: &ToldEntry) -> [String; 4] {
    let left = entry.remaining_s.map_or_else(
        || "until it is removed".to_owned(),
        |left| format!("{} left", span::told(left)),
    );
    let by = format!("{}: {}", entry.entry.by, entry.entry.why);
    [entry.subject.clone(), entry.entry.setting.to_string(), left, by]
}

/// Who asks: as said, or whoever is logged in.
pub fn author(by: Option<String>) -> anyhow::Result<String> {
    by.or_else(|| std::env::var("USER").ok()).context("who asks? Say it with --by")
}
