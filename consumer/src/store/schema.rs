//! The schema's version: which migrations a database has, and whether they are this program's.
//!
//! A mismatch is refused, never repaired at start: an older program on a newer schema, or a schema
//! somebody edited, must not write.

use sqlx::migrate::{MigrateError, Migrator};

use crate::failure::StoreError;
use crate::projection::ProjectionError;

/// Why the store cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database could not be asked.
    #[error("the database cannot be asked: {0}")]
    Store(#[from] StoreError),
    /// A migration failed; it was rolled back.
    #[error("the migration failed: {0}")]
    Migrate(#[from] MigrateError),
    /// The schema is older than the program.
    #[error("the schema lacks migration {0}: run `shock ctl migrate`")]
    Behind(i64),
    /// The schema is newer than the program.
    #[error("the schema has migration {0}, which this program does not know: run a newer program")]
    Newer(i64),
    /// A migration was changed after it was applied, or not applied to its end.
    #[error("migration {0} of the schema is not the one of this program")]
    Different(i64),
    /// The pipeline's name cannot name a schema.
    #[error("a pipeline's name is 1 to 48 of A-Z a-z 0-9 . _ -, `{0}` is not")]
    PipelineName(String),
    /// The file belongs to another pipeline.
    #[error("the store belongs to pipeline `{stored}`, not to `{wanted}`")]
    Pipeline {
        /// Whose it is.
        stored: String,
        /// Who opened it.
        wanted: String,
    },
    /// The deduplication window was changed.
    #[error(
        "ids are stored in buckets of {stored_ms} ms, consumer.dedupe_window asks for {wanted_ms} ms: \
         under another width no stored id would be found"
    )]
    Width {
        /// The width of what is stored.
        stored_ms: i64,
        /// The width that was configured.
        wanted_ms: i64,
    },
    /// A projection's statement or tables are not right.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The file's directory, or the connection's address.
    #[error("{0}")]
    Address(String),
}

impl SchemaError {
    /// Whether waiting may help: the database is away, nothing is wrong with its schema.
    pub fn is_transient(&self) -> bool {
        use crate::failure::Failure;
        match self {
            Self::Store(error) => {
                matches!(error.failure, Failure::Retry | Failure::Lost | Failure::RetryAlarm)
            }
            Self::Migrate(_)
            | Self::Behind(_)
            | Self::Newer(_)
            | Self::Different(_)
            | Self::PipelineName(_)
            | Self::Pipeline { .. }
            | Self::Width { .. }
            | Self::Projection(_)
            | Self::Address(_) => false,
        }
    }
}

impl From<sqlx::Error> for SchemaError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The migrations a database says it has: version, checksum, whether it ended well.
#[derive(Clone, Debug, Default)]
pub struct SchemaState(pub Vec<(i64, Vec<u8>, bool)>);

impl SchemaState {
    /// Compares with the program's migrations.
    pub fn check(&self, migrator: &Migrator) -> Result<(), SchemaError> {
        for (version, checksum, success) in &self.0 {
            let ours = migrator
                .iter()
                .find(|migration| migration.version == *version)
                .ok_or(SchemaError::Newer(*version))?;
            if !success || ours.checksum.as_ref() != checksum.as_slice() {
                return Err(SchemaError::Different(*version));
            }
        }
        let missing =
            migrator.iter().find(|ours| !self.0.iter().any(|applied| applied.0 == ours.version));
        missing.map_or(Ok(()), |ours| Err(SchemaError::Behind(ours.version)))
    }
}

/// Checks a pipeline's name: it becomes part of a schema's name, which PostgreSQL cuts at 63 bytes.
pub fn check_pipeline(pipeline: &str) -> Result<(), SchemaError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=48).contains(&pipeline.len()) && pipeline.bytes().all(allowed) {
        return Ok(());
    }
    Err(SchemaError::PipelineName(pipeline.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

    #[test]
    fn only_exactly_our_migrations_pass() {
        let ours: Vec<_> =
            MIGRATOR.iter().map(|m| (m.version, m.checksum.to_vec(), true)).collect();
        let check = |state: Vec<_>| SchemaState(state).check(&MIGRATOR);
        assert!(check(ours.clone()).is_ok());
        assert!(matches!(check(Vec::new()), Err(SchemaError::Behind(1))));
        let mut newer = ours.clone();
        newer.push((9_999, Vec::new(), true));
        assert!(matches!(check(newer), Err(SchemaError::Newer(9_999))));
        let mut edited = ours.clone();
        edited[0].1[0] ^= 1;
        assert!(matches!(check(edited), Err(SchemaError::Different(1))));
        let mut broken = ours;
        broken[0].2 = false;
        assert!(matches!(check(broken), Err(SchemaError::Different(1))));
    }

    #[test]
    fn pipeline_names_at_the_bounds() {
        assert!(check_pipeline("shock").is_ok());
        assert!(check_pipeline(&"x".repeat(48)).is_ok());
        for name in ["", "a b", "a\"b", "ä"] {
            assert!(check_pipeline(name).is_err(), "{name}");
        }
        assert!(check_pipeline(&"x".repeat(49)).is_err());
    }
}
