//! What a database error means for the batch that met it: one table for PostgreSQL's SQLSTATE
//! classes, one for SQLite's result codes.
//!
//! The rule behind both: only an error that this record's *content* caused may park the record. A
//! full disk or a dropped column must never empty the topic into the dead letters.

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::handler::Refusal;

/// The code of what a handler refuses.
pub const HANDLER_CODE: &str = "handler";

/// What to do after a failed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It passes by itself: the same batch again, after a wait.
    Retry,
    /// The statement was under way when its connection ended, it was cancelled, or its time was over:
    /// again, and it is counted against what it carried ([`crate::worker`], "suspicion").
    Lost,
    /// It passes when somebody acts outside (credentials, a standby, a disk): again, with an alarm.
    RetryAlarm,
    /// A record's content: bisect down to it and park it.
    Data,
    /// The table of a bucket is missing (an older copy was restored): make it, then again.
    Bucket,
    /// Schema or statement, or a damaged database: no record is to blame, this partition halts.
    Halt,
}

/// An error of the store, with what it means.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What to do.
    pub failure: Failure,
    /// SQLSTATE, or SQLite's extended result code; `None` where the database did not answer.
    pub code: Option<String>,
    /// The database's message. Of a refusal for a record's content only the code is logged: the message
    /// may quote a value.
    pub message: String,
}

impl StoreError {
    /// A lock could not be had in the time that was given.
    pub fn is_busy(&self) -> bool {
        self.code.as_deref() == Some("55P03")
    }

    /// It and another statement waited for each other, and it was ended: nothing of it is done.
    pub fn is_deadlock(&self) -> bool {
        self.code.as_deref() == Some("40P01")
    }

    /// The statement did not answer in time; whether it took effect is unknown.
    pub fn timed_out() -> Self {
        let message = "the database did not answer in time".to_owned();
        Self { failure: Failure::Lost, code: None, message }
    }

    /// A handler refuses an event for its content.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let code = Some(HANDLER_CODE.to_owned());
        Self { failure: Failure::Data, code, message: refusal.to_string() }
    }

    /// The same for a statement that was under way: what ended it may have been what it carried.
    pub fn under_way(mut self) -> Self {
        let ended = match self.code.as_deref() {
            None => true,
            // Terminated, crashed, cancelled (a statement_timeout of the role, an operator).
            // Or the server's patience with a handler that was thinking.
            Some(code) => matches!(code, "57P01" | "57P02" | "57014" | "25P03"),
        };
        if ended && self.failure == Failure::Retry {
            self.failure = Failure::Lost;
        }
        self
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let failure = match &error {
            sqlx::Error::Database(error) => of_database(error.as_ref()),
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Failure::Retry,
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Failure::RetryAlarm,
            // What is left is about our statements and rows (a missing column, a type).
            _ => Failure::Halt,
        };
        let code = match &error {
            sqlx::Error::Database(error) => error.code().map(|code| code.into_owned()),
            _ => None,
        };
        Self { failure, code, message: error.to_string() }
    }
}

fn of_database(error: &(dyn DatabaseError + 'static)) -> Failure {
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<PgDatabaseError>() {
        Some(error) if is_bucket(error) => Failure::Bucket,
        Some(error) => of_postgres(error.severity(), error.code()),
        None => of_sqlite(&code),
    }
}

/// "no partition of relation found for row" names a table, but no constraint. Of a user's table it is a
/// record's content: the table of a bucket is ours to make, theirs is not.
fn is_bucket(error: &PgDatabaseError) -> bool {
    let ours = error.schema().is_some_and(|schema| schema.starts_with("shock_"));
    error.code() == "23514"
        && error.constraint().is_none()
        && ours
        && error.table() == Some("processed_ids")
}

/// What ends a session is no statement's fault, whatever its code: a database that takes no connections
/// while it is being restored (55000), a right to connect that is gone (42501).
fn of_postgres(severity: PgSeverity, code: &str) -> Failure {
    match (of_sqlstate(code), severity) {
        (Failure::Halt, PgSeverity::Fatal | PgSeverity::Panic) => Failure::RetryAlarm,
        (failure, _) => failure,
    }
}

/// PostgreSQL, appendix A of its manual: every class that is listed there, then what is unknown.
pub fn of_sqlstate(code: &str) -> Failure {
    match code {
        // A statement that waited too long for a lock; the rest of 55 is about objects' state.
        "55P03" | "55006" => return Failure::Retry,
        // A read-only server is a standby we still talk to after a failover.
        "25006" => return Failure::RetryAlarm,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // Connection, transaction rollback (deadlock, serialization), operator intervention; a
        // prepared statement that a pooler lost; an aborted transaction.
        "08" | "26" | "25" | "40" | "57" | "72" => Failure::Retry,
        // Resources: a full disk heals only when somebody makes room, but it heals.
        "53" => Failure::Retry,
        // Authorization, database name, system error, configuration file.
        "28" | "3D" | "58" | "F0" => Failure::RetryAlarm,
        // Data, constraints, limits; a user's check option, and what a user's trigger raises.
        "22" | "23" | "44" | "54" | "20" | "P0" => Failure::Data,
        // Feature, cardinality, syntax or missing object, schema name, routines, internal errors.
        "0A" | "21" | "42" | "3F" | "XX" | "2F" | "38" | "39" | "HV" => Failure::Halt,
        // Misuse of cursors, savepoints, roles, transactions: nothing of ours should meet them.
        _ => Failure::Halt,
    }
}

/// SQLite's primary result code is the low byte of the extended one.
pub fn of_sqlite(code: &str) -> Failure {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // INTERRUPT, BUSY, LOCKED, NOMEM, PROTOCOL.
        Ok(5 | 6 | 7 | 9 | 15) => Failure::Retry,
        // PERM, READONLY, IOERR, FULL, CANTOPEN, AUTH: the file system wants somebody.
        Ok(3 | 8 | 10 | 13 | 14 | 23) => Failure::RetryAlarm,
        // TOOBIG, CONSTRAINT, MISMATCH.
        Ok(18..=20) => Failure::Data,
        // ERROR (syntax, missing object), INTERNAL, CORRUPT, SCHEMA, MISUSE, NOTADB, the rest.
        _ => Failure::Halt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_class_has_a_meaning() {
        let check = |codes: &[&str], expected| {
            for code in codes {
                assert_eq!(of_sqlstate(code), expected, "{code}");
            }
        };
        check(
            &["08000", "08006", "40001", "40P01", "53100", "53200", "53300", "55P03"],
            Failure::Retry,
        );
        check(&["57P01", "57P02", "57P03", "57014", "26000", "25P02", "72000"], Failure::Retry);
        check(&["28000", "28P01", "3D000", "58030", "F0000", "25006"], Failure::RetryAlarm);
        check(&["22P02", "22P05", "22021", "23502", "23505", "23514", "54000"], Failure::Data);
        check(&["44000", "P0001", "20000"], Failure::Data);
        check(&["21000", "42703", "42P01", "42501", "0A000", "XX000", "XX001"], Failure::Halt);
        check(&["3F000", "55000", "2F000", "38000", "39000", "HV000"], Failure::Halt);
        check(&["00000", "03000", "09000", "0B000", "0L000", "0P000", "24000"], Failure::Halt);
        check(&["27000", "2B000", "2D000", "34000", "3B000", "ZZ999", "", "é"], Failure::Halt);
    }

    #[test]
    fn what_ends_a_session_is_no_statements_fault() {
        let check = |severity, code, expected| assert_eq!(of_postgres(severity, code), expected);
        check(PgSeverity::Fatal, "55000", Failure::RetryAlarm);
        check(PgSeverity::Fatal, "42501", Failure::RetryAlarm);
        check(PgSeverity::Fatal, "57P03", Failure::Retry);
        check(PgSeverity::Error, "55000", Failure::Halt);
        check(PgSeverity::Error, "22P02", Failure::Data);
    }

    #[test]
    fn every_sqlite_code_has_a_meaning() {
        let check = |codes: &[u32], expected| {
            for code in codes {
                assert_eq!(of_sqlite(&code.to_string()), expected, "{code}");
            }
        };
        check(&[5, 6, 7, 9, 15, 261, 517], Failure::Retry);
        check(&[3, 8, 10, 13, 14, 23, 522, 1032], Failure::RetryAlarm);
        check(&[18, 19, 20, 275, 1299, 1555, 1811, 2067], Failure::Data);
        check(&[1, 2, 4, 11, 12, 16, 17, 21, 22, 24, 25, 26, 779], Failure::Halt);
        assert_eq!(of_sqlite("no number"), Failure::Halt);
    }
}
