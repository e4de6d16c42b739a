//! What `cargo metadata` says of the workspace, as far as we ask. Never edits a manifest.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{command, workspace};

/// The workspace and everything it depends on.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Members and dependencies.
    pub packages: Vec<Package>,
    /// Package ids of our own crates.
    pub workspace_members: Vec<String>,
    /// Which package depends on which.
    pub resolve: Resolve,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Unique; what `workspace_members` and `resolve` speak of.
    pub id: String,
    /// As in the registry.
    pub name: String,
    /// What the manifest declares.
    pub dependencies: Vec<Dependency>,
    /// Libraries, binaries, tests, ….
    pub targets: Vec<Target>,
    /// Cargo features by name.
    pub features: BTreeMap<String, Vec<String>>,
}

/// A member's folder: its name, but for the one that lives inside another crate's.
pub fn folder(member: &str) -> &str {
    if member == "fuzz" { "ingress/fuzz" } else { member }
}

/// One declared dependency.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// None is a normal one, otherwise `dev` or `build`.
    pub kind: Option<String>,
    /// The name in source code, where it differs.
    pub rename: Option<String>,
}

/// One target of a package.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// For a test: its file's stem.
    pub name: String,
    /// `lib`, `bin`, `test`, ….
    pub kind: Vec<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Debug, Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo; a `Cargo.lock` that does not fit the manifests is an error.
    pub fn read() -> Result<Self> {
        let mut metadata = workspace::cargo();
        metadata.args(["metadata", "--format-version", "1", "--locked"]);
        serde_json::from_str(&command::capture(&mut metadata)?)
            .context("cargo metadata printed what we do not understand")
    }

    /// Our own crates.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The names of all packages that `package` pulls in by normal dependencies, however far.
    pub fn reachable(&self, package: &Package) -> Vec<&str> {
        let nodes = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node));
        let nodes = nodes.collect::<HashMap<_, _>>();
        let mut seen = vec![package.id.as_str()];
        let mut next = 0;
        while let Some(id) = seen.get(next) {
            next += 1;
            let Some(node) = nodes.get(id) else { continue };
            for dependency in node.deps.iter().filter(|dependency| dependency.is_normal()) {
                if !seen.contains(&dependency.pkg.as_str()) {
                    seen.push(&dependency.pkg);
                }
            }
        }
        let names = self.packages.iter().filter(|other| seen[1..].contains(&other.id.as_str()));
        names.map(|package| package.name.as_str()).collect()
    }
}

impl NodeDependency {
    fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

impl Dependency {
    /// The name by which source code uses it.
    pub fn source_name(&self) -> String {
        self.rename.as_ref().unwrap_or(&self.name).replace('-', "_")
    }
}
