//! Undoing a content coding, counted while streaming: a bomb is refused before it is unpacked.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::budget::Reserved;
use crate::head::Coding;
use crate::reject::{Bound, Reject};

/// What we undo, for 415.
pub(crate) const ACCEPTED_ENCODINGS: &str = "gzip, deflate";

/// How far a body is inflated before the ratio is looked at: tiny bodies compress very well.
const RATIO_FREE_BYTES: usize = 64 * 1024;
/// What is inflated between two looks at the bounds.
const STEP_BYTES: usize = 16 * 1024;

/// How far inflating may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InflateBounds {
    /// In bytes.
    pub bytes_max: usize,
    /// Inflated bytes per byte sent.
    pub ratio_max: usize,
}

/// Inflates `sent` into `into`, which is emptied first.
pub(crate) fn inflate(
    coding: Coding,
    sent: &[u8],
    bounds: InflateBounds,
    reserved: &mut Reserved<'_>,
    into: &mut Vec<u8>,
) -> Result<(), Reject> {
    into.clear();
    match coding {
        Coding::Identity => {
            into.extend_from_slice(sent);
            Ok(())
        }
        Coding::Gzip => pump(MultiGzDecoder::new(sent), sent.len(), bounds, reserved, into),
        Coding::Deflate => {
            let mut decoder = ZlibDecoder::new(sent);
            pump(&mut decoder, sent.len(), bounds, reserved, into)?;
            // Unlike gzip's, this decoder stops at the end of its stream, whatever follows.
            if decoder.total_in() == sent.len() as u64 { Ok(()) } else { Err(Reject::Inflate) }
        }
    }
}

fn pump(
    mut decoder: impl Read,
    sent_bytes: usize,
    bounds: InflateBounds,
    reserved: &mut Reserved<'_>,
    into: &mut Vec<u8>,
) -> Result<(), Reject> {
    let ratio_bytes_max = sent_bytes.saturating_mul(bounds.ratio_max).max(RATIO_FREE_BYTES);
    loop {
        let length = into.len();
        into.resize(length + STEP_BYTES, 0);
        let read = decoder.read(&mut into[length..]).map_err(|_| Reject::Inflate)?;
        into.truncate(length + read);
        if read == 0 {
            return Ok(());
        }
        reserved.grow(read).map_err(|_| Reject::Overloaded)?;
        if into.len() > bounds.bytes_max {
            return Err(passed("inflated_bytes_max", bounds.bytes_max));
        }
        if into.len() > ratio_bytes_max {
            return Err(passed("inflate_ratio_max", bounds.ratio_max));
        }
    }
}

const fn passed(name: &'static str, limit: usize) -> Reject {
    Reject::Inflated(Bound { name, limit, observed: None })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use prometheus::IntGauge;

    use super::*;
    use crate::budget::Budget;

    const BOUNDS: InflateBounds = InflateBounds { bytes_max: 1 << 20, ratio_max: 100 };

    fn check(coding: Coding, sent: &[u8], expected: Result<usize, Reject>) {
        let budget = Budget::new(2 << 20, IntGauge::new("g", "g").expect("a valid name"));
        let mut reserved = budget.reserve(0).expect("nothing");
        let mut into = Vec::new();
        let verdict = inflate(coding, sent, BOUNDS, &mut reserved, &mut into);
        assert_eq!(verdict.map(|()| into.len()), expected);
        assert!(into.len() <= BOUNDS.bytes_max + STEP_BYTES, "bounded while streaming");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn bodies_inflate_and_bombs_do_not() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").expect("memory");
        let zlib = zlib.finish().expect("memory");
        check(Coding::Deflate, &zlib, Ok(5));
        check(Coding::Deflate, &[&zlib[..], b"x"].concat(), Err(Reject::Inflate));
        check(Coding::Gzip, &[&gzip(b"hel")[..], &gzip(b"lo")].concat(), Ok(5));
        check(Coding::Gzip, &[&gzip(b"hello")[..], b"x"].concat(), Err(Reject::Inflate));
        check(Coding::Gzip, &gzip(b"hello"), Ok(5));
        check(Coding::Gzip, b"hello", Err(Reject::Inflate));
        let whole = gzip(b"hello");
        check(Coding::Gzip, &whole[..whole.len() - 1], Err(Reject::Inflate));
        let noise: Vec<u8> =
            (0..2_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        check(Coding::Gzip, &gzip(&noise), Err(passed("inflated_bytes_max", 1 << 20)));
        check(Coding::Gzip, &gzip(&vec![0; 1 << 20]), Err(passed("inflate_ratio_max", 100)));
    }
}
