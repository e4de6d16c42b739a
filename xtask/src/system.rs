//! Programs of the operating system that a task needs. Installs what is missing with apt-get
//! when we are root and there is an apt-get; otherwise says exactly what to install (exit 69).
//! Never touches what is already there.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{command, unavailable::Unavailable};

/// A program that must be there before a task can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A Java runtime: Kafka 4 needs 17 or newer.
    Java,
    /// Maven fetches Kafka's jars.
    Maven,
    /// The PostgreSQL server's own binaries (`initdb`, `postgres`, `psql`, `pg_isready`).
    Postgres,
    /// The openssl program makes the certificates of a test's secured broker.
    Openssl,
    /// The npm client fetches the real webhook bodies.
    Npm,
    /// Python with venv and pip: the generated-request tester is written in it.
    Python,
    /// Go builds the HTTP/2 tester.
    Go,
    /// A proxy that the ingress is tested behind.
    Nginx,
    /// Another one.
    Haproxy,
    /// A C compiler: librdkafka is built from source.
    CCompiler,
    /// make builds librdkafka.
    Make,
    /// perl configures the vendored OpenSSL.
    Perl,
}

impl Requirement {
    /// What building this workspace needs beyond Rust.
    pub const BUILD: [Self; 3] = [Self::CCompiler, Self::Make, Self::Perl];
    /// What the real services need.
    pub const SERVICES: [Self; 3] = [Self::Java, Self::Maven, Self::Postgres];

    fn name(self) -> &'static str {
        match self {
            Self::Java => "Java 17 or newer (java)",
            Self::Maven => "Maven (mvn)",
            Self::Postgres => "the PostgreSQL server (initdb, postgres, psql)",
            Self::Openssl => "openssl",
            Self::Npm => "npm",
            Self::Python => "Python 3 with venv (python3)",
            Self::Go => "Go (go)",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::CCompiler => "a C compiler (cc)",
            Self::Make => "make",
            Self::Perl => "perl",
        }
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Self::Java => &["default-jre-headless"],
            Self::Maven => &["maven"],
            Self::Postgres => &["postgresql", "postgresql-client"],
            Self::Openssl => &["openssl"],
            Self::Npm => &["npm"],
            Self::Python => &["python3-venv"],
            Self::Go => &["golang-go"],
            Self::Nginx => &["nginx-light"],
            Self::Haproxy => &["haproxy"],
            Self::CCompiler => &["build-essential"],
            Self::Make => &["make"],
            Self::Perl => &["perl"],
        }
    }

    fn is_met(self) -> bool {
        match self {
            Self::Java => java_major().is_some_and(|major| major >= 17),
            Self::Maven => find_in_path("mvn").is_some(),
            Self::Postgres => postgres_bin().is_some(),
            Self::Openssl => find_in_path("openssl").is_some(),
            Self::Npm => find_in_path("npm").is_some(),
            Self::Python => has_venv(),
            Self::Go => find_in_path("go").is_some(),
            Self::Nginx => has_server("nginx"),
            Self::Haproxy => has_server("haproxy"),
            Self::CCompiler => find_in_path("cc").is_some(),
            Self::Make => find_in_path("make").is_some(),
            Self::Perl => find_in_path("perl").is_some(),
        }
    }
}

/// Makes sure that all of `requirements` are met, installing what is missing where we may.
pub fn require(requirements: &[Requirement]) -> Result<()> {
    let missing = unmet(requirements);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.iter().flat_map(|r| r.debian_packages()).copied().collect::<Vec<_>>();
    if !may_install() {
        return Err(Unavailable(message(&missing, &packages)).into());
    }
    println!("installing with apt-get: {}", packages.join(" "));
    install(&packages)?;
    let still_missing = unmet(requirements);
    if still_missing.is_empty() {
        return Ok(());
    }
    let packages = still_missing.iter().flat_map(|r| r.debian_packages()).copied();
    Err(Unavailable(message(&still_missing, &packages.collect::<Vec<_>>())).into())
}

/// The directory that holds `initdb` and `postgres`: the PATH's, or the newest of Debian's
/// `/usr/lib/postgresql/VERSION/bin`, which Debian keeps off the PATH.
pub fn postgres_bin() -> Option<PathBuf> {
    if let Some(initdb) = find_in_path("initdb") {
        // Distributions link the client programs into the PATH; the server stands beside the
        // real file.
        let bin = fs::canonicalize(initdb).ok()?.parent()?.to_path_buf();
        if bin.join("postgres").exists() {
            return Some(bin);
        }
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut installed = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
            let bin = entry.path().join("bin");
            (bin.join("postgres").exists() && bin.join("initdb").exists()).then_some((version, bin))
        })
        .collect::<Vec<_>>();
    installed.sort();
    installed.pop().map(|(_, bin)| bin)
}

/// The first executable called `program` in the PATH.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

fn unmet(requirements: &[Requirement]) -> Vec<Requirement> {
    requirements.iter().copied().filter(|requirement| !requirement.is_met()).collect()
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root() && find_in_path("apt-get").is_some()
}

fn message(missing: &[Requirement], packages: &[&str]) -> String {
    let names = missing.iter().map(|r| r.name()).collect::<Vec<_>>().join(", ");
    format!(
        "missing: {names}\ninstall it, on Debian or Ubuntu with: apt-get install {}",
        packages.join(" ")
    )
}

fn install(packages: &[&str]) -> Result<()> {
    command::run(apt_get().arg("update").arg("-qq"))?;
    if packages.contains(&"postgresql") {
        forbid_default_cluster()?;
    }
    let mut install = apt_get();
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    without_starting(|| command::run(&mut install))
}

/// Debian starts a server when its package is installed, unless the policy forbids it (101). A policy
/// that is there already is left as it is.
fn without_starting(install: impl FnOnce() -> Result<()>) -> Result<()> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    if policy.exists() {
        return install();
    }
    let context = || format!("could not write {}", policy.display());
    fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(context)?;
    fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).with_context(context)?;
    let installed = install();
    fs::remove_file(policy).with_context(context)?;
    installed
}

/// Debian's package starts a server of its own on port 5432 when it is installed. Ours is the
/// only one that is wanted, so that nothing is left running.
fn forbid_default_cluster() -> Result<()> {
    command::run(apt_get().args(["install", "-y", "-qq", "postgresql-common"]))?;
    let path = Path::new("/etc/postgresql-common/createcluster.conf");
    let text = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, format!("{text}\ncreate_main_cluster = false\n"))
        .with_context(|| format!("could not write {}", path.display()))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Debian keeps servers off a user's PATH.
fn has_server(program: &str) -> bool {
    find_in_path(program).is_some() || Path::new("/usr/sbin").join(program).is_file()
}

/// Debian has Python without its `venv`.
fn has_venv() -> bool {
    let mut python = Command::new("python3");
    find_in_path("python3").is_some()
        && command::output(python.args(["-c", "import ensurepip, venv"]))
            .is_ok_and(|output| output.status.success())
}

fn java_major() -> Option<u32> {
    find_in_path("java")?;
    let output = command::output(Command::new("java").arg("-version")).ok()?;
    parse_java_major(&String::from_utf8_lossy(&output.stderr))
}

/// The major version in `java -version`'s first line, such as `openjdk version "17.0.15" …`.
fn parse_java_major(text: &str) -> Option<u32> {
    let quoted = text.lines().find(|line| line.contains("version"))?.split('"').nth(1)?;
    quoted.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read() {
        let check = |text: &str, expected| assert_eq!(parse_java_major(text), expected, "{text}");
        check("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK", Some(17));
        check("openjdk version \"21\" 2023-09-19", Some(21));
        check("openjdk version \"25-ea\" 2025-09-16", Some(25));
        check("java version \"1.8.0_402\"", Some(1));
        check("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"17.0.1\"", Some(17));
        check("command not found", None);
    }

    #[test]
    fn the_message_names_the_packages() {
        let text = message(&[Requirement::Java], Requirement::Java.debian_packages());
        assert!(text.contains("Java 17") && text.contains("apt-get install default-jre-headless"));
    }
}
