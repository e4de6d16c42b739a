//! Crashes of the embedded log with real processes: `kill -9` in the middle of writing, a journal
//! that lost its tail, a disk that refuses to be written. Each test starts this binary again as the
//! writer (the marker variable tells it so) and reads on its standard output what was acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shared::clock::{Clock, Millis};
use shared::config::EmbeddedConfig;
use shared::log::embedded::{DataDirectory, EmbeddedLog, OpenError};
use shared::log::{Acks, AppendError, NewRecord};
use shared::position::{Class, Offset, Partition, PartitionId};

/// Set for the writer: the data directory.
const WRITER_DIRECTORY: &str = "EMBEDDED_KILL_DIRECTORY";
const PARTITIONS: u32 = 3;
const KILLS: u32 = 12;
/// Records that one round of the writer has open at a time.
const OUTSTANDING: usize = 40;

fn ids() -> Vec<PartitionId> {
    (0..PARTITIONS)
        .map(|n| PartitionId { class: Class::Transactional, partition: Partition(n) })
        .collect()
}

fn open(directory: &Path) -> EmbeddedLog {
    try_open(directory).expect("the log opens")
}

fn try_open(directory: &Path) -> Result<EmbeddedLog, OpenError> {
    let config = EmbeddedConfig {
        data_dir: directory.to_owned(),
        retention_bytes: 1 << 34,
        retention_ms: 1 << 40,
        commit_records_max: 16,
        queue_bytes_max: 1 << 20,
    };
    let directory = DataDirectory::lock(directory)?;
    EmbeddedLog::open(directory, &config, ids(), &BTreeMap::new(), Clock::System)
}

/// A payload that no other append has, of a size that its number decides.
fn payload(run: u32, number: u64) -> Vec<u8> {
    let text = format!("{run}-{number}-");
    text.bytes().cycle().take(text.len() + (number as usize * 97) % 3000).collect()
}

/// The writer: not a test of its own, it does nothing unless it was started by one.
#[test]
fn writer() {
    let Ok(directory) = std::env::var(WRITER_DIRECTORY) else { return };
    let log = open(Path::new(&directory));
    let run = std::process::id();
    let mut out = std::io::stdout();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0u64.. {
        let acks = Acks::new(OUTSTANDING);
        let numbers = |n: usize| round * OUTSTANDING as u64 + n as u64;
        for n in 0..OUTSTANDING {
            let value = payload(run, numbers(n));
            let id = ids()[n % PARTITIONS as usize];
            let record =
                NewRecord { id, timestamp: Millis(1), key: b"k", value: &value, headers: &[] };
            log.append(&record, acks.ticket(n));
        }
        runtime.block_on(acks.settled());
        let mut lines = String::new();
        for n in 0..OUTSTANDING {
            match acks.outcome(n) {
                Ok(position) => {
                    let (partition, offset) = (position.id.partition.0, position.offset.0);
                    lines += &format!("ack {partition} {offset} {run} {}\n", numbers(n));
                }
                Err(error) => lines += &format!("refused {error:?}\n"),
            }
        }
        out.write_all(lines.as_bytes()).unwrap();
        out.flush().unwrap();
        if lines.contains("refused Unavailable") {
            return;
        }
    }
}

/// What was acknowledged: partition and offset → the payload.
type Acknowledged = BTreeMap<(u32, i64), Vec<u8>>;

fn start(mut command: Command, directory: &Path) -> Child {
    command
        .env(WRITER_DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the writer starts")
}

fn writer_command() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.args(["--exact", "writer", "--nocapture"]);
    command
}

/// Adds an acknowledgement; an offset is acknowledged once, for one payload.
fn note(acknowledged: &mut Acknowledged, line: &str) {
    let numbers: Vec<u64> =
        line.split(' ').skip(1).map(|text| text.parse().expect("a number")).collect();
    let [partition, offset, run, number] = numbers[..] else { panic!("half a line: {line:?}") };
    let before =
        acknowledged.insert((partition as u32, offset as i64), payload(run as u32, number));
    assert!(before.is_none(), "offset {offset} of {partition} was acknowledged twice");
}

/// Runs the writer until it has printed `lines` lines, kills it, and takes everything it said.
fn run_and_kill(directory: &Path, lines: usize, acknowledged: &mut Acknowledged) {
    let mut child = start(writer_command(), directory);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut line, mut seen) = (String::new(), 0);
    while out.read_line(&mut line).expect("the pipe is readable") > 0 {
        if line.starts_with("ack ") && line.ends_with('\n') {
            note(acknowledged, line.trim_end());
            seen += 1;
        }
        if seen == lines {
            child.kill().expect("SIGKILL is sent");
        }
        line.clear();
    }
    child.wait().expect("the writer is gone");
    assert!(seen >= lines, "the writer ended by itself after {seen} lines");
}

/// What the log holds, and each partition's end. Offsets are dense from 0.
fn contents(directory: &Path) -> (Acknowledged, BTreeMap<u32, i64>) {
    read_all(&open(directory))
}

fn read_all(log: &EmbeddedLog) -> (Acknowledged, BTreeMap<u32, i64>) {
    let (mut found, mut ends) = (Acknowledged::new(), BTreeMap::new());
    for id in ids() {
        let (low, end) = log.range(id).expect("the partition is known");
        let mut next = Offset(0);
        log.scan(id, low, end, &mut |record| {
            assert_eq!(record.position.offset, next, "offsets of {id} are dense");
            next = next.next();
            found.insert((id.partition.0, record.position.offset.0), record.value.to_vec());
            ControlFlow::Continue(())
        })
        .expect("the log is readable");
        assert_eq!(next, end);
        ends.insert(id.partition.0, end.0);
    }
    (found, ends)
}

/// Every acknowledged record is there, with equal bytes.
fn verify(directory: &Path, acknowledged: &Acknowledged) {
    let (found, _) = contents(directory);
    for (at, value) in acknowledged {
        assert_eq!(found.get(at), Some(value), "{at:?} was acknowledged");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..KILLS {
        let lines = random.random_range(1..2000);
        run_and_kill(dir.path(), lines, &mut acknowledged);
        verify(dir.path(), &acknowledged);
    }
    assert!(acknowledged.len() > KILLS as usize);
}

fn newest_journal(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory.join("log")).expect("the log has a directory");
    let number = |path: &PathBuf| -> Option<u64> {
        path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()
    };
    entries
        .map(|entry| entry.expect("it is readable").path())
        .filter(|it| number(it).is_some())
        .max_by_key(number)
        .expect("there is a journal")
}

/// A disk that loses the journal's end loses whole batches from the end, and nothing before them.
#[test]
fn a_torn_journal_loses_only_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    run_and_kill(dir.path(), 1500, &mut acknowledged);
    // Opening cuts the journal after its last whole batch, so that a cut here loses records.
    verify(dir.path(), &acknowledged);
    let acknowledged_before = acknowledged.len();
    let mut random = StdRng::seed_from_u64(9);
    for _ in 0..20 {
        let path = newest_journal(dir.path());
        let journal = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let bytes = journal.metadata().unwrap().len();
        let cut = random.random_range(1..20_000);
        journal.set_len(bytes.saturating_sub(cut)).unwrap();
        drop(journal);
        let (_, ends) = contents(dir.path());
        acknowledged.retain(|(partition, offset), _| *offset < ends[partition]);
        verify(dir.path(), &acknowledged);
    }
    assert!((1..acknowledged_before).contains(&acknowledged.len()), "an end was lost, not all");
    // The log goes on after a loss.
    let mut later = acknowledged;
    run_and_kill(dir.path(), 100, &mut later);
    verify(dir.path(), &later);
}

/// Sectors of the journal's end that a power cut left unwritten: the log opens with less, or says
/// that it cannot be read. It never panics and never makes a record up.
#[test]
fn a_damaged_journal_is_a_prefix_or_an_error() {
    const SECTOR_BYTES: u64 = 512;
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    run_and_kill(dir.path(), 300, &mut acknowledged);
    let (whole, _) = contents(dir.path());
    let path = newest_journal(dir.path());
    let journal = std::fs::read(&path).unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..40 {
        let mut damaged = journal.clone();
        let sector = random.random_range(0..journal.len() as u64 / SECTOR_BYTES);
        let start = (sector * SECTOR_BYTES) as usize;
        damaged[start..start + SECTOR_BYTES as usize].fill(0);
        std::fs::write(&path, &damaged).unwrap();
        match try_open(dir.path()) {
            Ok(log) => {
                opened += 1;
                for (at, value) in read_all(&log).0 {
                    assert_eq!(whole.get(&at), Some(&value), "{at:?} is as it was written");
                }
            }
            Err(OpenError::Store { .. } | OpenError::Unreadable { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(opened + refused, 40);
    std::fs::write(&path, &journal).unwrap();
    verify(dir.path(), &acknowledged);
}

/// A write that the operating system refuses: its batch is unknown, everything after it is refused,
/// and what was acknowledged before is there after a restart.
#[test]
fn a_failed_write_stops_the_log_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // Opened once more, the journal is as short as its contents, and below the bound that follows.
    drop(open(dir.path()));
    let writer = writer_command();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"");
    shell.arg(writer.get_program()).args(writer.get_args());
    let mut child = start(shell, dir.path());
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let (mut acknowledged, mut refused) = (Acknowledged::new(), Vec::new());
    for line in out.lines() {
        let line = line.expect("the pipe is readable");
        match line.strip_prefix("refused ") {
            Some(error) => refused.push(error.to_owned()),
            None if line.starts_with("ack ") => {
                assert!(refused.is_empty(), "nothing is accepted after a failure");
                note(&mut acknowledged, &line);
            }
            None => {}
        }
    }
    assert!(child.wait().expect("the writer ends by itself").success());
    assert!(!acknowledged.is_empty());
    let unknown = refused.iter().take_while(|it| **it == format!("{:?}", AppendError::Unknown));
    let unknown = unknown.count();
    assert!(unknown > 0 && unknown < refused.len(), "{refused:?}");
    assert!(refused[unknown..].iter().all(|it| *it == format!("{:?}", AppendError::Unavailable)));
    verify(dir.path(), &acknowledged);
}
