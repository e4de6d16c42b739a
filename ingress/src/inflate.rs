//! Undoing a content coding, counted while streaming: a bomb is refused before it is unpacked.
//!
//! What may follow the first unit of a coding: gzip members and zstd frames may be concatenated (their
//! RFCs say that the plain texts are), a zlib or brotli stream stands alone. Anything else behind the
//! end is refused, as is a body that ends too early.
//!
//! Memory: a decoder lives only while its thread inflates, and nothing waits meanwhile. So a thread
//! holds one window at a time: 32 KiB for gzip and deflate, at most 8 MiB for zstd, at most 16 MiB for
//! br. The inflated bytes are reserved from the budget.

use std::io::Read;

use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::budget::Reserved;
use crate::head::Coding;
use crate::reject::{Bound, Reject};

/// What we undo, for 415.
pub(crate) const ACCEPTED_ENCODINGS: &str = "gzip, zstd, br, deflate";

/// How far a body is inflated before the ratio is looked at: tiny bodies compress very well.
const RATIO_FREE_BYTES: usize = 64 * 1024;
/// What is inflated between two looks at the bounds.
const STEP_BYTES: usize = 16 * 1024;
/// The largest window of a zstd frame, as a power of two: the 8 MiB of RFC 9659.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How much of a brotli stream its decoder looks at in one go.
const BROTLI_INPUT_BYTES: usize = 4 * 1024;

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
        Coding::Zstd => {
            let decoder = zstd::Decoder::with_buffer(sent).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            // Only for want of memory.
            let decoder = decoder.map_err(|_| Reject::Overloaded)?;
            pump(decoder, sent.len(), bounds, reserved, into)
        }
        Coding::Brotli => {
            let mut decoder = Decompressor::new(sent, BROTLI_INPUT_BYTES);
            // Not RFC 7932's, and a gibibyte each.
            let strict =
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
            debug_assert!(strict, "nothing was read yet");
            pump(&mut decoder, sent.len(), bounds, reserved, into)?;
            // Asked once more behind its end, it refuses what follows in its own buffer; what it has
            // not read is ours to see.
            let nothing_follows = matches!(decoder.read(&mut [0]), Ok(0));
            let all_read = decoder.get_ref().is_empty();
            if nothing_follows && all_read { Ok(()) } else { Err(Reject::Inflate) }
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
mod tests;
