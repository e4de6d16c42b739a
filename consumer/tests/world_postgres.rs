//! The suite on PostgreSQL.
