//! Projections: what the user's own SQL makes of the events, as configured.
//!
//! The SQL is a text here, and stays one: who runs it takes it apart.

use std::path::PathBuf;

use super::Origin;
use crate::position::Class;

/// The most projections: each makes the batch's statement longer.
pub(super) const PROJECTIONS_MAX: usize = 32;
/// The most sample events of one projection.
pub(super) const SAMPLES_MAX: usize = 100;
/// The largest file of DDL, in bytes.
pub(super) const DDL_BYTES_MAX: usize = 256 * 1024;
/// What stands for the consumer's role in a file of DDL.
pub const RUNTIME_ROLE: &str = "{runtime_role}";

/// All projections, and where their tables live.
#[derive(Clone, Debug, Default)]
pub struct ProjectionsConfig {
    /// The schema of PostgreSQL that their DDL runs in.
    pub schema: String,
    /// The role of PostgreSQL that consumes, where it is not the one that migrates.
    pub runtime_role: Option<String>,
    /// In the file's order. Only where events are applied or all is checked, with the statements of
    /// the backend in effect.
    pub entries: Vec<ProjectionConfig>,
}

/// One projection.
#[derive(Clone, Debug)]
pub struct ProjectionConfig {
    /// Unique.
    pub name: String,
    /// Types, and prefixes of types that end in `*`.
    pub types: Vec<String>,
    /// Only this class's events.
    pub class: Option<Class>,
    /// The statement, as it was typed.
    pub sql: String,
    /// Where it was typed: a line of a configuration, or a file of its own.
    pub place: Origin,
    /// What makes its tables, in order.
    pub ddl: Vec<DdlFile>,
    /// Events to try it on: JSON objects.
    pub sample: Vec<String>,
}

/// A file of DDL.
#[derive(Clone, Debug)]
pub struct DdlFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}
