//! What the plan says and what the producer refuses, on topics as Kafka describes them.

use super::*;
use crate::log::kafka::{Cleanup, Timestamps};

const SPEC: TopicSpec = TopicSpec {
    partitions: 96,
    replication: 3,
    min_insync_replicas: 2,
    retention_ms: 604_800_000,
    message_bytes_max: 1_048_576,
    timestamps: Timestamps::Create,
    cleanup: Cleanup::Delete,
    segment_ms: None,
};

fn found() -> Found {
    let values = ["2", "604800000", "1048576", "false", "CreateTime", "delete", "604800000"]
        .map(str::to_owned);
    Found { partitions: 96, replication: 3, values }
}

/// The same with other values.
fn with(values: &[(&str, &str)]) -> Found {
    let mut found = found();
    for (key, value) in values {
        let at = KEYS.iter().position(|one| one == key).expect("a key");
        (*value).clone_into(&mut found.values[at]);
    }
    found
}

#[test]
fn what_differs_is_named_and_nothing_else() {
    assert_eq!(action(&SPEC, None), Action::Create(SPEC));
    assert_eq!(action(&SPEC, Some(&found())), Action::Fits);
    assert_eq!(action(&SPEC, Some(&with(&[("segment.ms", "1")]))), Action::Fits, "not asked for");
    let compact = TopicSpec { cleanup: Cleanup::Compact, segment_ms: Some(5), ..SPEC };
    let Action::Differs(differences) = action(&compact, Some(&found())) else { panic!("differs") };
    let named: Vec<&str> = differences.iter().map(|one| one.what).collect();
    assert_eq!(named, ["cleanup.policy", "segment.ms"]);
    let other = with(&[("retention.ms", "1")]);
    let plan = Plan {
        topics: vec![
            PlannedTopic { name: "e.control".to_owned(), action: action(&SPEC, Some(&other)) },
            PlannedTopic { name: "e.telemetry".to_owned(), action: action(&SPEC, None) },
        ],
    };
    assert_eq!(
        plan.to_string(),
        "e.control    differs  retention.ms is 1, wanted 604800000\n\
         e.telemetry  create   partitions 96, replication 3, min.insync.replicas 2, \
         retention.ms 604800000, max.message.bytes 1048576, \
         unclean.leader.election.enable false, message.timestamp.type CreateTime, \
         cleanup.policy delete\n"
    );
    assert!(!plan.fits());
}

#[test]
fn a_topic_carries_the_log_only_with_the_promised_replicas() {
    let check = |durability, found: Option<Found>, expected: &[&str]| {
        assert_eq!(misfit(&SPEC, durability, found.as_ref()), expected, "{found:?}");
    };
    check(Durability::Replicated, Some(found()), &[]);
    check(Durability::Single, None, &["is missing"]);
    let weak = Found {
        replication: 1,
        ..with(&[("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")])
    };
    check(Durability::Single, Some(weak.clone()), &[]);
    let reasons = [
        "replication 1, below 3",
        "min.insync.replicas 1, below 2",
        "unclean.leader.election.enable true, not false",
    ];
    check(Durability::Replicated, Some(weak), &reasons);
    let narrow = Found { partitions: 1, ..found() };
    check(Durability::Single, Some(narrow), &["1 partitions, not 96"]);
}
