//! Parse and verdict, tape against library, as ratios from one run:
//! `cargo bench -p ingress --bench validate`.
//!
//! Every side gets the same bytes and parses a copy of them, as simd-json rewrites what it parses; only
//! serde_json reads them in place. The reference is simd-json's own way to a `serde_json::Value`, then
//! `is_valid`: once with buffers that are kept, once as its documentation shows it. Two more are
//! printed: the ingress's own second tier (its parser, whose tape becomes the value), and serde_json
//! without simd-json. The ingress's parser also holds the bound on members; nobody else does.
//!
//! CPU time of this thread; medians of rounds that take turns, so that a busy machine slows all sides
//! alike. Where `SHOCK_BENCH_JSON` names a file, the figures are written into it.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;

use ingress::probe::Probe;
use serde_json::{Value, json};
use simd_json::Buffers;
use tempfile::NamedTempFile;

/// Rounds of all sides, one after the other.
const ROUNDS: usize = 15;
/// What is asked of the tape: this many times as fast as the reference.
const REACH: f64 = 4.0;

/// The load generator's event, and the schema that `cargo xtask bench ingress` has for its data.
const EVENT: &[u8] = include_bytes!("order.paid.event.json");
const SCHEMA: &str = include_str!("order.paid.json");

/// What a side keeps between texts.
struct Kept {
    probe: Probe,
    buffers: Buffers,
    copy: Vec<u8>,
}

type Side = (&'static str, fn(&mut Kept, usize, &[u8]) -> bool);

/// The first is a part of the second, which the others are compared with.
const SIDES: [Side; 6] = [
    ("parse", |kept, _, text| kept.probe.parse(text)),
    ("parse, tape", |kept, schema, text| kept.probe.tape(schema, text) == Some(true)),
    ("simd-json, buffers kept", |kept, schema, text| {
        kept.copy.clear();
        kept.copy.extend_from_slice(text);
        let value = simd_json::serde::from_slice_with_buffers(&mut kept.copy, &mut kept.buffers);
        value.is_ok_and(|value| kept.probe.verdict(schema, &value))
    }),
    ("simd-json", |kept, schema, text| {
        kept.copy.clear();
        kept.copy.extend_from_slice(text);
        let value = simd_json::serde::from_slice(&mut kept.copy);
        value.is_ok_and(|value| kept.probe.verdict(schema, &value))
    }),
    ("second tier", |kept, schema, text| kept.probe.library(schema, text) == Some(true)),
    ("serde_json", |kept, schema, text| kept.probe.plain(schema, text) == Some(true)),
];

/// What is measured: texts with the index of each one's schema.
struct Work {
    name: &'static str,
    kept: Kept,
    texts: Vec<(usize, Vec<u8>)>,
    /// How often all texts are taken in one round: the kernel counts in ticks of some milliseconds,
    /// so a round has many.
    repeat: usize,
}

fn main() {
    let mut works = vec![event()];
    works.extend(github());
    let figures: Vec<Value> = works.iter_mut().map(report).collect();
    if let Some(file) = std::env::var_os("SHOCK_BENCH_JSON") {
        fs::write(&file, json!({"bench": "validate", "works": figures}).to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", PathBuf::from(file).display()));
    }
}

impl Kept {
    fn new(probe: Probe) -> Self {
        Self { probe, buffers: Buffers::new(0), copy: Vec::new() }
    }
}

/// The event of the load generator, whole; its schema is about its data.
fn event() -> Work {
    let data: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let schema = json!({"type": "object", "required": ["data"], "properties": {"data": data}});
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(&file, schema.to_string()).expect("written");
    let probe = Probe::of(file.path()).expect("the schema loads");
    Work {
        name: "event",
        kept: Kept::new(probe),
        texts: vec![(0, EVENT.to_vec())],
        repeat: 100_000,
    }
}

/// GitHub's bodies that the tape decides, with their schema; nothing where `SHOCK_REAL_INPUT` is not set.
fn github() -> Option<Work> {
    let input = PathBuf::from(std::env::var_os("SHOCK_REAL_INPUT")?);
    let pointers = ["#/definitions/{type}_event", "#/definitions/{type}$event"].map(str::to_owned);
    let schema = input.join("webhooks-schemas/schema.json");
    let mut probe = Probe::of_types(&schema, &pointers).expect("GitHub's schema loads");
    let index = fs::read(input.join("webhooks-examples/api.github.com/index.json")).expect("read");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("JSON");
    let mut texts = Vec::new();
    for webhook in &index {
        let schema = probe.index(webhook["name"].as_str().expect("a name")).expect("a schema");
        for body in webhook["examples"].as_array().expect("bodies") {
            let text = body.to_string().into_bytes();
            if probe.tape(schema, &text) == Some(true) {
                texts.push((schema, text));
            }
        }
    }
    Some(Work { name: "GitHub body", kept: Kept::new(probe), texts, repeat: 20 })
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
fn report(work: &mut Work) -> Value {
    let bytes: usize = work.texts.iter().map(|(_, text)| text.len()).sum();
    let (texts, bytes) = (work.texts.len(), bytes / work.texts.len());
    println!("{}: {texts} texts, {bytes} bytes on average", work.name);
    let mut rounds = [(); SIDES.len()].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for ((_, side), times) in SIDES.iter().zip(&mut rounds) {
            times.push(round(work, *side));
        }
    }
    let medians = rounds.map(median);
    let mut figures = serde_json::Map::new();
    for (index, ((name, _), micros)) in SIDES.iter().zip(medians).enumerate() {
        let ratio = micros / medians[1];
        let wanted = match index {
            2 | 3 if ratio >= REACH => format!(", ≥ {REACH}: reached"),
            2 | 3 => format!(", ≥ {REACH}: MISSED"),
            _ => String::new(),
        };
        println!("  {name:24} {micros:8.3} µs  {ratio:5.2} × parse and tape{wanted}");
        figures.insert((*name).to_owned(), json!({"micros": micros, "ratio": ratio}));
    }
    json!({"name": work.name, "texts": texts, "bytes": bytes, "sides": figures})
}

/// CPU time per text, in microseconds.
fn round(work: &mut Work, side: fn(&mut Kept, usize, &[u8]) -> bool) -> f64 {
    let started = cpu_seconds();
    for _ in 0..work.repeat {
        for (schema, text) in &work.texts {
            let valid = side(&mut work.kept, *schema, black_box(text));
            assert!(black_box(valid), "every text is valid on every side");
        }
    }
    (cpu_seconds() - started) * 1e6 / (work.repeat * work.texts.len()) as f64
}

/// What this thread has run, from the first field of its schedstat: nanoseconds.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
    nanos.expect("the first field is a number") as f64 / 1e9
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
