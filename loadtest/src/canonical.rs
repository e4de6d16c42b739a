//! Digests: of bytes as they are, and of a JSON text by what it means.
//!
//! `jsonb` sorts members, keeps the last of duplicates, drops white space and prints numbers its own
//! way, so what PostgreSQL gives back can only be compared by meaning. Numbers are compared as
//! 64-bit integers where both are, otherwise as IEEE doubles: a difference beyond a double's
//! precision is not seen by [`of_json`], only by [`of_bytes`].

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256, written as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// The digest of the bytes themselves.
pub fn of_bytes(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The digest of what a JSON text means.
pub fn of_json(text: &[u8]) -> serde_json::Result<Digest> {
    serde_json::from_slice(text).map(|value| of_value(&value))
}

/// The digest of a JSON value.
pub fn of_value(value: &Value) -> Digest {
    let mut hash = Sha256::new();
    write(value, &mut hash);
    Digest(hash.finalize().into())
}

/// Every kind begins with its own letter and every length is written, so no two values meet.
fn write(value: &Value, hash: &mut Sha256) {
    let length = |hash: &mut Sha256, kind: &[u8], n: usize| {
        hash.update(kind);
        hash.update((n as u64).to_be_bytes());
    };
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Number(number) => {
            hash.update(b"#");
            match number.as_i64() {
                Some(integer) => hash.update((integer as f64).to_bits().to_be_bytes()),
                None => {
                    hash.update((number.as_f64().unwrap_or(f64::NAN) + 0.0).to_bits().to_be_bytes())
                }
            }
            // Integers that a double rounds are still told apart when both sides print integers.
            let exact = number.as_i64().filter(|n| n.unsigned_abs() > 1 << 53);
            hash.update(exact.unwrap_or(0).to_be_bytes());
        }
        Value::String(text) => {
            length(hash, b"s", text.len());
            hash.update(text.as_bytes());
        }
        Value::Array(items) => {
            length(hash, b"[", items.len());
            items.iter().for_each(|item| write(item, hash));
        }
        Value::Object(members) => {
            length(hash, b"{", members.len());
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            for (name, member) in sorted {
                length(hash, b"s", name.len());
                hash.update(name.as_bytes());
                write(member, hash);
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex::encode(&self.0[..6]))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaning_not_spelling() {
        let check = |a: &str, b: &str, same: bool| {
            let digests = [a, b].map(|text| of_json(text.as_bytes()).expect("JSON"));
            assert_eq!(digests[0] == digests[1], same, "{a} {b}");
        };
        check(r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [true, null], "a" : 1.0 } "#, true);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true);
        check("1e2", "100", true);
        check("-0.0", "0", true);
        check(r#""ä""#, r#""\u00e4""#, true);
        check("[1,2]", "[2,1]", false);
        check(r#"["ab","c"]"#, r#"["a","bc"]"#, false);
        check(r#"{"a":{}}"#, r#"{"a":[]}"#, false);
        check("9007199254740993", "9007199254740992", false);
        check(r#""1""#, "1", false);
    }

    #[test]
    fn digests_are_read_back() {
        let digest = of_bytes(b"x");
        let text = serde_json::to_string(&digest).expect("a string");
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("a digest"), digest);
        assert!(serde_json::from_str::<Digest>("\"12\"").is_err());
    }
}
