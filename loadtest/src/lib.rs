//! Plays producers against real processes of `shock`, breaks things, and checks what is left.
//!
//! A run goes through these parts: [`deployment`] starts the processes (or finds the services), a
//! player ([`github`], [`load`]) posts over [`client`] connections and writes every request into the
//! [`ledger`] before it is sent and again when it is answered, [`effects`] and [`records`] read what
//! the databases and the log really hold, and [`verify`] reconciles the three. [`mod@bench`] measures.
//!
//! This crate is an outside checker: it knows HTTP, Kafka and SQL, and shares no code with the
//! pipeline or the worker, so that it cannot repeat their mistakes.

pub mod admin;
pub mod bare;
pub mod bench;
pub mod canonical;
pub mod client;
pub mod deployment;
pub mod effects;
pub mod faults;
pub mod github;
pub mod ledger;
pub mod link;
pub mod load;
pub mod plain;
pub mod process;
pub mod records;
pub mod services;
pub mod verify;
pub mod wait;
