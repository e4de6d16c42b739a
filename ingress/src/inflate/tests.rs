//! Each coding: what it takes, what it refuses, and how far a bomb gets.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use prometheus::IntGauge;

use super::*;
use crate::budget::Budget;

const BOUNDS: InflateBounds = InflateBounds { bytes_max: 1 << 20, ratio_max: 100 };

/// `hello` in brotli.
const BROTLI_HELLO: &str = "0b028068656c6c6f03";
/// 64 MiB of the digit 0 in brotli, 102 bytes.
const BROTLI_BOMB: &str = "cbffff3f002460e2b14072effff8ffff078004401c1680eefd1fffffff00900088c302d0bd\
    ffe3ffff1f001200715800baf77ffcffff034002200e0b40f7fe8fffff7f004800c46101e8defff1ffff0f000980382c\
    00ddfb3ffeffff012001108705a07bff37";

fn check(coding: Coding, sent: &[u8], expected: Result<usize, Reject>) {
    let budget = Budget::new(2 << 20, IntGauge::new("g", "g").expect("a valid name"));
    let mut reserved = budget.reserve(0).expect("nothing");
    let mut into = Vec::new();
    let verdict = inflate(coding, sent, BOUNDS, &mut reserved, &mut into);
    assert_eq!(verdict.map(|()| into.len()), expected, "{coding:?} {sent:02x?}");
    assert!(into.capacity() <= 2 * (BOUNDS.bytes_max + STEP_BYTES), "bounded while streaming");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

fn brotli(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("hex digits")
}

/// `hello` in every coding.
fn hello() -> [(Coding, Vec<u8>); 4] {
    [
        (Coding::Gzip, gzip(b"hello")),
        (Coding::Deflate, zlib(b"hello")),
        (Coding::Zstd, zstd(b"hello")),
        (Coding::Brotli, brotli(BROTLI_HELLO)),
    ]
}

#[test]
fn bodies_inflate_when_they_are_whole() {
    for (coding, whole) in hello() {
        check(coding, &whole, Ok(5));
        for length in 1..whole.len() {
            check(coding, &whole[..length], Err(Reject::Inflate));
        }
        check(coding, &[&whole[..], b"x"].concat(), Err(Reject::Inflate));
        // More than any decoder reads ahead.
        let far = [&whole[..], &[b'x'; 64 << 10]].concat();
        check(coding, &far, Err(Reject::Inflate));
        check(coding, b"hello, not coded", Err(Reject::Inflate));
    }
}

#[test]
fn a_second_unit_is_taken_where_the_coding_has_them() {
    for (coding, whole) in hello() {
        let expected = match coding {
            Coding::Gzip | Coding::Zstd => Ok(10),
            Coding::Identity | Coding::Deflate | Coding::Brotli => Err(Reject::Inflate),
        };
        check(coding, &[&whole[..], &whole].concat(), expected);
    }
    // A skippable frame says nothing (RFC 8878, 3.1.2).
    let skippable = [&b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"[..], &zstd(b"hello")].concat();
    check(Coding::Zstd, &skippable, Ok(5));
}

#[test]
fn bombs_are_refused_while_they_unpack() {
    let zeros = vec![0; 16 << 20];
    let bombs = [
        (Coding::Gzip, gzip(&zeros)),
        (Coding::Deflate, zlib(&zeros)),
        (Coding::Zstd, zstd(&zeros)),
        (Coding::Brotli, brotli(BROTLI_BOMB)),
    ];
    for (coding, bomb) in bombs {
        // The first bound that is met: a thousandfold gain on a large body is over the size first.
        let first = match bomb.len() * BOUNDS.ratio_max > BOUNDS.bytes_max {
            true => passed("inflated_bytes_max", BOUNDS.bytes_max),
            false => passed("inflate_ratio_max", BOUNDS.ratio_max),
        };
        check(coding, &bomb, Err(first));
    }
    let noise: Vec<u8> =
        (0..2_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (coding, sent) in [
        (Coding::Gzip, gzip(&noise)),
        (Coding::Zstd, zstd::encode_all(&noise[..], 1).expect("memory")),
    ] {
        check(coding, &sent, Err(passed("inflated_bytes_max", 1 << 20)));
    }
    // A ratio is met on its own, below the size.
    check(Coding::Gzip, &gzip(&vec![0; 1 << 20]), Err(passed("inflate_ratio_max", 100)));
}

/// A window is memory that the sender chooses.
#[test]
fn windows_are_bounded() {
    let windowed = |log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(log).expect("a valid window");
        encoder.write_all(b"hello").expect("memory");
        encoder.finish().expect("memory")
    };
    check(Coding::Zstd, &windowed(ZSTD_WINDOW_LOG_MAX), Ok(5));
    check(Coding::Zstd, &windowed(ZSTD_WINDOW_LOG_MAX + 1), Err(Reject::Inflate));
    // Brotli's large window, 2^30 bytes: 0x11 and the size in six bits (not in RFC 7932).
    let mut large = brotli(BROTLI_HELLO);
    large.splice(0..1, [0x11, 30]);
    check(Coding::Brotli, &large, Err(Reject::Inflate));
}
