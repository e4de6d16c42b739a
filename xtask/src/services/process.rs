//! A service's process: started detached, found again by id *and* start time, signalled through
//! a process descriptor. A signal never reaches a process that merely inherited the id.

use std::{
    fs::{self, OpenOptions},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// How a process is written down in `services.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot at which the process started.
    pub start_time: u64,
}

/// A process that was alive when it was opened; the descriptor keeps its identity.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    descriptor: OwnedFd,
}

impl Process {
    /// A command that runs `program` in a session of its own, so that no terminal signal reaches
    /// it. `setsid` execs in place where its caller leads no process group, which a fresh child
    /// never does: so the id that we see is the service's own.
    pub fn detached(program: &Path) -> Command {
        let mut command = Command::new("setsid");
        command.arg(program);
        command
    }

    /// Starts a [`Process::detached`] command that outlives us, its output appended to `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("could not open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        let line = crate::command::line(command);
        let child = command.spawn().with_context(|| format!("could not start `{line}`"))?;
        let pid = i32::try_from(child.id()).context("a process id beyond the kernel's range")?;
        Stat::read(pid)
            .and_then(|stat| Self::open(ProcessId { pid, start_time: stat.start_time }))
            .with_context(|| format!("`{line}` ended at once; its log is {}", log.display()))
    }

    /// The process, if it is still the same one and alive (a zombie is not).
    pub fn open(id: ProcessId) -> Option<Self> {
        let descriptor = pidfd_open(Pid::from_raw(id.pid)?, PidfdFlags::empty()).ok()?;
        // Read after the descriptor was taken: what it shows belongs to that very process.
        let stat = Stat::read(id.pid)?;
        let alive = stat.start_time == id.start_time && !stat.is_dead();
        alive.then_some(Self { id, descriptor })
    }

    /// The process's id and start time.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The processes that this one has started and that are still its children.
    pub fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter_map(|pid| {
                let stat = Stat::read(pid)?;
                let is_child = stat.parent == self.id.pid;
                is_child.then(|| Self::open(ProcessId { pid, start_time: stat.start_time }))?
            })
            .collect()
    }

    /// Sends a signal; a process that has ended meanwhile is not an error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).with_context(|| format!("could not signal process {}", self.id.pid))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the process has ended, at most for `wait_max`; true when it has.
    pub fn has_ended_within(&self, wait_max: Duration) -> Result<bool> {
        let deadline = Instant::now() + wait_max;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("a wait beyond the kernel's range")?;
            let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("could not wait for a process"),
            }
        }
    }
}

/// True when `pid` has ended but its parent has not collected it yet.
pub fn is_zombie(pid: i32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.is_dead())
}

/// True when a live process has `dir` as its working directory.
pub fn works_in(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let mut workplaces =
        entries.filter_map(|entry| fs::read_link(entry.ok()?.path().join("cwd")).ok());
    workplaces.any(|workplace| workplace == dir)
}

/// The fields of `/proc/PID/stat` that identify a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command's name (field 2) is in parentheses and may hold blanks and parentheses
    /// itself, so fields are counted from the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 22, counted from one; state is field 3 and its parent field 4.
        let start_time = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start_time })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_strange_name() {
        let text =
            "5975 (a) b (c) S 5910 5907 13307 0 -1 4228108 75 0 1 0 0 0 0 0 20 0 1 0 87379 0";
        let expected = Stat { state: 'S', parent: 5910, start_time: 87379 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("5975 (sleep) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn our_own_process_is_found_and_an_inherited_id_is_not() {
        let pid = i32::try_from(std::process::id()).expect("process ids are 31 bits");
        let start_time = Stat::read(pid).expect("we are alive").start_time;
        assert!(Process::open(ProcessId { pid, start_time }).is_some());
        assert!(Process::open(ProcessId { pid, start_time: start_time + 1 }).is_none());
    }
}
