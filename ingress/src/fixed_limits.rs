//! Limits that are the same however busy we are: the requests of one credential, and the wrong
//! credentials of one address.
//!
//! Both count requests, before the body is read. Nothing waits: over the limit is 429 at once, with
//! the time after which it pays to come back.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed, RateLimiter};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use shared::config::RateBound;

use crate::addresses::counted_as;
use crate::reject::Reject;

/// The most addresses whose failures are remembered; beyond it a new one is answered like the first
/// time each time.
const ADDRESSES_MAX: usize = 10_000;
/// A quota that is used up to this share is told about before it is used up.
const TOLD_BELOW: u32 = 10;

type Direct = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>;
type Keyed = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>;

/// How many requests one credential may send.
#[derive(Debug)]
pub(crate) struct RequestLimit {
    bound: RateBound,
    bucket: Direct,
}

/// What is left of a credential's requests (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The most at once.
    requests: u32,
    /// In how many seconds so many come back.
    window_s: u32,
    /// How many are left.
    left: u32,
    /// After how many seconds there is one more where none is left, else all.
    after_s: u32,
}

impl RequestLimit {
    /// A full bucket.
    pub fn new(bound: RateBound) -> Self {
        let quota = governor::Quota::per_second(bound.requests_per_s).allow_burst(bound.burst);
        let bucket = RateLimiter::direct_with_clock(quota, MonotonicClock).with_middleware();
        Self { bound, bucket }
    }

    /// What it was made from.
    pub const fn bound(&self) -> RateBound {
        self.bound
    }

    /// Takes one request. `Some`: little is left, and the sender should know.
    pub fn take(&self) -> Result<Option<Quota>, Reject> {
        let RateBound { requests_per_s, burst } = self.bound;
        let quota = |left: u32, after_s| Quota {
            requests: burst.get(),
            window_s: burst.get().div_ceil(requests_per_s.get()),
            left,
            after_s,
        };
        match self.bucket.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let missing_s =
                    (burst.get() - left.min(burst.get())).div_ceil(requests_per_s.get());
                let little = u64::from(left) * u64::from(TOLD_BELOW) < u64::from(burst.get());
                Ok(little.then(|| quota(left, missing_s)))
            }
            Err(until) => {
                let wait = until.wait_time_from(self.bucket.clock().now());
                Err(Reject::RateLimited(quota(0, whole_seconds(wait))))
            }
        }
    }
}

impl Quota {
    /// What is shown where any will do.
    pub const SPECIMEN: Self = Self { requests: 100, window_s: 1, left: 0, after_s: 1 };

    /// After how many seconds the next request is worth sending.
    pub const fn after_s(&self) -> u32 {
        self.after_s
    }

    /// Tells the sender.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        let Self { requests, window_s, left, after_s } = self;
        add_fields(headers, "requests", (u64::from(*requests), *window_s), (*left, *after_s));
    }
}

/// Tells a sender of a policy: so many in so many seconds; so many left, and more after so many seconds.
pub(crate) fn add_fields(
    headers: &mut HeaderMap,
    policy: &str,
    (most, window_s): (u64, u32),
    (left, after_s): (u32, u32),
) {
    let fields = [
        ("ratelimit-policy", format!("\"{policy}\";q={most};w={window_s}")),
        ("ratelimit", format!("\"{policy}\";r={left};t={after_s}")),
    ];
    for (name, value) in fields {
        let value = HeaderValue::try_from(value).expect("digits and letters");
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Rounded up: earlier would be refused again.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// Wrong credentials by address.
///
/// Over the limit a wrong credential gets 429 instead of 401. A right one passes always: addresses are
/// shared, behind a proxy by everybody, and one sender with an old key must not shut the others out.
/// That nobody guesses a key rests on its 256 bits.
#[derive(Debug)]
pub(crate) struct FailedLogins(Keyed);

impl FailedLogins {
    /// So many a minute, and as many at once.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let quota = governor::Quota::per_minute(per_minute);
        Self(RateLimiter::hashmap_with_clock(quota, MonotonicClock))
    }

    /// The refusal that this address gets: what is no failed login passes through.
    pub fn judge(&self, address: IpAddr, reject: Reject) -> Reject {
        let failed = matches!(
            reject,
            Reject::Unauthorized | Reject::Signature { .. } | Reject::SignatureTime { .. }
        );
        if !failed || !self.has_room() {
            return reject;
        }
        match self.0.check_key(&counted_as(address)) {
            Ok(()) => reject,
            Err(until) => Reject::FailedLogins {
                after_s: whole_seconds(until.wait_time_from(self.0.clock().now())),
            },
        }
    }

    /// Forgets who has been quiet long enough, where the table is full.
    fn has_room(&self) -> bool {
        if self.0.len() < ADDRESSES_MAX {
            return true;
        }
        self.0.retain_recent();
        self.0.shrink_to_fit();
        self.0.len() < ADDRESSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonzero(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not zero")
    }

    #[test]
    fn a_credential_is_told_before_it_is_refused() {
        // So slow that nothing comes back while the test runs.
        let bound = RateBound { requests_per_s: nonzero(1), burst: nonzero(30) };
        let limit = RequestLimit::new(bound);
        let told = |left, after_s| Quota { requests: 30, window_s: 30, left, after_s };
        for _ in 0..27 {
            assert_eq!(limit.take(), Ok(None));
        }
        for left in [2, 1, 0] {
            assert_eq!(limit.take(), Ok(Some(told(left, 30 - left))));
        }
        assert_eq!(limit.take(), Err(Reject::RateLimited(told(0, 1))));
        let mut headers = HeaderMap::new();
        told(0, 1).add_to(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=30;w=30");
        assert_eq!(headers["ratelimit"], "\"requests\";r=0;t=1");
    }

    #[test]
    fn failures_are_counted_by_address_and_nothing_else_is() {
        let logins = FailedLogins::new(nonzero(2));
        let check = |address: &str, reject: Reject, expected: &str| {
            let found = logins.judge(address.parse().expect("an address"), reject);
            assert_eq!(found.row().code, expected, "{address}");
        };
        let wrong = || Reject::Signature { header: String::new() };
        check("10.0.0.1", Reject::Unauthorized, "unauthorized");
        check("10.0.0.1", Reject::Json, "malformed_json");
        check("10.0.0.1", wrong(), "signature_invalid");
        check("10.0.0.1", Reject::Unauthorized, "too_many_failed_logins");
        check("10.0.0.1", Reject::Json, "malformed_json");
        check("10.0.0.2", Reject::Unauthorized, "unauthorized");
        check("2001:db8::1", Reject::Unauthorized, "unauthorized");
        check("2001:db8::ffff:1", Reject::Unauthorized, "unauthorized");
        check("2001:db8::2", Reject::Unauthorized, "too_many_failed_logins");
        check("2001:db8:0:1::1", Reject::Unauthorized, "unauthorized");
    }

    #[test]
    fn a_full_table_refuses_nobody_more_than_before() {
        let logins = FailedLogins::new(nonzero(1));
        let at = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..ADDRESSES_MAX as u32 {
            assert_eq!(logins.judge(at(number), Reject::Unauthorized), Reject::Unauthorized);
        }
        for _ in 0..3 {
            let found = logins.judge(at(u32::MAX), Reject::Unauthorized);
            assert_eq!((found, logins.0.len()), (Reject::Unauthorized, ADDRESSES_MAX));
        }
    }

    #[test]
    fn waits_are_rounded_up() {
        let check = |milliseconds, expected| {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), expected);
        };
        check(0, 1);
        check(1, 1);
        check(1_000, 1);
        check(1_001, 2);
    }
}
