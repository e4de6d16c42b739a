//! The ways to the ingress: none between, nginx, haproxy; each proxy also with its own checks
//! loosened, as found where old clients have to be served. Everything they write is in the run's
//! directory; upstream connections are kept alive and shared among the clients.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use loadtest::process::Process;
use loadtest::wait::{Seen, wait_until};
use tokio::net::TcpStream;

use crate::cases::DIRECT;

const START_DEADLINE: Duration = Duration::from_secs(20);

/// What stands between the client and the ingress.
#[derive(Clone, Copy)]
pub struct Front {
    pub name: &'static str,
    pub address: SocketAddr,
}

/// The running proxies; dropping them ends them.
pub struct Fronts {
    pub all: Vec<Front>,
    _processes: [Process; 2],
}

impl Fronts {
    pub async fn start(dir: &Path, ingress: SocketAddr) -> anyhow::Result<Self> {
        let [nginx, nginx_lax, haproxy, haproxy_lax] = free_ports()?;
        let config = dir.join("nginx.conf");
        std::fs::write(&config, nginx_config(ingress, nginx, nginx_lax))?;
        let args = ["-p", text(dir)?, "-e", "stderr", "-c", text(&config)?].map(str::to_owned);
        let first = Process::start("nginx", &program("nginx")?, &args, &[], dir)?;
        let config = dir.join("haproxy.cfg");
        std::fs::write(&config, haproxy_config(ingress, haproxy, haproxy_lax))?;
        let args = ["-db", "-f", text(&config)?].map(str::to_owned);
        let second = Process::start("haproxy", &program("haproxy")?, &args, &[], dir)?;
        let all = vec![
            Front { name: DIRECT, address: ingress },
            Front { name: "nginx", address: nginx },
            Front { name: "nginx-lax", address: nginx_lax },
            Front { name: "haproxy", address: haproxy },
            Front { name: "haproxy-lax", address: haproxy_lax },
        ];
        for front in &all {
            wait_until(front.name, START_DEADLINE, async || {
                Ok(match TcpStream::connect(front.address).await {
                    Ok(_) => Seen::There(()),
                    Err(why) => {
                        Seen::NotYet(format!("{why} {} {}", first.log_tail(), second.log_tail()))
                    }
                })
            })
            .await?;
        }
        Ok(Self { all, _processes: [first, second] })
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Debian keeps servers off a user's PATH.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("no {name}; `cargo xtask conformance` installs it"))
}

/// All held at once, so that they differ; the proxies bind them right after.
fn free_ports() -> anyhow::Result<[SocketAddr; 4]> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0));
    let listeners = (0..4).map(bind).collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    Ok(addresses.try_into().expect("four were bound"))
}

fn nginx_config(ingress: SocketAddr, strict: SocketAddr, lax: SocketAddr) -> String {
    let forward = "proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                   proxy_set_header Host $http_host; proxy_request_buffering off; \
                   proxy_pass http://ingress;";
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind}_temp;\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n{temporary}\
         \x20 upstream ingress {{ server {ingress}; keepalive 8; }}\n\
         \x20 server {{ listen {strict}; location / {{ {forward} }} }}\n\
         \x20 server {{ listen {lax}; ignore_invalid_headers off; underscores_in_headers on;\n\
         \x20   location / {{ {forward} }} }}\n}}\n"
    )
}

fn haproxy_config(ingress: SocketAddr, strict: SocketAddr, lax: SocketAddr) -> String {
    format!(
        "global\n  maxconn 256\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         \x20 http-reuse always\n\
         frontend strict\n  bind {strict}\n  default_backend ingress\n\
         frontend lax\n  bind {lax}\n  option accept-invalid-http-request\n\
         \x20 default_backend ingress\n\
         backend ingress\n  server ingress {ingress}\n"
    )
}
