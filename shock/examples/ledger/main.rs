//! `shock` with a ledger in it: balances are kept in memory, and no account is overdrawn.
//!
//! ```sh
//! cargo run --example ledger -- dev
//! ```
//!
//! It prints a `curl` line. Post, to it, a deposit and a transfer, each twice:
//!
//! ```json
//! {"id":"d-1","type":"ledger.deposit","data":{"to":"alice","amount":1000}}
//! {"id":"t-1","type":"ledger.transfer","data":{"from":"alice","to":"bob","amount":250}}
//! ```
//!
//! ```sh
//! sqlite3 shock-data/effects.sqlite 'select tenant, account, balance from ledger_balances'
//! ```

mod handler;

fn main() -> std::process::ExitCode {
    shock::main_with(handler::Ledger)
}
