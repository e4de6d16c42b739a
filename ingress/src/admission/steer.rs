//! Keeps the gates by what is heard: limits from the partitions' owners, demand from other replicas,
//! pins from operators. Says every half second what is asked of this replica.
//!
//! One task for the process. A limit that is heard takes effect at once, everything else twice a
//! second, the tenants' fair parts ten times a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::replica;
use shared::Shutdown;
use shared::config::{BreakerIngress, ControlConfig};
use shared::health::Heartbeat;
use shared::plane::message::{
    Applied, Demand, Limits, PartitionDemand, Report, TENANTS_MAX, TenantDemand,
};
use shared::plane::state::{Setting, Subject};
use shared::plane::{Heard, Live, Plane};
use shared::position::{Class, PartitionId};
use shared::tenant::TenantId;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use super::Admission;
use super::decision::Step;
use super::fairness::Fairness;
use super::latencies::Latencies;
use super::modes::ModeChoice;
use super::seat::{FRESH, Seat, Surroundings};
use super::wanted::Wanted;
use crate::core::Shared;

/// How often the fair parts are computed.
const FAIR_EVERY: Duration = Duration::from_millis(100);
/// Every so many of them, everything else.
const STEP_EVERY: u32 = 5;

/// Runs until `stop`.
pub(crate) async fn steer(shared: Arc<Shared>, plane: Plane, heartbeat: Heartbeat, stop: Shutdown) {
    let mut words = plane.listen();
    let mut state = plane.state();
    let mut steering = Steering::new(&shared, &plane);
    let mut tick = tokio::time::interval(FAIR_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            heard = words.recv() => match heard {
                Ok(heard) => steering.hear(&heard),
                // What was missed is said again in half a second.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            changed = state.changed() => {
                if changed.is_ok() {
                    steering.state_changed();
                }
            }
            _ = tick.tick() => {
                heartbeat.beat();
                ticks += 1;
                if ticks % STEP_EVERY == 0 {
                    steering.step();
                }
                steering.fair();
            }
        }
    }
}

struct Steering<'s> {
    admission: &'s Admission,
    plane: &'s Plane,
    config: Arc<ControlConfig>,
    seats: BTreeMap<PartitionId, Seat>,
    /// Every replica's last word, ours too.
    replicas: HashMap<Arc<str>, (Instant, Demand)>,
    /// Every consumer's last report.
    owners: HashMap<Arc<str>, Instant>,
    /// How long each owner's newest limits were under way.
    applied: HashMap<Arc<str>, f64>,
    /// When our own words last came back.
    echoed: Instant,
    stepped: Instant,
    /// How long requests waited for the log.
    answers: Latencies,
    fairness: Fairness,
    modes: ModeChoice,
    wanted: Wanted,
}

impl<'s> Steering<'s> {
    fn new(shared: &'s Shared, plane: &'s Plane) -> Self {
        let admission = &shared.admission;
        let config = admission.config.load_full();
        let now = Instant::now();
        let seat = |id: PartitionId| {
            (id, Seat::new(id, config.policies[id.class.index()], config.unit_per_s, now))
        };
        Self {
            admission,
            plane,
            seats: shared.router.ids().map(seat).collect(),
            wanted: Wanted::new(shared.router.ids().count(), config.unit_per_s),
            config,
            replicas: HashMap::new(),
            owners: HashMap::new(),
            applied: HashMap::new(),
            echoed: now,
            stepped: now,
            answers: Latencies::of(&shared.metrics.append_seconds),
            fairness: Fairness::new(now),
            modes: ModeChoice::default(),
        }
    }

    fn hear(&mut self, heard: &Heard) {
        let sent = heard.at.checked_sub(heard.age).unwrap_or(heard.at);
        match &heard.live {
            Live::Limits(limits) => self.hear_limits(&heard.from, limits, sent),
            Live::Report(Report { partitions }) => {
                self.owners.insert(Arc::clone(&heard.from), sent);
                for report in partitions {
                    if let Some(seat) = self.seats.get_mut(&report.place.into()) {
                        seat.hear_report(report, sent);
                    }
                }
            }
            Live::Demand(demand) => {
                if *heard.from == *self.plane.name() {
                    self.echoed = heard.at;
                }
                self.replicas.insert(Arc::clone(&heard.from), (heard.at, demand.clone()));
            }
        }
    }

    fn hear_limits(&mut self, from: &Arc<str>, limits: &Limits, sent: Instant) {
        for limit in &limits.partitions {
            let id = limit.place.into();
            // A partition that this configuration does not have.
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            match seat.hear_limit(limit, sent) {
                Ok(()) => self.set_gate(id),
                Err(ignored) => {
                    let reason = ignored.to_string();
                    self.admission.metrics.ignored.with_label_values(&[reason.as_str()]).inc();
                }
            }
        }
        let after_s = sent.elapsed().as_secs_f64();
        self.admission.metrics.applied_seconds.observe(after_s);
        self.applied.insert(Arc::clone(from), after_s);
    }

    /// An operator has set something: it is in effect when this returns.
    fn state_changed(&mut self) {
        let ids: Vec<_> = self.seats.keys().copied().collect();
        ids.into_iter().for_each(|id| self.set_gate(id));
        self.set_tenants();
        self.modes.choose(self.admission, self.plane, Instant::now());
    }

    fn step(&mut self) {
        let now = Instant::now();
        let dt_s = now.saturating_duration_since(self.stepped).as_secs_f64();
        self.stepped = now;
        self.follow_config();
        self.forget(now);
        let ids: Vec<_> = self.seats.keys().copied().collect();
        for id in ids {
            self.step_seat(id, dt_s, now);
            self.set_gate(id);
        }
        self.set_tenants();
        self.modes.step(self.admission, self.plane, &self.seats, dt_s, now);
        self.want(now);
        self.publish();
    }

    fn follow_config(&mut self) {
        let config = self.admission.config.load_full();
        if !Arc::ptr_eq(&config, &self.config) {
            for seat in self.seats.values_mut() {
                seat.reload(config.policies[seat.id.class.index()]);
            }
            self.config = config;
        }
    }

    /// Replicas and consumers that are silent are gone, unless it is we who hear nothing.
    fn forget(&mut self, now: Instant) {
        let fresh = |heard: &Instant| now.saturating_duration_since(*heard) <= FRESH;
        if fresh(&self.echoed) {
            self.replicas.retain(|_, (heard, _)| fresh(heard));
        }
        self.owners.retain(|_, heard| fresh(heard));
        self.applied.retain(|owner, _| self.owners.contains_key(owner));
        let replicas = self.others().count() + 1;
        self.admission.flows.set_replicas(replicas);
        self.admission.metrics.replicas.set(i64::try_from(replicas).unwrap_or(i64::MAX));
    }

    fn others(&self) -> impl Iterator<Item = &Demand> {
        let own = self.plane.name();
        self.replicas.iter().filter(move |(from, _)| &***from != own).map(|(_, (_, word))| word)
    }

    fn step_seat(&mut self, id: PartitionId, dt_s: f64, now: Instant) {
        let others: Vec<PartitionDemand> = self.demands_of_others(id).collect();
        let deaf = now.saturating_duration_since(self.echoed);
        let gate = self.admission.gates.of(id);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let offered = seat.offered.update(gate.offered.get(), dt_s);
        let admitted = seat.admitted.update(gate.admitted.get(), dt_s);
        let see = Surroundings {
            offered_per_s: offered + others.iter().map(|one| one.offered_per_s).sum::<f64>(),
            admitted_per_s: admitted + others.iter().map(|one| one.admitted_per_s).sum::<f64>(),
            deaf_s: (deaf > FRESH).then_some(deaf.as_secs_f64()),
        };
        seat.step(&see, self.admission.nanos(now), now);
        gate.set_behind_s(seat.behind_s());
    }

    fn demands_of_others(&self, id: PartitionId) -> impl Iterator<Item = PartitionDemand> {
        let of = move |demand: &Demand| {
            demand.partitions.iter().find(|one| PartitionId::from(one.place) == id).copied()
        };
        self.others().filter_map(of)
    }

    /// Puts a partition's limit in effect: the pin or the loop's, times the mode's factor, as far as it
    /// is this replica's.
    fn set_gate(&mut self, id: PartitionId) {
        let Some(seat) = self.seats.get(&id) else { return };
        let pin = self.plane.state().borrow().limit(id, self.plane.clock().now());
        let factor = self.admission.stance.load().effect.limit_factor;
        let broken = self.config.breaker_ingress == BreakerIngress::Reject
            && seat.store_is_gone(Instant::now());
        let by_loop = || Some(seat.limit_per_s? * factor);
        let limit = pin.or_else(|| if broken { Some(0.0) } else { by_loop() });
        let share = limit.map(|limit| {
            let own = seat.offered.per_s();
            let mut demands = vec![own];
            // A replica that asks for nothing here has its even part all the same.
            demands.extend(self.others().map(|demand| {
                let of = demand.partitions.iter().find(|one| PartitionId::from(one.place) == id);
                of.map_or(0.0, |one| one.offered_per_s)
            }));
            replica::limit_share(limit, &demands, 0)
        });
        self.admission.set_rate(id, share);
        let gate = self.admission.gates.of(id);
        gate.set_cause(match pin {
            Some(_) => Some(Step::Pin),
            None => broken.then_some(Step::Breaker),
        });
        if pin.is_some() {
            gate.set_behind_s(self.pinned_for_s(id));
        }
        let source = match pin {
            Some(_) => "pin",
            None if broken => "breaker",
            None => seat.source.name(),
        };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        // Most partitions are never limited, and cost nothing here.
        if limit.is_some() || seat.shown {
            self.admission.metrics.show_limit(id, limit, share, source);
        }
        seat.shown = limit.is_some();
    }

    /// How long an operator's limit will stand, s; 0 where it has no end.
    fn pinned_for_s(&self, id: PartitionId) -> f64 {
        let state = self.plane.state();
        let state = state.borrow();
        let until = state.get(&Subject::Partition(id)).and_then(|entry| entry.until_ms);
        let left_ms = until.map_or(0, |until| until.saturating_sub(self.plane.clock().now().0));
        left_ms.max(0) as f64 / 1e3
    }

    /// Puts the tenants' contracts and ceilings in effect, as far as they are this replica's.
    fn set_tenants(&self) {
        let state = self.plane.state();
        let state = state.borrow();
        let now = self.plane.clock().now();
        let overrides: HashMap<TenantId, (Option<f64>, Option<f64>)> = state
            .at(now)
            .filter_map(|(subject, entry)| match (subject, &entry.setting) {
                (Subject::Tenant(tenant), Setting::Tenant { contract_per_s, ceiling_per_s }) => {
                    Some((*tenant, (*contract_per_s, *ceiling_per_s)))
                }
                _ => None,
            })
            .collect();
        let replicas = self.others().count() + 1;
        let mut elsewhere: HashMap<&str, Vec<f64>> = HashMap::new();
        for one in self.others().flat_map(|demand| &demand.tenants) {
            elsewhere.entry(one.tenant.as_str()).or_default().push(one.offered_per_s);
        }
        self.admission.flows.with(|known| {
            for (name, tenant) in &known.tenants {
                let mut contract = self.config.contract(name);
                if let Some((own, ceiling)) = overrides.get(name) {
                    contract.contract_per_s = own.or(contract.contract_per_s);
                    contract.ceiling_per_s = ceiling.or(contract.ceiling_per_s);
                }
                let own = self.fairness.tenant_per_s(name);
                let mut demands = vec![own];
                demands.extend(elsewhere.get(name.as_str()).into_iter().flatten());
                let all: f64 = demands.iter().sum();
                demands.resize(replicas.max(demands.len()), 0.0);
                let ceiling_share = replica::limit_share(1.0, &demands, 0);
                let contract_share = replica::contract_share(1.0, own, all, replicas);
                tenant.set(contract, contract_share, ceiling_share);
            }
        });
    }

    fn fair(&mut self) {
        let limited = |id: PartitionId| self.admission.gates.of(id).bucket.rate_per_s();
        self.fairness.step(&self.admission.flows, &self.config, limited, Instant::now());
        let tenants = i64::try_from(self.fairness.tenants()).unwrap_or(i64::MAX);
        self.admission.metrics.tenants.set(tenants);
    }

    /// How many consumers the load asks for.
    fn want(&mut self, now: Instant) {
        let mut own = [0.0; Class::ALL.len()];
        for seat in self.seats.values() {
            own[seat.id.class.index()] += seat.offered.per_s();
        }
        for class in Class::ALL {
            let offered = self.admission.metrics.offered.with_label_values(&[class.name()]);
            offered.set(own[class.index()]);
        }
        let others = self.others().flat_map(|demand| &demand.partitions);
        let others: f64 = others.map(|one| one.offered_per_s).sum();
        let (offered, at) = (own.iter().sum::<f64>() + others, self.admission.nanos(now));
        let wanted = self.wanted.step(&self.seats, offered, self.owners.len(), at, now);
        self.admission.metrics.consumers_wanted.set(i64::from(wanted));
    }

    fn publish(&mut self) {
        let p99_s = self.answers.p99_s();
        let asked = |seat: &&Seat| seat.offered.per_s() >= 0.1;
        let partitions = self.seats.values().filter(asked).map(|seat| PartitionDemand {
            place: seat.id.into(),
            offered_per_s: seat.offered.per_s(),
            admitted_per_s: seat.admitted.per_s(),
        });
        let tenants = self.fairness.busiest(&self.admission.flows, TENANTS_MAX).into_iter();
        let applied = self.applied.iter();
        self.plane.publish(Live::Demand(Demand {
            partitions: partitions.collect(),
            tenants: tenants
                .map(|(tenant, offered_per_s)| TenantDemand {
                    tenant: tenant.as_str().to_owned(),
                    offered_per_s,
                })
                .collect(),
            applied: applied
                .map(|(owner, after_s)| Applied { owner: owner.to_string(), after_s: *after_s })
                .collect(),
            p99_s,
        }));
    }
}
