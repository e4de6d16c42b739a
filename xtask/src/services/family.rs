//! The end of a service: clean or not, its children end with it, and it is awaited.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::{name::Name, process::Process};

/// How long a clean stop may take before the process is killed. Kafka's nodes that have lost
/// their quorum would wait for it for minutes.
const STOP_WAIT_MAX: Duration = Duration::from_secs(20);
const KILL_WAIT_MAX: Duration = Duration::from_secs(20);

/// A process and its children at the time of asking, which must not outlive it.
#[derive(Debug)]
pub struct Family {
    name: Name,
    process: Process,
    children: Vec<Process>,
}

impl Family {
    /// The service `name`, which is `process`, and its children as they are now.
    pub fn new(name: Name, process: Process) -> Self {
        let children = process.children();
        Self { name, process, children }
    }

    fn members(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.process).chain(&self.children)
    }

    /// Asks for a clean end.
    pub fn stop(&self) -> Result<()> {
        self.process.signal(self.name.stop_signal())
    }

    /// Ends all as a machine's loss would: PostgreSQL's backends do not get to finish what they do.
    pub fn kill(&self) -> Result<()> {
        self.members().try_for_each(|process| process.signal(Signal::KILL))
    }

    /// Waits for the end; what does not end in time is killed, and that is said.
    pub fn await_end(&self) -> Result<()> {
        let text = self.name.text();
        if !self.process.has_ended_within(STOP_WAIT_MAX)? {
            println!("{text} did not stop within {} s: killed", STOP_WAIT_MAX.as_secs());
            self.kill()?;
        }
        for process in self.members() {
            if !process.has_ended_within(KILL_WAIT_MAX)? {
                bail!("process {} of {text} does not end, not even by SIGKILL", process.id().pid);
            }
        }
        Ok(())
    }
}
