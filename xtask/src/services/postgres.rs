//! One PostgreSQL server on a data directory of its own, reachable on the loopback only, with a
//! database `shock` whose owner is the superuser `shock`. Every setting that decides durability
//! is PostgreSQL's default (fsync and synchronous commit are on).

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::process::{self, Process};
use crate::{command, system};

/// The superuser and the database.
const NAME: &str = "shock";

/// The server's place.
#[derive(Debug)]
pub struct Postgres<'a> {
    data: &'a Path,
    port: u16,
    log: PathBuf,
}

/// PostgreSQL refuses to run as root, so root runs it as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl<'a> Postgres<'a> {
    /// The server on `data`, listening on the loopback's `port`.
    pub fn new(data: &'a Path, port: u16, services_dir: &Path) -> Self {
        Self { data, port, log: services_dir.join("postgres.log") }
    }

    /// Where the server's output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Creates the data directory where it does not exist, and clears a dead server's lock.
    pub fn prepare(&self) -> Result<()> {
        if self.data.exists() {
            return self.remove_zombies_lock();
        }
        let user = server_user()?;
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).context("could not remove an unfinished data directory")?;
        }
        fs::create_dir_all(&fresh)
            .and_then(|()| user.map_or(Ok(()), |u| chown(&fresh, Some(u.uid), Some(u.gid))))
            .with_context(|| format!("could not create {}", fresh.display()))?;
        let mut initdb = run_as(Command::new(bin()?.join("initdb")), user);
        initdb.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--username", NAME]);
        initdb.arg("--no-sync").arg("--pgdata").arg(&fresh);
        command::capture(&mut initdb)?;
        // Only a complete directory gets the final name.
        fs::rename(&fresh, self.data)
            .with_context(|| format!("could not create {}", self.data.display()))
    }

    /// Starts the server; it is of use once [`Postgres::is_healthy`].
    pub fn spawn(&self) -> Result<Process> {
        let server = Process::detached(&bin()?.join("postgres"));
        let mut server = run_as(server, server_user()?);
        server.arg("-D").arg(self.data).arg("-p").arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            // A socket's path is limited to 107 bytes, which a deep directory exceeds.
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=256MB",
            "max_wal_size=2GB",
        ] {
            server.args(["-c", setting]);
        }
        Process::spawn(&mut server, &self.log)
    }

    /// True when the server takes connections.
    pub fn is_healthy(&self) -> bool {
        let Ok(bin) = bin() else { return false };
        let mut ready = Command::new(bin.join("pg_isready"));
        ready.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        ready.args(["--username", NAME, "--dbname=postgres"]);
        command::output(&mut ready).is_ok_and(|output| output.status.success())
    }

    /// Creates the database `shock` where it does not exist.
    pub fn ensure_database(&self) -> Result<()> {
        let found = self.query(&format!("SELECT 1 FROM pg_database WHERE datname = '{NAME}'"))?;
        if found.trim().is_empty() {
            self.query(&format!("CREATE DATABASE {NAME}"))?;
        }
        Ok(())
    }

    /// PostgreSQL takes the process of its lock file for alive while that is a zombie, which it
    /// is until its parent collects it: in a container that may be never. The lock is removed
    /// only when every backend has left the data directory, too.
    fn remove_zombies_lock(&self) -> Result<()> {
        let lock = self.data.join("postmaster.pid");
        let text = fs::read_to_string(&lock).unwrap_or_default();
        let owner = text.lines().next().and_then(|line| line.trim().parse().ok());
        if owner.is_some_and(process::is_zombie) && !process::works_in(self.data) {
            fs::remove_file(&lock)
                .with_context(|| format!("could not remove {}", lock.display()))?;
        }
        Ok(())
    }

    fn query(&self, statement: &str) -> Result<String> {
        let mut psql = Command::new(bin()?.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host=127.0.0.1"]);
        psql.args(["--port", &self.port.to_string(), "--username", NAME, "--dbname=postgres"]);
        command::capture(psql.args(["--command", statement]))
    }
}

/// Where a server of `services_dir` keeps its data: below it, or, where the server's user may not
/// enter it (a clone below root's home, say), in `/var/tmp` under a name that belongs to it.
pub fn data_dir(services_dir: &Path) -> Result<PathBuf> {
    let user = server_user()?;
    let mut test = run_as(Command::new("test"), user);
    if command::output(test.arg("-x").arg(services_dir))?.status.success() {
        return Ok(services_dir.join("postgres"));
    }
    let mut hasher = DefaultHasher::new();
    services_dir.hash(&mut hasher);
    Ok(PathBuf::from(format!("/var/tmp/shock-postgres-{:016x}", hasher.finish())))
}

fn bin() -> Result<PathBuf> {
    system::postgres_bin().context("PostgreSQL's server binaries are gone")
}

fn run_as(mut command: Command, user: Option<User>) -> Command {
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    // Our own directory may be closed to that user.
    command.current_dir("/");
    command
}

/// None when we are not root and can be the server's user ourselves.
fn server_user() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| find_user(&passwd, name))
        .context("neither a user `postgres` nor `nobody`: PostgreSQL does not run as root")
        .map(Some)
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:1:1::/:/bin/sh\n\
                      postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_user(passwd, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(find_user(passwd, "nobody"), None);
    }
}
