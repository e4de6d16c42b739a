//! Which of our crates may use which, and which packages must never be reached from where. The
//! table is the design's; a new crate needs a row.

use crate::metadata::{Metadata, Package};

const ALLOWED: [(&str, &[&str]); 9] = [
    ("shared", &["control"]),
    ("control", &[]),
    ("ingress", &["shared", "control"]),
    ("fuzz", &["shared", "ingress"]),
    ("consumer", &["shared", "control"]),
    ("simulate", &["control"]),
    ("shock", &["shared", "control", "ingress", "consumer", "simulate"]),
    ("loadtest", &["shared", "control"]),
    ("xtask", &["shared"]),
];

const SQL: &[&str] = &["sqlx", "sqlx-core", "rusqlite", "tokio-postgres", "postgres", "diesel"];

/// Crate → packages that it must not reach, not even through others.
const UNREACHABLE: [(&str, &[&str], &str); 4] = [
    ("shared", SQL, "`shared` has no SQL"),
    ("ingress", SQL, "the ingress never touches the database"),
    ("control", &["tokio", "hyper", "sqlx", "rdkafka"], "`control` has no I/O"),
    ("simulate", &["tokio", "hyper", "sqlx", "rdkafka"], "`simulate` has no I/O"),
];

/// Every edge that the tables do not allow.
pub fn check(metadata: &Metadata) -> Vec<String> {
    let members = metadata.members().map(|package| package.name.as_str()).collect::<Vec<_>>();
    metadata
        .members()
        .flat_map(|package| {
            let edges = own_dependencies(package, &members);
            let mut findings = forbidden_edges(&package.name, &edges);
            findings.extend(forbidden_packages(&package.name, &metadata.reachable(package)));
            findings
        })
        .collect()
}

/// Dependencies on our own crates, those of tests included.
fn own_dependencies<'a>(package: &'a Package, members: &[&str]) -> Vec<&'a str> {
    let names = package.dependencies.iter().map(|dependency| dependency.name.as_str());
    names.filter(|name| members.contains(name)).collect()
}

fn forbidden_edges(package: &str, dependencies: &[&str]) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package}: the table of edges has no row for it")];
    };
    let forbidden = dependencies.iter().filter(|name| !allowed.contains(name));
    forbidden.map(|name| format!("{package}: must not depend on {name}")).collect()
}

fn forbidden_packages(package: &str, reachable: &[&str]) -> Vec<String> {
    let rows = UNREACHABLE.iter().filter(|(name, ..)| *name == package);
    rows.flat_map(|(_, packages, reason)| {
        let reached = packages.iter().filter(|name| reachable.contains(name));
        reached.map(move |name| format!("{package}: reaches {name}, but {reason}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_edge_is_found() {
        assert!(forbidden_edges("ingress", &["shared", "control"]).is_empty());
        let found = forbidden_edges("ingress", &["shared", "consumer"]);
        assert_eq!(found, ["ingress: must not depend on consumer"]);
        assert_eq!(forbidden_edges("control", &["shared"]).len(), 1);
        assert_eq!(forbidden_edges("unheard-of", &[]).len(), 1);
    }

    #[test]
    fn a_planted_database_is_found() {
        assert!(forbidden_packages("consumer", &["sqlx"]).is_empty());
        let found = forbidden_packages("ingress", &["hyper", "sqlx"]);
        assert_eq!(found, ["ingress: reaches sqlx, but the ingress never touches the database"]);
        assert_eq!(forbidden_packages("control", &["tokio"]).len(), 1);
    }
}
