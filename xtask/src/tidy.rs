//! `cargo xtask tidy`: what this repository promises about itself and no compiler checks: edges
//! between crates, dependencies that are used, files that explain themselves, links that lead
//! somewhere. Reports sizes. Never changes a file.

mod dependencies;
mod edges;
mod layout;
mod links;
mod sizes;
mod source;
mod text;
mod tree;

use anyhow::{Result, bail};

use crate::metadata::Metadata;
use tree::Tree;

/// Runs every check and reports the sizes; any finding is an error.
pub fn run() -> Result<()> {
    let tree = Tree::read()?;
    let metadata = Metadata::read()?;
    let mut findings = Vec::new();
    findings.extend(edges::check(&metadata));
    findings.extend(dependencies::check(&metadata, &tree));
    findings.extend(layout::check(&metadata, &tree));
    findings.extend(text::check(&tree));
    findings.extend(links::check(&tree));
    print!("{}", dependencies::report(&tree));
    print!("{}", sizes::report(&tree));
    if !findings.is_empty() {
        bail!("tidy found {}:\n{}", findings.len(), findings.join("\n"));
    }
    println!("tidy: {} files, nothing found", tree.files.len());
    Ok(())
}
