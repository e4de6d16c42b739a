//! Parse and verdict, tape against library, as ratios from one run:
//! `cargo bench -p ingress --bench validate`.
//!
//! The reference does what the library asks for: simd-json's tape, a `serde_json::Value` of it, and
//! `is_valid`; a second one has the value from serde_json itself. CPU time of this thread; medians of
//! rounds that take turns, so that a busy machine slows all sides alike.

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;

use ingress::probe::Probe;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Rounds of all sides, one after the other.
const ROUNDS: usize = 15;
/// What is asked of the tape: this many times as fast as the reference.
const REACH: f64 = 4.0;
/// Length of the load generator's event.
const EVENT_BYTES: usize = 331;

/// The schema of the load generator's events.
const SCHEMA: &str = r##"{
  "type": "object",
  "required": ["data"],
  "properties": {"data": {
    "type": "object",
    "required": ["amount", "currency", "lines"],
    "additionalProperties": false,
    "properties": {
      "amount": {"type": "integer", "minimum": 0},
      "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
      "lines": {"type": "array", "maxItems": 100, "items": {"type": "integer", "minimum": 1}},
      "note": {"type": "string", "maxLength": 1000}
    }
  }}
}"##;

type Side = (&'static str, fn(&mut Probe, usize, &[u8]) -> bool);

const SIDES: [Side; 4] = [
    ("parse", |probe, _, text| probe.parse(text)),
    ("parse + tape", |probe, schema, text| probe.tape(schema, text) == Some(true)),
    ("parse + Value + library", |probe, schema, text| probe.library(schema, text) == Some(true)),
    ("serde_json + library", |probe, schema, text| probe.plain(schema, text) == Some(true)),
];

/// What is measured: texts with the index of each one's schema.
struct Work {
    name: &'static str,
    probe: Probe,
    texts: Vec<(usize, Vec<u8>)>,
    /// How often all texts are taken in one round: the kernel counts in ticks of some milliseconds,
    /// so a round has many.
    repeat: usize,
}

fn main() {
    let mut works = vec![event()];
    works.extend(github());
    for mut work in works {
        report(&mut work);
    }
}

/// The event of the load generator, whole, and the schema of `cargo xtask bench ingress` for its data.
fn event() -> Work {
    let event = |note: &str| {
        json!({
            "id": "load-123456789", "type": "order.paid", "subject": "customer/7",
            "data": {"amount": 4200, "currency": "EUR", "lines": [1, 2, 3], "note": note},
        })
        .to_string()
    };
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(SCHEMA.as_bytes()).expect("written");
    let probe = Probe::of(file.path()).expect("the schema loads");
    let text = event(&"x".repeat(EVENT_BYTES - event("").len()));
    Work { name: "event", probe, texts: vec![(0, text.into_bytes())], repeat: 100_000 }
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
    Some(Work { name: "GitHub body", probe, texts, repeat: 20 })
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
fn report(work: &mut Work) {
    let bytes: usize = work.texts.iter().map(|(_, text)| text.len()).sum();
    println!(
        "{}: {} texts, {} bytes on average",
        work.name,
        work.texts.len(),
        bytes / work.texts.len()
    );
    let mut rounds = [(); SIDES.len()].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for ((_, side), times) in SIDES.iter().zip(&mut rounds) {
            times.push(round(work, *side));
        }
    }
    let medians = rounds.map(median);
    for ((name, _), micros) in SIDES.iter().zip(medians) {
        println!("  {name:26} {micros:9.3} µs");
    }
    for (name, reference) in
        [("library over simd-json", medians[2]), ("library over serde_json", medians[3])]
    {
        let ratio = reference / medians[1];
        let verdict = if ratio >= REACH { "reached" } else { "MISSED" };
        println!("  tape is faster than {name:24} {ratio:5.2} times  ≥ {REACH}: {verdict}");
    }
}

/// CPU time per text, in microseconds.
fn round(work: &mut Work, side: fn(&mut Probe, usize, &[u8]) -> bool) -> f64 {
    let started = cpu_seconds();
    for _ in 0..work.repeat {
        for (schema, text) in &work.texts {
            let valid = side(&mut work.probe, *schema, black_box(text));
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
