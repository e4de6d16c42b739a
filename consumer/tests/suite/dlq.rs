//! The cases about the operator's way back: look, redrive, drop, audit, and the mirror.

use consumer::dlq::{Action, Ask, Dlq, DlqError, Done, Filter};
use consumer::mirror::Mirror;
use shared::clock::Millis;
use shared::log::memory::PublisherMemory;
use shared::log::{Publication, Publisher, Unpublished};
use shared::{Process, Shutdown};

use super::base::Base;
use super::{Bench, FIRST, NOON, SECOND};

const AUDITED: &str = "select count(*) from pipeline.audit";
/// The tries of the row at the first partition's offset 1.
const TRIES: &str = "select cast(tries_left as bigint) from pipeline.parked \
    where log_offset = 1 and partition = 0";

/// Three that no store takes in the first partition, one in the second, and one that is no event.
async fn parked(base: Base) -> (Bench, Dlq) {
    let bench = Bench::new(base).await;
    bench.base.refuse_type("refuse.me").await;
    bench.events(FIRST, "good", 1);
    for (id, n) in [(FIRST, 1), (FIRST, 2), (FIRST, 3), (SECOND, 4)] {
        let value = format!(r#"{{"id":"bad-{n}","type":"refuse.me","data":{{"n":{n}}}}}"#);
        bench.append(id, NOON, "acme", &value);
    }
    bench.append(SECOND, NOON, "umbrella", "{");
    bench.drain().await.stop().await;
    // What the writers plan by themselves is not what these cases are about.
    let still = "update pipeline.parked set state = 'dead', next_try_at = null, tries_left = 0 \
        where reason = 'refused_by_store'";
    bench.base.sql(still).await;
    let dlq = Dlq::new(bench.base.store().await, bench.clock.clone());
    (bench, dlq)
}

fn filter(json: &str) -> Filter {
    serde_json::from_str(json).expect("a filter")
}

fn ask(json: &str) -> Ask {
    let named = Ask { by: "ops".to_owned(), why: "mended".to_owned(), ..Ask::default() };
    Ask { filter: filter(json), ..named }
}

async fn places(dlq: &Dlq, json: &str) -> Vec<String> {
    let page = dlq.list(filter(json), None, 1_000).await.expect("a page");
    assert_eq!(page.next, None);
    page.rows.into_iter().map(|row| row.place).collect()
}

pub async fn what_is_parked_is_listed_and_shown(base: Base) {
    let (_bench, dlq) = parked(base).await;
    let all = [
        "transactional/0@1",
        "transactional/0@2",
        "transactional/0@3",
        "transactional/1@0",
        "transactional/1@1",
    ];
    assert_eq!(places(&dlq, "{}").await, all);
    assert_eq!(places(&dlq, r#"{"place":"transactional/0"}"#).await, all[..3]);
    assert_eq!(places(&dlq, r#"{"place":"transactional/1@0"}"#).await, all[3..4]);
    assert_eq!(places(&dlq, r#"{"place":"telemetry"}"#).await, all[..0]);
    assert_eq!(places(&dlq, r#"{"tenant":"umbrella"}"#).await, all[4..]);
    assert_eq!(places(&dlq, r#"{"type":"refuse.*","tenant":"acme"}"#).await, all[..4]);
    assert_eq!(places(&dlq, r#"{"id":"bad-2"}"#).await, all[1..2]);
    assert_eq!(places(&dlq, r#"{"reason":"value_not_json"}"#).await, all[4..]);
    assert_eq!(places(&dlq, r#"{"state":"dead"}"#).await, all);
    assert_eq!(places(&dlq, r#"{"state":"parked"}"#).await, all[..0]);

    // Page by page it is the same.
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = dlq.list(Filter::default(), after.as_deref(), 2).await.expect("a page");
        assert!(page.rows.len() <= 2);
        seen.extend(page.rows.into_iter().map(|row| row.place));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);

    let row = dlq.list(filter(r#"{"id":"bad-1"}"#), None, 1).await.expect("a page").rows.remove(0);
    let named = (row.tenant.as_str(), row.event_type.as_deref(), row.source.as_deref());
    assert_eq!(named, ("acme", Some("refuse.me"), Some("/")));
    assert!(row.sqlstate.is_some());

    let summary = dlq.summary(Filter::default(), None).await.expect("a summary");
    let counted: Vec<_> = summary
        .groups
        .iter()
        .map(|one| (one.count, one.reason.as_str(), one.event_type.as_deref()))
        .collect();
    let expected = [(4, "refused_by_store", Some("refuse.me")), (1, "value_not_json", None)];
    assert_eq!(counted, expected);

    let whole = dlq.show("transactional/1@1").await.expect("it is there").remove(0);
    assert_eq!((whole.value.0.as_slice(), whole.key.0.as_slice()), (&b"{"[..], &b"umbrella"[..]));
    assert_eq!(whole.record_timestamp_ms, NOON.0);
    assert!(matches!(dlq.show("transactional/0@0").await, Err(DlqError::Nothing(_))));
    assert!(matches!(dlq.show("transactional/0").await, Err(DlqError::Request(_))));
}

pub async fn what_is_redriven_is_due_in_its_order_and_audited(base: Base) {
    let (bench, dlq) = parked(base).await;
    let look = Ask { dry_run: true, ..ask(r#"{"type":"refuse.me"}"#) };
    let looked = dlq.act(Action::Redrive, look).await.expect("a look");
    assert_eq!((looked.matched, looked.changed), (4, 0));
    assert_eq!(bench.count(AUDITED).await, 0);
    assert_eq!(bench.count(TRIES).await, 0);

    let slowly = Ask { rate_per_s: Some(2.0), ..ask(r#"{"type":"refuse.me"}"#) };
    let done = dlq.act(Action::Redrive, slowly.clone()).await.expect("it is done");
    assert_eq!((done.matched, done.changed, done.last_try_in_s), (4, 4, 1.5));
    assert_eq!(bench.count(TRIES).await, 1);
    // The partitions take turns: 0@1, 1@0, 0@2, 0@3.
    let order = bench
        .base
        .texts(
            "select partition || '@' || log_offset from pipeline.parked \
             where next_try_at is not null and state = 'parked' order by next_try_at",
        )
        .await;
    assert_eq!(order, ["0@1", "1@0", "0@2", "0@3"]);
    let again = dlq.act(Action::Redrive, slowly).await.expect("twice is no mistake");
    assert_eq!(again.changed, 4);

    let audit = dlq.audit(None, 10).await.expect("an audit");
    let told: Vec<_> =
        audit.iter().map(|row| (row.author.as_str(), row.action.as_str(), row.affected)).collect();
    assert_eq!(told, [("ops", "redrive", 4), ("ops", "redrive", 4)]);
    assert_eq!(audit[0].filter, serde_json::json!({"type": "refuse.me", "rate_per_s": 2.0}));
    assert_eq!(audit[0].reason.as_deref(), Some("mended"));
    assert!(audit[0].id > audit[1].id);
    let older = dlq.audit(Some(audit[0].id), 10).await.expect("an audit");
    assert_eq!(older, audit[1..]);
}

pub async fn what_is_dropped_stays_dropped_until_somebody_says_so(base: Base) {
    let (bench, dlq) = parked(base).await;
    let done = dlq.act(Action::Drop, ask(r#"{"id":"bad-1"}"#)).await.expect("it is done");
    assert_eq!(done.changed, 1);
    let all = Ask { all: true, ..ask("{}") };
    let redriven = dlq.act(Action::Redrive, all).await.expect("it is done");
    assert_eq!(redriven.changed, 4, "without the dropped one");
    assert!(matches!(
        dlq.act(Action::Drop, ask(r#"{"id":"bad-1"}"#)).await,
        Err(DlqError::Nothing(_))
    ));
    // A retry by the producer is still a duplicate.
    bench.append(FIRST, NOON, "acme", r#"{"id":"bad-1","type":"order.paid"}"#);
    bench.drain().await.stop().await;
    assert_eq!(bench.count("select count(*) from pipeline.events where id = 'bad-1'").await, 0);
    let back = dlq.act(Action::Redrive, ask(r#"{"id":"bad-1","state":"dropped"}"#)).await;
    assert_eq!(back.expect("it is done").changed, 1);
    assert_eq!(bench.count(AUDITED).await, 3);
}

pub async fn an_action_says_what_it_is_about_and_who_asks(base: Base) {
    let (bench, dlq) = parked(base).await;
    let refused = async |action, ask| match dlq.act(action, ask).await {
        Err(DlqError::Request(why) | DlqError::Nothing(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(Action::Redrive, ask("{}")).await.contains("or say all"));
    let both = Ask { all: true, ..ask(r#"{"tenant":"acme"}"#) };
    assert!(refused(Action::Redrive, both).await.contains("either"));
    let nothing = refused(Action::Redrive, ask(r#"{"tenant":"zeta"}"#)).await;
    assert!(nothing.contains("no parked row"), "{nothing}");
    let nobody = Ask { by: " ".to_owned(), ..ask(r#"{"tenant":"acme"}"#) };
    assert!(refused(Action::Drop, nobody).await.contains("by is missing"));
    let silent = Ask { why: String::new(), ..ask(r#"{"tenant":"acme"}"#) };
    assert!(refused(Action::Drop, silent).await.contains("why is missing"));
    let still = Ask { rate_per_s: Some(0.0), ..ask(r#"{"tenant":"acme"}"#) };
    assert!(refused(Action::Redrive, still).await.contains("rate_per_s"));
    let fast = Ask { rate_per_s: Some(1.0), ..ask(r#"{"tenant":"acme"}"#) };
    assert!(refused(Action::Drop, fast).await.contains("no rate"));
    assert_eq!(bench.count(AUDITED).await, 0);
}

pub async fn an_action_goes_on_from_its_cursor(base: Base) {
    let (bench, dlq) = parked(base).await;
    let page = dlq.list(Filter::default(), None, 2).await.expect("a page");
    let rest = Ask { after: page.next, begun: 2, rate_per_s: Some(1.0), all: true, ..ask("{}") };
    let done = dlq.act(Action::Redrive, rest.clone()).await.expect("the rest");
    assert_eq!((done.changed, done.last_try_in_s), (3, 4.0));
    assert_eq!(bench.count(TRIES).await, 0, "it was in the first part");
    // Behind the end there is nothing, and that is no mistake of the one who goes on.
    let end = dlq.list(Filter::default(), None, 5).await.expect("a page").next;
    let none: Done =
        dlq.act(Action::Redrive, Ask { after: end, begun: 5, ..rest }).await.expect("the end");
    assert_eq!((none.matched, none.next), (0, None));
}

/// A consumer that mirrors to memory.
struct Mirroring {
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), consumer::ConsumerError>>,
}

impl Mirroring {
    async fn start(bench: &Bench, letters: &PublisherMemory) -> Self {
        let process = Process::alone(bench.clock.clone());
        let topics = ["e.control", "e.transactional", "e.telemetry"].map(str::to_owned);
        let mirror = Mirror::new(Publisher::Memory(letters.clone()), topics, "1.2.3");
        let consumer = bench.consumer(bench.base.store().await, &process).mirrored(mirror);
        let shutdown = Shutdown::new();
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("does not panic").expect("stops well");
    }
}

fn header<'l>(letter: &'l Publication, name: &str) -> Option<&'l str> {
    let found = letter.headers.iter().find(|(key, _)| key == name)?;
    std::str::from_utf8(&found.1).ok()
}

pub async fn what_is_parked_is_mirrored_once_for_each_state(base: Base) {
    let (bench, dlq) = parked(base).await;
    let letters = PublisherMemory::default();
    // Away at first, and one that the topic never takes.
    let away = Unpublished::Unavailable("a test".to_owned());
    letters.script(vec![away; 5]);
    letters.script([Unpublished::TooLarge]);
    let mirroring = Mirroring::start(&bench, &letters).await;
    bench.until("the copies are there", async || letters.published().len() == 4).await;
    let told = letters.published();
    let offsets: Vec<_> = told.iter().map(|one| header(one, "dlq_offset")).collect();
    assert_eq!(offsets, [Some("2"), Some("3"), Some("0"), Some("1")]);
    let first = &told[0];
    assert_eq!(first.key.as_ref(), b"acme");
    assert_eq!(first.value.as_ref(), br#"{"id":"bad-2","type":"refuse.me","data":{"n":2}}"#);
    for (name, expected) in [
        ("dlq_topic", "e.transactional"),
        ("dlq_partition", "0"),
        ("dlq_class", "transactional"),
        ("dlq_timestamp", &NOON.0.to_string()),
        ("dlq_tenant", "acme"),
        ("dlq_source", "/"),
        ("dlq_id", "bad-2"),
        ("dlq_type", "refuse.me"),
        ("dlq_reason", "refused_by_store"),
        ("dlq_state", "dead"),
        ("dlq_build", "1.2.3"),
    ] {
        assert_eq!(header(first, name), Some(expected), "{name}");
    }
    for name in ["dlq_sqlstate", "dlq_attempt", "dlq_epoch", "dlq_parked_at"] {
        assert!(header(first, name).is_some(), "{name}");
    }
    let noted = "select count(*) from pipeline.parked where mirrored = state";
    bench.until("all are noted", async || bench.count(noted).await == 5).await;

    dlq.act(Action::Drop, ask(r#"{"id":"bad-3"}"#)).await.expect("it is done");
    bench.until("its new state is told", async || letters.published().len() == 5).await;
    let last = letters.published().pop().expect("there are five");
    assert_eq!(
        (header(&last, "dlq_id"), header(&last, "dlq_state")),
        (Some("bad-3"), Some("dropped"))
    );
    mirroring.stop().await;

    // Who comes next goes on where that one was.
    bench.clock.advance(1_000);
    let next = Mirroring::start(&bench, &letters).await;
    bench.append(FIRST, Millis(NOON.0), "acme", "[]");
    bench.until("the new one is told", async || letters.published().len() == 6).await;
    next.stop().await;
    assert_eq!(letters.published().len(), 6);
}
