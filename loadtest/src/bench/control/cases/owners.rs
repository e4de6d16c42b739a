//! Two processes write to one database that can do less than is asked of it: one owns the partition of
//! transactional events, the other one those of telemetry, of which there is too much. Telemetry is
//! absorbed, and transactional does not wait for it.

use std::time::Duration;

use shared::position::Class;

use super::super::Options;
use super::super::plan::{self, Offer, SPIKE};
use super::super::probe;
use super::super::scene::Scene;
use super::{Owned, database, owned, shed_share};
use crate::bench::report::{Direction, Report};
use crate::deployment::{Cluster, PARTITIONS};
use crate::wait::{Seen, wait_until};

/// What is asked of the database, of what it can do: less than half by the one, more than the rest by the
/// other.
const TRANSACTIONAL_SHARE: f64 = 0.45;
const TELEMETRY_SHARE: f64 = 0.85;
/// The group has this long to share the partitions out.
const SHARED_OUT_MAX: Duration = Duration::from_secs(30);
/// Transactional's objective.
const LAG_MAX_S: f64 = 1.0;

/// Runs the case.
pub async fn run(
    cluster: &mut Cluster,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    for index in 0..2 {
        cluster.consumer_up(index).await?;
    }
    let scene = Scene::of(cluster, 2, options.scale)?;
    let (first, second) = shared_out(&scene).await?;
    let transactional = &of_class(&first, Class::Transactional)[..1];
    let telemetry = of_class(&second, Class::Telemetry);
    let database_per_s = database::capacity_per_s(options.scale);
    let mut offers = Vec::new();
    for (class, partitions, share) in [
        (Class::Transactional, transactional, TRANSACTIONAL_SHARE),
        (Class::Telemetry, &telemetry, TELEMETRY_SHARE),
    ] {
        let each_per_s = share * database_per_s / partitions.len() as f64;
        let per_s = match class {
            Class::Telemetry => [0.0, each_per_s, 0.0],
            Class::Control | Class::Transactional => [each_per_s; 3],
        };
        let tenants = plan::tenants().into_iter().filter(|tenant| tenant.rogue);
        let of = tenants.filter(|tenant| partitions.contains(&tenant.partition));
        offers.extend(of.map(|tenant| Offer { tenant, class, per_s }));
    }
    let played = scene.play(offers, options.course, async { Ok(()) }).await?;
    let shed = |class| anyhow::Ok(shed_share(&played.part(SPIKE, |offer| offer.class == class)?));
    let offered = TRANSACTIONAL_SHARE + TELEMETRY_SHARE;
    report.note("two-owners: asked of the database, of what it can do", offered, "of 1");
    let most_s = |class| probe::most_s(&played.looks, class);
    let reach = (Direction::AtMost, LAG_MAX_S);
    let what = "two-owners: the most that transactional was behind";
    report.note_against(what, most_s(Class::Transactional), "s", reach);
    let above_s = probe::above_s(&played.looks, Class::Transactional, LAG_MAX_S);
    report.note("two-owners: transactional more than 1 s behind", above_s, "s");
    let what = "two-owners: the most that telemetry was behind, at the other process";
    report.note(what, most_s(Class::Telemetry), "s");
    for class in [Class::Transactional, Class::Telemetry] {
        let what = format!("two-owners: shed meanwhile, {class}");
        report.note_against(what, shed(class)?, "of 1", (Direction::AtMost, 0.0));
    }
    Ok(())
}

/// What each of the two owns, once the group has shared all out between them.
async fn shared_out(scene: &Scene) -> anyhow::Result<(Owned, Owned)> {
    let admins = scene.consumers.admins();
    wait_until("both consumers own a part".to_owned(), SHARED_OUT_MAX, async || {
        let (first, second) = (owned(admins[0]).await?, owned(admins[1]).await?);
        let shared = first.is_disjoint(&second)
            && first.len() + second.len() == Class::ALL.len() * PARTITIONS as usize
            && !of_class(&first, Class::Transactional).is_empty()
            && !of_class(&second, Class::Telemetry).is_empty();
        let counts = format!("{} and {}", first.len(), second.len());
        Ok(if shared { Seen::There((first, second)) } else { Seen::NotYet(counts) })
    })
    .await
}

fn of_class(owned: &Owned, class: Class) -> Vec<u32> {
    owned.iter().filter(|(name, _)| *name == class.name()).map(|(_, part)| *part).collect()
}
