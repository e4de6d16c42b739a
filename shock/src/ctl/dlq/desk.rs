//! Whom `shock ctl dlq` asks: the admin port of a running process, or the database itself.

use anyhow::Context;
use consumer::dlq::{
    self, AUDIT_PATH, Action, Ask, AuditRow, DROP_PATH, Dlq, DlqError, Done, Filter, LIST_PATH,
    Page, REDRIVE_PATH, ROW_PATH, SUMMARY_PATH, Summary, Whole,
};
use hyper::Method;
use serde::de::DeserializeOwned;
use shared::clock::Clock;

use crate::admin_client;
use crate::cli::AskOptions;
use crate::ctl::direct::{Direct, direct};
use crate::exit::End;

/// One of the two.
pub(super) enum Desk {
    /// An admin port.
    Port(String),
    /// PostgreSQL, also while no consumer runs.
    Store(Dlq),
}

impl Desk {
    /// PostgreSQL where the settings name it, else the admin port.
    pub(super) async fn of(at: &AskOptions) -> anyhow::Result<Self> {
        let Some(Direct { store, .. }) = direct(at).await? else {
            return Ok(Self::Port(at.admin.clone()));
        };
        store.check().await.map_err(|error| End::Unavailable(error.to_string()))?;
        Ok(Self::Store(Dlq::new(store, Clock::System)))
    }

    pub(super) async fn list(
        &self,
        filter: &Filter,
        after: Option<&str>,
        count: u16,
    ) -> anyhow::Result<Page> {
        match self {
            Self::Port(admin) => {
                let mut query = query(filter, after)?;
                query.push(("limit".to_owned(), count.to_string()));
                get(admin, LIST_PATH, &query).await
            }
            Self::Store(dlq) => Ok(dlq.list(filter.clone(), after, count).await.map_err(end)?),
        }
    }

    pub(super) async fn summary(
        &self,
        filter: &Filter,
        after: Option<&str>,
    ) -> anyhow::Result<Summary> {
        match self {
            Self::Port(admin) => get(admin, SUMMARY_PATH, &query(filter, after)?).await,
            Self::Store(dlq) => Ok(dlq.summary(filter.clone(), after).await.map_err(end)?),
        }
    }

    pub(super) async fn show(&self, place: &str) -> anyhow::Result<Vec<Whole>> {
        match self {
            Self::Port(admin) => {
                get(admin, ROW_PATH, &[("place".to_owned(), place.to_owned())]).await
            }
            Self::Store(dlq) => Ok(dlq.show(place).await.map_err(end)?),
        }
    }

    pub(super) async fn act(&self, action: Action, ask: &Ask) -> anyhow::Result<Done> {
        match self {
            Self::Port(admin) => {
                let path = match action {
                    Action::Redrive => REDRIVE_PATH,
                    Action::Drop => DROP_PATH,
                };
                let body = serde_json::to_string(ask)?;
                read(&admin_client::send(Method::POST, admin, path, body).await?)
            }
            Self::Store(dlq) => Ok(dlq.act(action, ask.clone()).await.map_err(end)?),
        }
    }

    pub(super) async fn audit(
        &self,
        before: Option<i64>,
        count: u16,
    ) -> anyhow::Result<Vec<AuditRow>> {
        match self {
            Self::Port(admin) => {
                let mut query = vec![("limit".to_owned(), count.to_string())];
                query.extend(before.map(|before| ("before".to_owned(), before.to_string())));
                get(admin, AUDIT_PATH, &query).await
            }
            Self::Store(dlq) => Ok(dlq.audit(before, count).await.map_err(end)?),
        }
    }
}

/// A filter's members as a query.
fn query(filter: &Filter, after: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
    let members = serde_json::to_value(filter)?;
    let members = members.as_object().into_iter().flatten();
    let text = |(name, value): (&String, &serde_json::Value)| {
        value.as_str().map(|value| (name.clone(), value.to_owned()))
    };
    let mut query: Vec<_> = members.filter_map(text).collect();
    query.extend(after.map(|after| ("after".to_owned(), after.to_owned())));
    Ok(query)
}

async fn get<T: DeserializeOwned>(
    admin: &str,
    path: &str,
    query: &[(String, String)],
) -> anyhow::Result<T> {
    let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    read(&admin_client::get(admin, path, &query).await?)
}

fn read<T: DeserializeOwned>(answer: &str) -> anyhow::Result<T> {
    serde_json::from_str(answer).context("an answer of another version")
}

/// The store that is away has its own exit code.
fn end(error: DlqError) -> anyhow::Error {
    match error {
        dlq::DlqError::Store(_) => End::Unavailable(error.to_string()).into(),
        dlq::DlqError::Request(_) | dlq::DlqError::Nothing(_) => error.into(),
    }
}
