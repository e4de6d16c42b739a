//! `shock` with a saga in it: an order reserves stock, asks for its payment, and gives the stock back when
//! the payment fails.
//!
//! ```sh
//! cargo run --example saga -- dev
//! ```
//!
//! It prints a `curl` line. Post to it:
//!
//! ```json
//! {"id":"s-1","type":"stock.delivered","data":{"quantity":10}}
//! {"id":"o-1","type":"order.placed","subject":"o-1","data":{"quantity":3,"card":"good"}}
//! {"id":"o-2","type":"order.placed","subject":"o-2","data":{"quantity":4,"card":"declined"}}
//! ```
//!
//! ```sh
//! sqlite3 shock-data/effects.sqlite 'select * from saga_orders; select * from saga_stock'
//! shock ctl events tail      # the steps that followed are events, too
//! ```

mod handler;

fn main() -> std::process::ExitCode {
    shock::main_with(handler::Saga)
}
