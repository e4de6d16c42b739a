//! `uniqueItems`, without allocation: a few elements are compared in pairs, more of them by sorted
//! fingerprints. Equal fingerprints and too many elements are the library's.

use simd_json::{Node, StaticNode};

use super::literal::equals;
use super::number::Number;
use super::program::Verdict;
use crate::tape::extent;

/// Up to here every pair is compared.
const PAIRS_MAX: usize = 8;
/// Up to here fingerprints are kept on the stack.
const ELEMENTS_MAX: usize = 512;
/// Pairs of containers with more nodes than this are not compared.
const NODES_COMPARED_MAX: usize = 256;

/// Whether no two of the `len` values that start here are equal.
pub(crate) fn check(len: usize, nodes: &[Node<'_>]) -> Verdict {
    match len {
        0 | 1 => Verdict::Valid,
        2..=PAIRS_MAX => pairs(len, nodes),
        _ if len <= ELEMENTS_MAX => fingerprints(len, nodes),
        _ => Verdict::Unknown,
    }
}

fn pairs(len: usize, nodes: &[Node<'_>]) -> Verdict {
    let mut elements: [&[Node<'_>]; PAIRS_MAX] = [&[]; PAIRS_MAX];
    let mut rest = nodes;
    for element in &mut elements[..len] {
        let (value, after) = rest.split_at(extent(rest));
        if value.len() > NODES_COMPARED_MAX {
            return Verdict::Unknown;
        }
        (*element, rest) = (value, after);
    }
    let mut verdict = Verdict::Valid;
    for (index, one) in elements[..len].iter().enumerate() {
        for other in &elements[..index] {
            verdict = verdict.min(equals(one, other).negated());
        }
    }
    verdict
}

fn fingerprints(len: usize, nodes: &[Node<'_>]) -> Verdict {
    let mut found = [0_u64; ELEMENTS_MAX];
    let mut rest = nodes;
    for slot in &mut found[..len] {
        *slot = fingerprint(rest);
        rest = &rest[extent(rest)..];
    }
    let found = &mut found[..len];
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) { Verdict::Unknown } else { Verdict::Valid }
}

/// The same for equal values; the same for all containers.
fn fingerprint(nodes: &[Node<'_>]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    match &nodes[0] {
        Node::String(text) => text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)),
        Node::Static(value) => match Number::of(*value) {
            // -0 and 0 are equal; whole numbers beyond 2⁵³ share the float next to them.
            Some(Number::Float(float)) => (float + 0.0).to_bits(),
            Some(Number::Whole(whole)) => (whole as f64).to_bits(),
            None => match value {
                StaticNode::Bool(value) => u64::MAX - u64::from(*value),
                _ => u64::MAX - 2,
            },
        },
        Node::Array { .. } | Node::Object { .. } => PRIME,
    }
}
