//! The HTTP contract over a real listener and the memory log: every status of its table, and what is
//! in the log after each. A refused request leaves no record; an accepted one its bytes.

mod accepted;
mod batches;
mod books;
mod browsers;
mod client;
mod connections;
mod documents;
mod edge;
mod faults;
mod fixture;
mod floods;
mod frames;
mod framing;
mod json;
mod limits;
mod refused;
mod reload;
mod table;
mod tls;
mod writers;
