//! Projections: the user's own SQL over the events that have their effect now, ready to be run.
//!
//! A projection is one statement that reads `fresh` and changes rows. The stores run it in the batch's
//! transaction; here is what both need: the statement taken apart (`statement`), which events it
//! sees, and the rows to try it on. Nothing here speaks to a database.

mod sample;
mod statement;

use sha2::{Digest, Sha256};
use shared::config::{DdlFile, Origin, ProjectionConfig, ProjectionsConfig};
use shared::position::Class;

pub use self::statement::{Dialect, Statement};
use crate::store::SchemaError;

/// Why a projection is refused.
#[derive(Debug, thiserror::Error)]
#[error("{place}: projection `{name}`: {message}")]
pub struct ProjectionError {
    /// Where its statement was typed.
    pub place: Origin,
    /// Which one.
    pub name: String,
    /// The database's message, or ours.
    pub message: String,
}

/// A projection, ready to be run.
#[derive(Clone, Debug)]
pub struct Projection {
    /// What messages call it.
    pub name: String,
    /// Where its statement was typed.
    pub place: Origin,
    /// What it does.
    pub statement: Statement,
    /// What makes its tables, in order.
    pub ddl: Vec<DdlFile>,
    types: Vec<String>,
    class: Option<Class>,
    sample: Vec<String>,
}

/// All of them, in the configuration's order.
#[derive(Clone, Debug, Default)]
pub struct Projections {
    /// The schema of their tables on PostgreSQL.
    pub schema: String,
    /// The role that consumes, where it is another one than the one that migrates.
    pub runtime_role: Option<String>,
    /// The projections.
    pub all: Vec<Projection>,
}

impl Projections {
    /// Takes the statements apart; refuses what is not one that changes rows.
    pub fn of(config: &ProjectionsConfig, dialect: Dialect) -> Result<Self, SchemaError> {
        let all = config.entries.iter().map(|entry| Projection::of(entry, dialect));
        Ok(Self {
            schema: config.schema.clone(),
            runtime_role: config.runtime_role.clone(),
            all: all.collect::<Result<_, _>>()?,
        })
    }
}

impl Projection {
    fn of(config: &ProjectionConfig, dialect: Dialect) -> Result<Self, ProjectionError> {
        let statement = Statement::of(&config.sql, dialect).map_err(|message| ProjectionError {
            place: config.place.clone(),
            name: config.name.clone(),
            message,
        })?;
        Ok(Self {
            name: config.name.clone(),
            place: config.place.clone(),
            statement,
            ddl: config.ddl.clone(),
            types: config.types.clone(),
            class: config.class,
            sample: config.sample.clone(),
        })
    }

    /// It is refused.
    pub fn error(&self, message: impl Into<String>) -> ProjectionError {
        let (place, name) = (self.place.clone(), self.name.clone());
        ProjectionError { place, name, message: message.into() }
    }

    /// Whether a file of its DDL has been run, by what is remembered of it; refuses one that is
    /// another one now.
    pub fn is_made(&self, step: i32, made: Option<&[u8]>) -> Result<bool, ProjectionError> {
        let ddl = usize::try_from(step).ok().and_then(|step| self.ddl.get(step));
        match (made, ddl) {
            (Some(made), Some(ddl)) if made == checksum(ddl) => Ok(true),
            (Some(_), Some(ddl)) => Err(self.error(format!(
                "{} has been run and is another one now: what is to change goes into a further file \
                 of `ddl`",
                ddl.path.display()
            ))),
            (None, _) | (_, None) => Ok(false),
        }
    }

    /// What is wrong where a file of its DDL has not been run.
    pub fn not_made(&self, step: i32) -> ProjectionError {
        let ddl = usize::try_from(step).ok().and_then(|step| self.ddl.get(step));
        let file = ddl.map_or(String::new(), |ddl| ddl.path.display().to_string());
        self.error(format!("{file} has not been run: run `shock ctl migrate`"))
    }

    /// A condition on the columns `type` and, as the store names it, the class: which events it sees.
    pub fn sees(&self, class: &str, begins: impl Fn(&str) -> String) -> String {
        let one = |pattern: &String| match pattern.strip_suffix('*') {
            Some("") => "true".to_owned(),
            Some(prefix) => begins(prefix),
            None => format!("type = {}", literal(pattern)),
        };
        let types: Vec<_> = self.types.iter().map(one).collect();
        let types = types.join(" or ");
        match self.class {
            Some(only) => format!("({types}) and {class} = {}", only as i16),
            None => format!("({types})"),
        }
    }

    /// The rows to try it on, as a JSON array of objects with the columns of `fresh`: each sample
    /// twice, so that every key is there again.
    pub fn sample_rows(&self) -> String {
        sample::rows(&self.sample, self.class.unwrap_or(Class::Transactional))
    }
}

/// A text of SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a file of DDL is remembered by.
pub fn checksum(ddl: &DdlFile) -> Vec<u8> {
    Sha256::digest(&ddl.text).to_vec()
}
