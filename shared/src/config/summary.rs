//! What a configuration means, for people: `shock config check` prints it. No secrets.

use std::fmt::Write as _;

use control::profile::Overflow;

use super::control::overflow_name;
use super::{
    Backend, Config, Contract, ControlConfig, Essential, KeyState, RateBound, Scopes, SinkOrder,
    SinkTarget, SourceConfig,
};
use crate::position::Class;

impl Config {
    /// Several lines: listeners, backend, type → class, class → topic, who may post.
    pub fn summary(&self) -> String {
        let mut page = String::new();
        let _ = writeln!(page, "ingress   {}", self.ingress.listen);
        let _ = writeln!(page, "admin     {}", self.admin_listen);
        let _ = writeln!(page, "pipeline  {}", self.consumer.pipeline);
        self.backend(&mut page);
        self.classes(&mut page);
        self.consumer.control.summary(&mut page);
        self.producers(&mut page);
        self.receivers(&mut page);
        page
    }

    fn backend(&self, page: &mut String) {
        match &self.backend {
            Backend::Embedded(embedded) => {
                let _ = writeln!(page, "backend   embedded, {}", embedded.data_dir.display());
            }
            Backend::Cluster { kafka, .. } => {
                let _ = writeln!(page, "backend   kafka, {}", kafka.brokers);
            }
        }
    }

    fn classes(&self, page: &mut String) {
        page.push_str("\ntype → class\n");
        for rule in &self.classes {
            let _ = writeln!(page, "  {:<40} {}", rule.pattern, rule.class);
        }
        let _ = writeln!(page, "  {:<40} {}", "(every other type)", Class::Transactional);
        for schema in &self.ingress.schemas.entries {
            let class = self.router.class(&schema.event_type);
            let _ = writeln!(page, "  {:<40} {class}, with a schema", schema.event_type);
        }
        page.push_str("\nclass → topic\n");
        for class in Class::ALL {
            let partitions = self.router.partitions(class);
            let _ = write!(page, "  {:<14} ", class.name());
            let _ = match &self.backend {
                Backend::Embedded(_) => writeln!(page, "embedded log, {partitions} partitions"),
                Backend::Cluster { kafka, .. } => {
                    let topic = kafka.topics[class.index()];
                    writeln!(
                        page,
                        "{}.{class}, {partitions} partitions, replication {}, min.insync.replicas \
                         {}, retention {} s, messages up to {} bytes",
                        kafka.topic_prefix,
                        topic.replication,
                        topic.min_insync_replicas,
                        topic.retention_ms / 1_000,
                        topic.message_bytes_max,
                    )
                }
            };
        }
    }

    fn receivers(&self, page: &mut String) {
        if !self.sinks.is_empty() {
            page.push_str("\nsinks\n");
        }
        for sink in &self.sinks {
            let to = match &sink.target {
                SinkTarget::Webhook(webhook) if webhook.secrets.is_empty() => {
                    "webhook, not signed".to_owned()
                }
                SinkTarget::Webhook(_) => "webhook, signed".to_owned(),
                SinkTarget::Kafka { topic } => format!("topic {topic}"),
                SinkTarget::Log => "the log".to_owned(),
            };
            let order = match sink.order {
                SinkOrder::Entity => "in order per entity",
                SinkOrder::None => "in no order",
            };
            let types = sink.types.join(", ");
            let _ = writeln!(page, "  {:<14} {to}; types {types}; {order}", sink.name);
        }
    }

    fn producers(&self, page: &mut String) {
        page.push_str("\nkeys\n");
        for key in &self.ingress.keys {
            let _ = write!(page, "  {:<14} {}", key.id, written(&key.scopes, key.rate));
            if key.state == KeyState::Disabled {
                page.push_str("; disabled");
            }
            if let Some(end) = key.not_after {
                let _ = write!(page, "; not after {}", end.rfc3339());
            }
            page.push('\n');
        }
        page.push_str("\ncertificates\n");
        for certificate in &self.ingress.certificates {
            let scopes = written(&certificate.scopes, certificate.rate);
            let _ = writeln!(page, "  {:<14} {scopes}", certificate.san);
        }
        page.push_str("\nsources\n");
        for source in &self.ingress.sources {
            source.summary(page);
        }
    }
}

impl ControlConfig {
    fn summary(&self, page: &mut String) {
        let _ = writeln!(page, "\nlimits (control.enforcement = {})", self.enforcement.name());
        let _ = writeln!(
            page,
            "  {:<14} {:<9} {:>12} {:>16}",
            "class", "overflow", "setpoint", "outage budget"
        );
        for class in Class::ALL {
            let policy = self.policies[class.index()];
            let Some(setpoint_s) = policy.setpoint_s else {
                let _ = writeln!(page, "  {:<14} never limited", class.name());
                continue;
            };
            // Only what is absorbed outlasts an outage.
            let outage = match policy.overflow {
                Overflow::Absorb => format!("{} s", policy.outage_budget_s),
                Overflow::Bound | Overflow::Shed => "-".to_owned(),
            };
            let overflow = overflow_name(policy.overflow);
            let setpoint = format!("{setpoint_s} s");
            let class = class.name();
            let _ = writeln!(page, "  {class:<14} {overflow:<9} {setpoint:>12} {outage:>16}");
        }
        let _ = writeln!(page, "  {:<14} {}", "every tenant", self.contract.summary());
        let _ = writeln!(page, "  {:<14} {}", "contracts", self.contracts.len());
        if self.essential == Essential::default() {
            page.push_str("  nothing is essential: read-only would let in nothing\n");
        }
    }
}

impl Contract {
    fn summary(&self) -> String {
        let rate = |rate: Option<f64>| rate.map_or("none".to_owned(), |rate| format!("{rate}/s"));
        format!("contract {}, ceiling {}", rate(self.contract_per_s), rate(self.ceiling_per_s))
    }
}

/// What a credential may write, in one line.
fn written(scopes: &Scopes, rate: Option<RateBound>) -> String {
    let mut line = String::from("writes for ");
    let own = scopes.tenant.iter().map(|tenant| tenant.as_str());
    let tenants: Vec<_> = own.chain(scopes.tenants.iter().map(String::as_str)).collect();
    line.push_str(&tenants.join(", "));
    let classes: Vec<_> = scopes.classes.iter().map(|class| class.name().to_owned()).collect();
    let narrowed = [("types", &scopes.types), ("sources", &scopes.sources), ("classes", &classes)];
    for (what, list) in narrowed.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = write!(line, "; {what} {}", list.join(", "));
    }
    if let Some(rate) = rate {
        let _ = write!(line, "; {} requests/s, {} at once", rate.requests_per_s, rate.burst);
    }
    line
}

impl SourceConfig {
    fn summary(&self, page: &mut String) {
        let signed = match &self.signature {
            Some(signature) => format!("signed in {}", signature.scheme.header()),
            None => "not signed".to_owned(),
        };
        let checked = match &self.schema {
            Some(schema) => format!("checked against {}", schema.file.display()),
            None => "bodies not checked (no schema.file)".to_owned(),
        };
        let _ = writeln!(page, "  /v1/sources/{:<14} {signed}, {checked}", self.name);
    }
}
