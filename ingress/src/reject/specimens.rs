//! One of each refusal: what the contract's document and its tests go through.

use shared::clock::Millis;

use super::{Bound, Outcome, Reject};
use crate::fixed_limits::Quota;

/// The refusals by pattern and example. The patterns are one exhaustive match, so that a variant
/// without an example does not compile.
macro_rules! specimens {
    ($($pattern:pat => $example:expr,)*) => {
        /// One of each variant, in the table's order.
        pub(crate) fn specimens() -> Vec<Reject> {
            /// Only there to be exhaustive.
            const fn complete(reject: &Reject) {
                match reject {
                    $($pattern => {})*
                }
            }
            let all = vec![$($example),*];
            all.iter().for_each(complete);
            all
        }
    };
}

const BOUND: Bound = Bound { name: "bound", limit: 1, observed: Some(2) };

specimens! {
    Reject::UnknownPath => Reject::UnknownPath,
    Reject::UnknownSource => Reject::UnknownSource,
    Reject::UnknownSchema => Reject::UnknownSchema,
    Reject::Method { .. } => Reject::Method { allow: "POST" },
    Reject::HeadTooLarge(_) => Reject::HeadTooLarge(BOUND),
    Reject::Malformed(_) => Reject::Malformed("the request is malformed"),
    Reject::HeadTimeout => Reject::HeadTimeout,
    Reject::NotImplemented(_) => Reject::NotImplemented("CONNECT is not implemented"),
    Reject::HttpVersion => Reject::HttpVersion,
    Reject::Unauthorized => Reject::Unauthorized,
    Reject::KeyExpired { .. } => Reject::KeyExpired { end: Millis(0) },
    Reject::KeyDisabled => Reject::KeyDisabled,
    Reject::Signature { .. } => Reject::Signature { header: "x-signature".to_owned() },
    Reject::SignatureTime { .. } => {
        Reject::SignatureTime { header: "x-signature".to_owned(), tolerance_s: 300 }
    },
    Reject::RateLimited(_) => Reject::RateLimited(Quota::SPECIMEN),
    Reject::FailedLogins { .. } => Reject::FailedLogins { after_s: 1 },
    Reject::TenantForbidden => Reject::TenantForbidden,
    Reject::TypeForbidden => Reject::TypeForbidden,
    Reject::SourceForbidden => Reject::SourceForbidden,
    Reject::ClassForbidden => Reject::ClassForbidden,
    Reject::MediaType { .. } => Reject::MediaType { accept: "application/json", hint: None },
    Reject::Encoding => Reject::Encoding,
    Reject::Inflate => Reject::Inflate,
    Reject::Body(_) => Reject::Body(BOUND),
    Reject::Inflated(_) => Reject::Inflated(BOUND),
    Reject::Event(_) => Reject::Event(BOUND),
    Reject::Batch(_) => Reject::Batch(BOUND),
    Reject::Depth(_) => Reject::Depth(BOUND),
    Reject::Members(_) => Reject::Members(BOUND),
    Reject::Record => Reject::Record,
    Reject::BodyTimeout => Reject::BodyTimeout,
    Reject::BodyIncomplete => Reject::BodyIncomplete,
    Reject::Empty => Reject::Empty,
    Reject::Json => Reject::Json,
    Reject::Utf8 => Reject::Utf8,
    Reject::Duplicate { .. } => Reject::Duplicate { member: "id".to_owned() },
    Reject::NotStorable(_) => Reject::NotStorable("a string holds U+0000"),
    Reject::Envelope(_) => Reject::Envelope(Box::default()),
    Reject::Attribute(_) => Reject::Attribute("no tenant can be found"),
    Reject::UnknownType => Reject::UnknownType,
    Reject::Schema(_) => Reject::Schema(Box::default()),
    Reject::Overloaded => Reject::Overloaded,
    Reject::OverCeiling { .. } => Reject::OverCeiling { ceiling_per_1000_s: 1_000_000, after_s: 1 },
    Reject::OverContract { .. } => Reject::OverContract { after_s: 1 },
    Reject::NoCapacity { .. } => Reject::NoCapacity { after_s: 1 },
    Reject::ModeClosed { .. } => Reject::ModeClosed { mode: "read-only", after_s: 30 },
    Reject::LogFull => Reject::LogFull,
    Reject::LogUnavailable => Reject::LogUnavailable,
    Reject::DiskFull => Reject::DiskFull,
    Reject::BehindFailed(_) => Reject::BehindFailed(Outcome::Failed),
    Reject::AckUnknown => Reject::AckUnknown,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::reject::Retry;

    #[test]
    fn codes_are_unique_and_statuses_say_whether_to_retry() {
        let all = specimens();
        let codes: BTreeSet<_> = all.iter().map(|reject| reject.row().code).collect();
        assert_eq!(codes.len(), all.len());
        for reject in all {
            let row = reject.row();
            let status = row.status.as_u16();
            let retryable = matches!(status, 408 | 429 | 503 | 504);
            assert_eq!(row.retry != Retry::Never, retryable, "{}", row.code);
        }
    }
}
