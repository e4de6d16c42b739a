//! Order around what is parked (`consumer.on_poison = "entity"`): later events of its entity wait behind
//! it, parked, too; those of others go on. ADR 24 has the cases.
//!
//! Nobody but the writer of the partition parks an event, so what it asks for before a batch holds until
//! the batch is committed. It asks only while something is parked: the normal path pays nothing.

use std::collections::HashSet;

use shared::config::OnPoison;
use tracing::warn;

use super::hand::Decoded;
use super::{End, Worker};
use crate::resolution::Stored;
use crate::retry::Order;

impl Worker {
    /// In which order parked records are tried.
    pub(super) fn order(&self) -> Order {
        match self.shared.config.on_poison {
            OnPoison::Entity => Order::Entity,
            OnPoison::Skip | OnPoison::Halt => Order::Due,
        }
    }

    /// Before a batch is weighed: parks what has to wait behind a parked record of its entity.
    pub(super) async fn keep_order(&mut self, decoded: &mut Decoded) -> Result<(), End> {
        let Some(batch) = decoded.batch().filter(|_| self.order() == Order::Entity) else {
            return Ok(());
        };
        // What an operator redrives is parked again.
        self.some_wait |= self.due.is_set();
        let mut waiting = None;
        if self.some_wait && !batch.rows.is_empty() {
            let entities: HashSet<String> = batch.entities().collect();
            let entities: Vec<String> = entities.into_iter().collect();
            waiting = loop {
                let asked = self.shared.store.waiting(self.id, &entities);
                match self.watched(asked).await {
                    Ok(waiting) => break waiting,
                    Err(error) => self.wait_or_halt(error).await?,
                }
            };
            self.some_wait = waiting.is_some();
        }
        self.some_wait |= batch.parked.iter().any(|row| row.retry_after.is_some());
        decoded.hold_back(&waiting.unwrap_or_default(), self.schedule.tries());
        Ok(())
    }

    /// Where nothing is due: makes due what waits behind others, as soon as it has its turn; all of it
    /// where no order is kept any more.
    pub(super) async fn arm(&mut self, claim: Stored) -> Result<Stored, End> {
        let (order, now) = (self.order(), self.shared.clock.now());
        match self.watched(self.shared.store.arm(self.id, claim.epoch, order, now)).await {
            Ok(0) => {
                self.due.clear();
            }
            // They are tried next.
            Ok(_) => {}
            Err(error) => {
                warn!(partition = %self.id, code = error.code, error = %error.message,
                    "what waits behind parked records cannot be made due");
                self.due.clear();
                return self.fence_off(claim, error.failure).await;
            }
        }
        Ok(claim)
    }
}
