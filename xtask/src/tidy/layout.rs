//! What must be there: each crate's root file, and the changelog.

use super::tree::Tree;
use crate::metadata::{Metadata, folder};

/// Programs whose journey is told in `main.rs`; every other crate has a library.
const PROGRAMS: [&str; 2] = ["shock", "xtask"];

/// Every file that is missing.
pub fn check(metadata: &Metadata, tree: &Tree) -> Vec<String> {
    let members = metadata.members().map(|package| package.name.as_str());
    missing(&members.collect::<Vec<_>>(), tree)
}

fn missing(members: &[&str], tree: &Tree) -> Vec<String> {
    let roots = members.iter().map(|name| match PROGRAMS.contains(name) {
        true => format!("{}/src/main.rs", folder(name)),
        false => format!("{}/src/lib.rs", folder(name)),
    });
    let wanted = roots.chain(["CHANGELOG.md".to_owned()]);
    wanted.filter(|path| !tree.contains(path)).map(|path| format!("{path} is missing")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::plant;

    #[test]
    fn a_planted_gap_is_found() {
        let tree = plant(&[("shared/src/lib.rs", ""), ("shock/src/main.rs", "")]);
        let found = missing(&["shared", "shock", "ingress"], &tree);
        assert_eq!(found, ["ingress/src/lib.rs is missing", "CHANGELOG.md is missing"]);
    }
}
