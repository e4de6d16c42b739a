//! Dependencies that are declared are used, and the packages that the design names are direct
//! dependencies of the crate whose part they are for, as soon as that part exists.

use super::tree::Tree;
use crate::metadata::{Metadata, Package, folder};

/// A package of the design card.
struct Card {
    package: &'static str,
    /// The crate that must depend on it.
    user: &'static str,
    /// The files that are the part; any of them makes the package due.
    part: &'static [&'static str],
}

const CARDS: [Card; 10] = [
    Card { package: "tokio", user: "ingress", part: &["ingress/src/lib.rs"] },
    Card { package: "hyper", user: "ingress", part: &["ingress/src/lib.rs"] },
    Card { package: "rdkafka", user: "shared", part: &["shared/src/lib.rs"] },
    Card { package: "simd-json", user: "ingress", part: &["ingress/src/lib.rs"] },
    Card { package: "jsonschema", user: "ingress", part: &["ingress/src/lib.rs"] },
    Card {
        package: "bloomfilter",
        user: "consumer",
        part: &["consumer/src/bloom.rs", "consumer/src/filter.rs"],
    },
    Card { package: "sqlx", user: "consumer", part: &["consumer/src/lib.rs"] },
    Card { package: "governor", user: "ingress", part: &["ingress/src/fixed_limits.rs"] },
    Card { package: "prometheus", user: "shared", part: &["shared/src/lib.rs"] },
    Card { package: "clap", user: "shock", part: &["shock/src/main.rs"] },
];

/// Every declared dependency that no source uses, and every package of the card that is due and
/// not declared.
pub fn check(metadata: &Metadata, tree: &Tree) -> Vec<String> {
    let unused = metadata.members().flat_map(|package| unused(package, tree));
    let members = metadata.members().collect::<Vec<_>>();
    let missing = CARDS.iter().filter(|card| card.is_due(tree)).filter_map(|card| {
        let user = members.iter().find(|package| package.name == card.user)?;
        let declared = user.dependencies.iter().any(|dependency| {
            dependency.name == card.package && dependency.kind.as_deref() != Some("dev")
        });
        // That a declared one is used is the other check's finding.
        (!declared).then(|| format!("{}: the design wants {} here", card.user, card.package))
    });
    unused.chain(missing).collect()
}

/// Says which packages of the card are not due yet.
pub fn report(tree: &Tree) -> String {
    let waiting = CARDS.iter().filter(|card| !card.is_due(tree));
    waiting
        .map(|card| {
            let part = card.part.join(" or ");
            format!("design card: {} waits for {part}\n", card.package)
        })
        .collect()
}

impl Card {
    fn is_due(&self, tree: &Tree) -> bool {
        self.part.iter().any(|path| tree.contains(path))
    }
}

fn unused(package: &Package, tree: &Tree) -> Vec<String> {
    let declared = package.dependencies.iter();
    declared
        .filter(|dependency| !is_used(&dependency.source_name(), &package.name, tree))
        .map(|dependency| {
            format!("{}: declares {} and never uses it", package.name, dependency.name)
        })
        .collect()
}

fn is_used(name: &str, member: &str, tree: &Tree) -> bool {
    tree.rust_below(folder(member)).any(|(_, source)| names_crate(&source.code, name))
}

/// True when `code` has a path that starts at the crate, or imports the crate itself.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = &code[..at];
        let after = &code[at + name.len()..];
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let starts = !before.ends_with(is_word) && !before.ends_with("crate::");
        let imported = before.ends_with("use ") && after.starts_with([';', ' ']);
        starts && (after.starts_with("::") || imported)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metadata::Dependency, tidy::tree::plant};

    fn package(dependencies: &[&str]) -> Package {
        let declared = dependencies.iter().map(|name| Dependency {
            name: (*name).to_owned(),
            kind: None,
            rename: None,
        });
        Package {
            id: "id".into(),
            name: "ingress".into(),
            dependencies: declared.collect(),
            targets: Vec::new(),
            features: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_planted_unused_dependency_is_found() {
        let tree = plant(&[
            ("ingress/src/lib.rs", "//! Uses `bytes::Bytes`.\nuse simd_json::Node;"),
            ("shared/src/lib.rs", "use bytes::Bytes;"),
        ]);
        let found = unused(&package(&["simd-json", "bytes"]), &tree);
        assert_eq!(found, ["ingress: declares bytes and never uses it"]);
    }

    #[test]
    fn a_use_is_a_path_and_not_a_word() {
        let check = |code, expected| assert_eq!(names_crate(code, "http"), expected, "{code}");
        check("use http::Uri;", true);
        check("let x: ::http::Uri;", true);
        check("use http;", true);
        check("use http as web;", true);
        check("let http = 1;", false);
        check("use my_http::Uri;", false);
        check("use http_body::Body;", false);
        check("use crate::http::Uri;", false);
    }

    #[test]
    fn a_card_is_due_when_its_part_exists() {
        let card = CARDS.iter().find(|card| card.package == "governor").expect("it is listed");
        assert!(!card.is_due(&plant(&[("ingress/src/lib.rs", "")])));
        assert!(card.is_due(&plant(&[("ingress/src/fixed_limits.rs", "")])));
    }
}
