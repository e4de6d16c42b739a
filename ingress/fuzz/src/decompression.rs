//! Content codings: the caps on size and ratio hold while inflating, what was in flight is given
//! back, and a coding changes nothing of the verdict.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::server::{BODY_BYTES_MAX, INFLATE_RATIO_MAX, INFLATED_BYTES_MAX, server};

/// Below it the ratio is not looked at.
const RATIO_FREE_BYTES: usize = 64 * 1024;
/// How often an input is repeated at most, beyond the caps.
const TEXT_BYTES_MAX: usize = 4 * INFLATED_BYTES_MAX;
const CODINGS: [&str; 4] = ["gzip", "deflate", "zstd", "br"];

/// The properties. The first byte chooses the coding and whether the rest is sent as it is or is a
/// text to be repeated (as often as the second byte squared says) and compressed.
pub fn check(input: &[u8]) {
    let [choice, times, rest @ ..] = input else { return };
    let coding = CODINGS[usize::from(*choice) % CODINGS.len()];
    let raw = choice & 0x80 != 0 || coding == "br";
    if raw {
        let answer = server().rehearse(&field(coding), rest);
        let expected = [200, 400, 413, 422, 503];
        assert!(expected.contains(&answer.status), "{coding}: {answer:?}");
    } else {
        let repeats = (usize::from(*times).pow(2) + 1).min(TEXT_BYTES_MAX / rest.len().max(1) + 1);
        compressed(coding, &rest.repeat(repeats));
    }
    let books = server().settled_books();
    assert_eq!(books.received, books.outcomes, "the books do not balance: {books:?}");
}

fn compressed(coding: &str, text: &[u8]) {
    let sent = match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        _ => zstd::encode_all(text, 1),
    };
    let sent = sent.expect("memory");
    let answer = server().rehearse(&field(coding), &sent);
    let ratio_bytes_max = (sent.len() * INFLATE_RATIO_MAX).max(RATIO_FREE_BYTES);
    if text.len() > INFLATED_BYTES_MAX.min(ratio_bytes_max) {
        let bombs = ["inflated_too_large", "body_too_large"];
        assert!(bombs.contains(&answer.code().as_str()), "{coding}, {}: {answer:?}", text.len());
        return;
    }
    // What is too long to be sent as it is may be sent compressed.
    if text.len() <= BODY_BYTES_MAX {
        let plain = server().rehearse("", text);
        assert_eq!((answer.status, answer.code()), (plain.status, plain.code()), "{coding}");
    }
}

fn field(coding: &str) -> String {
    format!("content-encoding: {coding}\r\n")
}
