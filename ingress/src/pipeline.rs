//! The way of a request, from its head to its answer: one function, read from top to bottom.
//!
//! Types narrow along it: a head becomes a sender, a body its checked events, those what the log has,
//! that an answer. Every step may refuse; a refusal is a row of [`crate::reject`]'s table.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Request, Version};
use hyper::body::{Body as _, Incoming};
use shared::identity::SOURCE_DEFAULT;

use crate::answer;
use crate::append::{self, Received};
use crate::batch::Checker;
use crate::binary;
use crate::body::{self, BodyBounds};
use crate::budget::Reserved;
use crate::core::{Core, Shared};
use crate::courtesy;
use crate::event::Checks;
use crate::eventless;
use crate::fixed_limits::Quota;
use crate::grant::Grant;
use crate::head::{self, Coding, Route, Shape};
use crate::inflate::{self, InflateBounds};
use crate::live::Policy;
use crate::peer::Peer;
use crate::problem::Answer;
use crate::reject::Reject;
use crate::schema::{Schema, Tiers};
use crate::signature::Claimed;
use crate::source::Source;
use crate::tally::Tally;
use crate::tape::{Item, Parsed};
use crate::turn::Turn;

/// Who posts, and so how the body is read.
enum Sender<'s> {
    /// A producer with a key.
    Key { grant: &'s Grant, shape: Shape },
    /// A webhook source; its signature waits for the body.
    Source { source: &'s Source, claimed: Option<Claimed<'s>> },
}

/// Serves one request of `peer`, whatever it is; `from` is its sender, behind a proxy the proxy's
/// client.
pub(crate) async fn handle(
    core: &Core,
    peer: &Peer,
    from: IpAddr,
    request: Request<Incoming>,
) -> Answer {
    let (parts, mut incoming) = request.into_parts();
    let route = Route::of(parts.uri.path());
    let (mut answer, code) = match eventless::answer(core, peer, from, route, &parts) {
        Some(answered) => answered,
        None => {
            let tally = Tally::open(&core.shared.metrics);
            match way(core, peer, &tally, route, &parts, &mut incoming).await {
                Ok(answered) => answered,
                Err(reject) => {
                    let reject = core.shared.failed_logins.judge(from, reject);
                    tally.refused(&reject);
                    linger(&parts, &mut incoming, &reject).await;
                    (reject.answer(), reject.row().code)
                }
            }
        }
    };
    courtesy::add(&core.shared, &parts.headers, answer.headers_mut());
    core.shared.metrics.answered(route, code);
    // HTTP/2 has a frame of its own for that, and forbids the field.
    if parts.version < Version::HTTP_2 && core.shared.draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    core.stationery.keep(parts.headers);
    answer
}

/// Answers what is refused before its way begins, for the connection's sake.
pub(crate) fn refuse(core: &Core, reject: &Reject) -> Answer {
    Tally::open(&core.shared.metrics).refused(reject);
    core.shared.metrics.answered(Route::Unknown, reject.row().code);
    reject.answer()
}

/// The same, where a body may be under way.
pub(crate) async fn refuse_unread(
    core: &Core,
    reject: &Reject,
    request: Request<Incoming>,
) -> Answer {
    let answer = refuse(core, reject);
    let (parts, mut incoming) = request.into_parts();
    linger(&parts, &mut incoming, reject).await;
    answer
}

/// The way.
async fn way(
    core: &Core,
    peer: &Peer,
    tally: &Tally<'_>,
    route: Route<'_>,
    parts: &Parts,
    incoming: &mut Incoming,
) -> Result<(Answer, &'static str), Reject> {
    let shared = &*core.shared;
    let policy = core.view.snapshot(&shared.live);
    let sender = authenticate(shared, &policy, peer, route, parts)?;
    let quota = sender.take()?;
    let wishes = head::wishes_of(parts)?;
    if wishes.dry_run {
        tally.dry_run();
    }
    let coding = head::coding_of(&parts.headers)?;
    sender.check_mode(shared)?;
    let mut reserved = admit(shared, parts)?;

    let mut raw = core.pool.take();
    let bounds = BodyBounds {
        bytes_max: shared.config.body_bytes_max,
        time_max: shared.config.body_timeout,
        bytes_per_s_min: shared.config.edge.body_bytes_per_s_min,
    };
    body::read(incoming, bounds, &mut reserved, &mut raw.bytes).await?;
    shared.metrics.body_bytes.inc_by(raw.bytes.len() as u64);
    sender.verify(&raw.bytes)?;
    let mut plain = core.pool.take();
    let body = inflated(shared, coding, &raw.bytes, &mut reserved, &mut plain.bytes)?;
    if body.is_empty() && !sender.may_say_nothing() {
        return Err(Reject::Empty);
    }

    let mut desk = core.desks.take();
    let started = Instant::now();
    let mut turn = Turn::since(started);
    check(core, &policy, &sender, parts, body, &mut desk.checks, &mut turn).await?;
    let checked = Instant::now();
    observe_checks(shared, &desk.checks, checked - started);
    if wishes.dry_run {
        append::rehearse(&mut desk);
        return Ok(told(quota, answer::compose(&core.stationery, &desk, wishes)));
    }
    let body = if body.is_empty() { binary::NO_DATA } else { body };
    tally.received(desk.checks.events.len());

    shared.admission.decide(&core.flows, &mut desk, checked);
    let received = Received { at: shared.clock.now(), trace: head::trace(&parts.headers) };
    tally.appended();
    let appended = append::append(core, &mut desk, body, received);
    // The log has copied what it keeps: the buffers serve others while the request waits.
    drop((plain, raw, reserved));
    appended.settled(shared.config.request_timeout).await;
    shared.metrics.append_seconds.observe(checked.elapsed().as_secs_f64());

    appended.tell(&mut desk);
    answer::settle(tally, &desk.became);
    Ok(told(quota, answer::compose(&core.stationery, &desk, wishes)))
}

/// The answer, with what is left of the sender's requests where that is little.
fn told(
    quota: Option<Quota>,
    (mut answer, code): (Answer, &'static str),
) -> (Answer, &'static str) {
    if let Some(quota) = quota {
        quota.add_to(answer.headers_mut());
    }
    (answer, code)
}

/// Everything that can be refused for the head alone.
fn authenticate<'p>(
    shared: &Shared,
    policy: &'p Policy,
    peer: &Peer,
    route: Route<'_>,
    parts: &'p Parts,
) -> Result<Sender<'p>, Reject> {
    match route {
        // The contract's own requests never come here.
        Route::Unknown | Route::Schema(_) | Route::Mode | Route::OpenApi => {
            Err(Reject::UnknownPath)
        }
        Route::Events => {
            head::check_head(parts)?;
            let grant = policy.keyring.authenticate(&parts.headers, peer, shared.clock.now())?;
            Ok(Sender::Key { grant, shape: head::shape_of(&parts.headers)? })
        }
        Route::Source(name) => {
            let source = policy.sources.get(name).ok_or(Reject::UnknownSource)?;
            head::check_head(parts)?;
            let signature = source.config.signature.as_ref();
            let now = shared.clock.now();
            let claimed = signature.map(|config| Claimed::read(config, &parts.headers, now));
            let claimed = claimed.transpose()?;
            head::check_source_type(&parts.headers)?;
            Ok(Sender::Source { source, claimed })
        }
    }
}

/// Room for the body, before the first byte of it.
fn admit<'s>(shared: &'s Shared, parts: &Parts) -> Result<Reserved<'s>, Reject> {
    let announced = head::content_length(&parts.headers);
    let limit = shared.config.body_bytes_max;
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(body::too_large(limit, announced));
    }
    shared.budget.reserve(announced.unwrap_or_default()).map_err(|_| Reject::Overloaded)
}

impl Sender<'_> {
    /// Takes one of the sender's requests.
    fn take(&self) -> Result<Option<Quota>, Reject> {
        match self {
            Self::Key { grant, .. } => grant.take(),
            Self::Source { .. } => Ok(None),
        }
    }

    /// Whether the mode closes everything that the sender may write.
    fn check_mode(&self, shared: &Shared) -> Result<(), Reject> {
        match self {
            Self::Key { grant, .. } => shared.admission.check_sender(grant, &shared.router),
            Self::Source { .. } => Ok(()),
        }
    }

    /// Whether an event may have no data, and so the request no body.
    const fn may_say_nothing(&self) -> bool {
        matches!(self, Self::Key { shape: Shape::Binary, .. })
    }

    fn verify(&self, raw: &[u8]) -> Result<(), Reject> {
        match self {
            Self::Source { claimed: Some(claimed), .. } => claimed.verify(raw),
            Self::Source { claimed: None, .. } | Self::Key { .. } => Ok(()),
        }
    }
}

fn inflated<'b>(
    shared: &Shared,
    coding: Coding,
    raw: &'b [u8],
    reserved: &mut Reserved<'_>,
    plain: &'b mut Vec<u8>,
) -> Result<&'b [u8], Reject> {
    // Nothing is nothing in every coding.
    if coding == Coding::Identity || raw.is_empty() {
        return Ok(raw);
    }
    let bounds = InflateBounds {
        bytes_max: shared.config.inflated_bytes_max,
        ratio_max: shared.config.inflate_ratio_max,
    };
    inflate::inflate(coding, raw, bounds, reserved, plain)?;
    Ok(plain)
}

/// The verdicts on the body's events.
async fn check(
    core: &Core,
    policy: &Policy,
    sender: &Sender<'_>,
    parts: &Parts,
    body: &[u8],
    checks: &mut Checks,
    turn: &mut Turn,
) -> Result<(), Reject> {
    let shared = &*core.shared;
    let parser = &mut *core.parser();
    match *sender {
        Sender::Key { grant, shape: Shape::Binary } => {
            let attributes = &mut checks.attributes;
            binary::attributes(&parts.headers, attributes)?;
            let tenant = grant.tenant(attributes.find(attributes.tenant.as_ref()))?;
            let source = attributes.find(attributes.source.as_ref()).unwrap_or(SOURCE_DEFAULT);
            grant.check(attributes.event_type(), source, &shared.router)?;
            let parsed = if body.is_empty() { None } else { Some(parser.parse(body)?) };
            let data = parsed.as_ref().map(Parsed::root);
            if let Some(data) = data {
                shared.check_event(data, body)?;
            }
            let schema = policy.schemas.find(tenant, attributes.event_type())?;
            let warning = check_one(shared, schema, data, attributes.event_type())?;
            let value = if body.is_empty() { binary::NO_DATA } else { body };
            shared.enter_binary(tenant, value, warning, checks);
            Ok(())
        }
        Sender::Key { grant, shape } => {
            let checker = Checker { shared, policy, grant, shape };
            checker.check(parser, body, checks, turn).await
        }
        Sender::Source { source, .. } => {
            let attributes = &mut checks.attributes;
            let parsed = parser.parse(body)?;
            let data = parsed.root();
            shared.check_event(data, body)?;
            let tenant = source.read(&parts.headers, data, attributes)?;
            let schema = source.schema(attributes.event_type())?;
            let warning = check_one(shared, schema, Some(data), attributes.event_type())?;
            shared.enter_binary(tenant, body, warning, checks);
            Ok(())
        }
    }
}

/// The verdict on the one event of a request; entered at once, as a refused one ends the request.
fn check_one(
    shared: &Shared,
    schema: Option<&Schema>,
    data: Option<Item<'_>>,
    event_type: &str,
) -> Result<bool, Reject> {
    let mut tiers = Tiers::default();
    let verdict = schema.map(|one| one.check(data, event_type, &mut tiers));
    shared.metrics.checked(tiers);
    Ok(verdict.transpose()?.unwrap_or_default())
}

fn observe_checks(shared: &Shared, checks: &Checks, took: Duration) {
    shared.metrics.validate_seconds.observe(took.as_secs_f64());
    shared.metrics.batch_events.observe(checks.events.len() as f64);
    shared.metrics.checked(checks.tiers);
    if checks.warnings > 0 {
        shared.metrics.schema_warnings.inc_by(checks.warnings);
    }
}

/// Reads on where the sender is still sending: leaving bytes unread resets the connection, or the
/// stream of HTTP/2, and the answer would be lost with it (with curl's HTTP/2 as well).
async fn linger(parts: &Parts, incoming: &mut Incoming, reject: &Reject) {
    let polite = parts.headers.contains_key(EXPECT);
    let hopeless = matches!(reject, Reject::BodyTimeout | Reject::BodyIncomplete);
    if !polite && !hopeless && !incoming.is_end_stream() {
        body::discard(incoming).await;
    }
}
