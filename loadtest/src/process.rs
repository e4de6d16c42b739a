//! A real process of `shock`: started, asked for its addresses, signalled, and killed when dropped.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::wait::{Seen, wait_until};

/// From the start to the printed addresses: opening a log or reaching Kafka included.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// From a signal to the end: longer than every drain.
const END_DEADLINE: Duration = Duration::from_secs(40);

/// For a command that ends by itself; starting a service on a busy machine takes the longest.
const RUN_DEADLINE: Duration = Duration::from_secs(180);

/// How many bytes of the log a message quotes.
const LOG_TAIL_BYTES: usize = 3_000;

/// Where the binary is: `SHOCK_BIN`, or beside this one.
pub fn shock_binary() -> anyhow::Result<PathBuf> {
    binary("SHOCK_BIN", "shock")
}

/// Where the binary with failpoints is, which only tests have: `SHOCK_FAULTS_BIN`, or beside this one.
pub fn faulty_binary() -> anyhow::Result<PathBuf> {
    binary("SHOCK_FAULTS_BIN", "shock")
}

/// Where this crate's own binary is: `LOADTEST_BIN`, or beside this one.
pub fn loadtest_binary() -> anyhow::Result<PathBuf> {
    binary("LOADTEST_BIN", "loadtest")
}

/// Where the ingress on the log in memory is, an example of its crate: `MEMORY_BIN`, or in the folder
/// `examples` beside this one.
pub fn memory_binary() -> anyhow::Result<PathBuf> {
    binary("MEMORY_BIN", "examples/memory")
}

fn binary(variable: &str, name: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("the path of this program")?;
    // Tests are one folder deeper: target/debug/deps.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("no `{name}` beside {}; set {variable}", own.display()))
}

/// A running process. Dropping it kills it (`SIGKILL`).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `program args…` in `dir`, with `variables` beside the environment. What it prints goes
    /// to `dir/name.log` (appended, so that restarts stand below each other).
    pub fn start(
        name: &str,
        program: &Path,
        args: &[String],
        variables: &[(String, String)],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        let mut child = command(program, args, variables)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {} {args:?}", program.display()))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .with_context(|| format!("{name} ended at once"))?;
        let stdout = child.stdout.take().context("stdout was asked for")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut read = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = read.next_line().await {
                sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, pid, log, lines })
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it printed so far, line by line.
    pub fn printed(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Waits for the line `word  value` on its standard output.
    pub async fn value(&mut self, word: &str) -> anyhow::Result<String> {
        let what = format!("{} to print `{word} …`", self.name);
        wait_until(what, START_DEADLINE, async || {
            let found = self.printed().iter().find_map(|line| {
                let (first, rest) = line.trim().split_once(char::is_whitespace)?;
                (first == word).then(|| rest.trim().to_owned())
            });
            if let Some(value) = found {
                return Ok(Seen::There(value));
            }
            if let Some(status) = self.child.try_wait().context("its state")? {
                bail!("{} ended with {status}: {}", self.name, self.log_tail());
            }
            Ok(Seen::NotYet(self.log_tail()))
        })
        .await
    }

    /// Waits for the line `word  http://address`, or `https://`.
    pub async fn address(&mut self, word: &str) -> anyhow::Result<SocketAddr> {
        let url = self.value(word).await?;
        let (_scheme, text) = url.split_once("://").unwrap_or(("", &url));
        let text = text.trim_end_matches('/');
        text.parse().with_context(|| format!("{} printed `{word} {url}`", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// `SIGKILL`, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().await.map(drop)
    }

    /// Waits until it is gone by `SIGKILL`, which it sent to itself.
    pub async fn died(mut self) -> anyhow::Result<()> {
        let status = self.ended().await?;
        match status.signal() == Some(Signal::KILL.as_raw()) {
            true => Ok(()),
            false => bail!("{} ended with {status}: {}", self.name, self.log_tail()),
        }
    }

    /// Waits until it stands still, behind a `SIGSTOP` that it sent to itself.
    pub async fn stands_still(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/stat", self.id());
        wait_until(format!("{} to stand still", self.name), END_DEADLINE, async || {
            let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
            // proc_pid_stat(5): the state stands behind the name, which is in parentheses.
            let state = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
            Ok(match state {
                Some("T") => Seen::There(()),
                _ => Seen::NotYet(self.log_tail()),
            })
        })
        .await
    }

    /// `SIGTERM`, and waits until it ended by itself.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// `SIGSTOP`: it stands still, its connections stay open.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// `SIGCONT`.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether it is gone.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait().context("its state")?.is_some())
    }

    /// Waits until it ended by itself.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(END_DEADLINE, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("the end of {}", self.name)),
            Err(_) => bail!("{} did not end in {END_DEADLINE:?}: {}", self.name, self.log_tail()),
        }
    }

    /// All that it logged, its earlier runs in the same directory included.
    pub fn log_text(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// The end of what it logged.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_TAIL_BYTES);
        let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        format!("{} …{}", self.log.display(), &text[from..])
    }

    /// Memory in RAM, in bytes (`VmRSS`).
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status_kib("VmRSS:").map(|kib| kib * 1024)
    }

    /// The most memory in RAM since the start or since [`Self::forget_resident_peak`], in bytes (`VmHWM`).
    pub fn resident_bytes_peak(&self) -> anyhow::Result<u64> {
        self.status_kib("VmHWM:").map(|kib| kib * 1024)
    }

    /// The most memory in RAM counts from now on.
    pub fn forget_resident_peak(&self) -> anyhow::Result<()> {
        // proc_pid_clear_refs(5): 5 sets the peak to what is resident now.
        let path = format!("/proc/{}/clear_refs", self.id());
        std::fs::write(&path, "5").with_context(|| path.clone())
    }

    fn status_kib(&self, field: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        text.lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .with_context(|| format!("{path} has no {field}"))
    }
}

/// A command with nothing of ours in its environment but `variables`: settings of whoever runs the
/// tests must not reach the process under test, and it refuses variables it does not know.
fn command(program: &Path, args: &[String], variables: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SHOCK_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().cloned());
    command
}

/// Runs a program to its end; its standard output, or an error with everything it said.
pub async fn run(
    program: &Path,
    args: &[String],
    variables: &[(String, String)],
    dir: &Path,
) -> anyhow::Result<String> {
    let what = || format!("{} {}", program.display(), args.join(" "));
    let run = command(program, args, variables)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(RUN_DEADLINE, run)
        .await
        .map_err(|_| anyhow::anyhow!("{} did not end in {RUN_DEADLINE:?}", what()))?
        .with_context(what)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}: {}\n{said}{}", what(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(said)
}
