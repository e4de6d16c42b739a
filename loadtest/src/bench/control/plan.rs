//! What is offered and what can be done: tenants inside their contracts, others that go beyond theirs,
//! and writers of a set capacity.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::position::Class;
use shared::route::Router;

use crate::bench::template::{NUMBER, Template};
use crate::deployment::PARTITIONS;

/// The one key: it writes for whichever tenant an event names.
const KEY: &str = "bench";
const SECRET: &str = "loadtest";
/// Before and after the spike, of the capacity.
const CALM_SHARE: f64 = 0.5;
/// Tenants of each partition that stay inside their contract.
const CALM_TENANTS: u32 = 2;
/// What each of them offers in a class, of what a writer does.
const CALM_OFFER_SHARE: f64 = 0.16;
/// What they are contracted, for all classes together.
const CALM_CONTRACT_SHARE: f64 = 0.48;
/// What the one of each partition that goes beyond it is contracted.
const ROGUE_CONTRACT_SHARE: f64 = 0.36;
/// What each tenant inside its contract offers of class control.
const CONTROL_SHARE: f64 = 0.01;

/// What the writers can do, and so what is offered and contracted.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// One partition's writer, events/s: small against what the machine can do, so that the loop is
    /// measured and not the machine.
    pub writer_per_s: u32,
}

impl Scale {
    /// A share of what a writer does, events/s.
    pub fn of_writer(self, share: f64) -> f64 {
        f64::from(self.writer_per_s) * share
    }

    /// What all writers of a class do together, events/s.
    pub fn class_per_s(self) -> f64 {
        self.of_writer(f64::from(PARTITIONS))
    }
}

/// How long each part of a run takes, and how steep the spike is.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Before the spike.
    pub before: Duration,
    /// The spike.
    pub spike: Duration,
    /// After it.
    pub after: Duration,
    /// By how much the load of transactional and telemetry grows.
    pub factor: f64,
}

/// The parts, in the order of [`Course::parts`].
pub const SPIKE: usize = 1;

impl Course {
    /// Their lengths.
    pub fn parts(&self) -> [Duration; 3] {
        [self.before, self.spike, self.after]
    }
}

/// A tenant of the load.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// The partition that its events go to, in every class.
    pub partition: u32,
    /// It offers more than it is contracted.
    pub rogue: bool,
}

/// The tenants: of each partition two that stay inside their contract, and one that does not.
pub fn tenants() -> Vec<Tenant> {
    let router = Router::new([PARTITIONS; 3], Vec::new());
    let mut tenants = Vec::new();
    for partition in 0..PARTITIONS {
        let lands = |name: &String| {
            router.partition(Class::Transactional, name.as_bytes()).partition.0 == partition
        };
        let calm = (0..).map(|n| format!("bench-calm-{n}")).filter(lands);
        let rogue = (0..).map(|n| format!("bench-rogue-{n}")).filter(lands);
        let calm = calm.take(CALM_TENANTS as usize).map(|name| (name, false));
        tenants.extend(
            calm.chain(rogue.take(1).map(|name| (name, true))).map(|(name, rogue)| Tenant {
                name,
                partition,
                rogue,
            }),
        );
    }
    tenants
}

/// The configuration of it all, beside what every deployment has.
pub fn config(tenants: &[Tenant], scale: Scale) -> String {
    let writer_per_s = scale.writer_per_s;
    let digest = hex::encode(Sha256::digest(SECRET));
    let mut text = format!(
        "[consumer]\nrate_per_s_max = {writer_per_s}\n\n[control]\nunit_per_s = {writer_per_s}\n\n\
         [classes]\ncontrol = [\"bench.control\"]\ntelemetry = [\"bench.telemetry\"]\n\n\
         [[key]]\nid = \"{KEY}\"\ntenants = [\"bench-*\"]\nsecret_sha256 = \"{digest}\"\n"
    );
    for tenant in tenants {
        let share = if tenant.rogue { ROGUE_CONTRACT_SHARE } else { CALM_CONTRACT_SHARE };
        let contract_per_s = scale.of_writer(share);
        let _ = write!(
            text,
            "\n[[contract]]\ntenant = \"{}\"\ncontract_per_s = {contract_per_s}\n",
            tenant.name
        );
    }
    text
}

/// What one tenant offers in one class.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose.
    pub tenant: Tenant,
    /// The class.
    pub class: Class,
    /// Events/s in each part of the course.
    pub per_s: [f64; 3],
}

/// All offers. The calm ones offer the same all the time; the spike is the others'.
pub fn offers(tenants: &[Tenant], scale: Scale, factor: f64) -> Vec<Offer> {
    let each_per_s = scale.of_writer(CALM_OFFER_SHARE);
    let rogues = tenants.iter().filter(|tenant| tenant.rogue).count() as f64;
    let calm_per_s = each_per_s * (tenants.len() as f64 - rogues);
    let base_per_s = scale.class_per_s() * CALM_SHARE;
    let of_rogue = |total_per_s: f64| ((total_per_s - calm_per_s) / rogues).max(0.0);
    let mut offers = Vec::new();
    for tenant in tenants {
        for class in [Class::Transactional, Class::Telemetry] {
            let (calm, spike) = (of_rogue(base_per_s), of_rogue(base_per_s * factor));
            let per_s = if tenant.rogue { [calm, spike, calm] } else { [each_per_s; 3] };
            offers.push(Offer { tenant: tenant.clone(), class, per_s });
        }
        if !tenant.rogue {
            let per_s = [scale.of_writer(CONTROL_SHARE); 3];
            offers.push(Offer { tenant: tenant.clone(), class: Class::Control, per_s });
        }
    }
    offers
}

impl Offer {
    /// The request that offers one event, of about the size of the other benches' events.
    pub fn template(&self) -> Template {
        const FILL: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let (tenant, class) = (&self.tenant.name, self.class);
        let body = format!(
            "{{\"id\":\"{class}-{NUMBER}\",\"type\":\"bench.{class}\",\"source\":\"/bench\",\
             \"tenant\":\"{tenant}\",\"data\":{{\"a\":\"{FILL}\",\"b\":\"{FILL}\",\"c\":\"{FILL}\"}}}}"
        );
        Template::events(&format!("{KEY}.{SECRET}"), "application/json", body.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_half_of_the_capacity_and_a_multiple_of_it_in_the_spike() {
        let tenants = tenants();
        let scale = Scale { writer_per_s: 50 };
        let offers = offers(&tenants, scale, 12.0);
        for class in [Class::Transactional, Class::Telemetry] {
            let of_class = || offers.iter().filter(|offer| offer.class == class);
            let total =
                [0, 1, 2].map(|part| of_class().map(|offer| offer.per_s[part]).sum::<f64>());
            for (total, share) in total.into_iter().zip([0.5, 6.0, 0.5]) {
                assert!((total - share * scale.class_per_s()).abs() < 1e-6, "{class}: {total}");
            }
        }
        // Inside its contract: all classes of a calm tenant together.
        for tenant in tenants.iter().filter(|tenant| !tenant.rogue) {
            let own = offers.iter().filter(|offer| offer.tenant.name == tenant.name);
            assert!(
                own.map(|offer| offer.per_s[SPIKE]).sum::<f64>()
                    <= scale.of_writer(CALM_CONTRACT_SHARE)
            );
        }
    }

    #[test]
    fn every_partition_has_its_tenants() {
        let tenants = tenants();
        for partition in 0..PARTITIONS {
            let own: Vec<_> = tenants.iter().filter(|t| t.partition == partition).collect();
            assert_eq!(own.iter().map(|t| t.rogue).collect::<Vec<_>>(), [false, false, true]);
        }
        assert!(config(&tenants, Scale { writer_per_s: 50 }).contains(&tenants[0].name));
    }
}
