//! A connection's requests, before the pipeline: what the framing refused, how many may be served at
//! one time, and whose they are where a proxy forwards them.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, Version};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use shared::config::ProxyProtocol;
use tokio::time::Instant;

use crate::accept::trusts;
use crate::addresses::Place;
use crate::core::{Core, Shared};
use crate::deadlines::old_at;
use crate::framing::authority_is_valid;
use crate::peer::Peer;
use crate::pipeline;
use crate::problem::Answer;
use crate::pulse::Pulse;
use crate::reject::Reject;

/// The body of an answer.
pub(crate) type Body = Full<Bytes>;

/// A connection as its requests see it.
pub(crate) struct Connected {
    /// The thread's part of the ingress.
    pub core: Rc<Core>,
    /// Who is at the other end.
    pub peer: Peer,
    /// What it is doing.
    pub pulse: Rc<Pulse>,
    /// When it is too old for one more request.
    pub old: Instant,
    /// Whether the other end may forward for others.
    forwards: bool,
    /// Whether TLS ends here.
    secured: bool,
}

/// One of the requests being served, not any more when dropped.
struct Slot<'s>(&'s Shared);

impl Connected {
    /// Of a connection that has begun.
    pub fn new(core: Rc<Core>, peer: Peer, pulse: Pulse) -> Self {
        let by_header = core.shared.config.edge.proxy_protocol == ProxyProtocol::Off;
        let forwards = by_header && trusts(&core.shared, peer.address());
        let secured = core.shared.tls.is_some();
        Self { core, peer, pulse: Rc::new(pulse), old: old_at(), forwards, secured }
    }

    /// For whom the other end forwards a request with these fields, where it may.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if self.forwards { forwarded_for(&self.core.shared, headers) } else { None }
    }
}

/// Answers one request of the connection.
pub(crate) async fn answer(connected: &Connected, request: Request<Incoming>) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let mut answer = answer_whole(connected, request).await;
    if is_head {
        keep_head(&mut answer);
    }
    answer
}

/// The answer to a HEAD is that of a GET without its content (RFC 9110, 9.3.2). hyper sees to it in
/// HTTP/1 only.
fn keep_head(answer: &mut Answer) {
    if let Some(length) = answer.body().size_hint().exact().filter(|length| *length > 0) {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *answer.body_mut() = Body::default();
}

async fn answer_whole(connected: &Connected, request: Request<Incoming>) -> Answer {
    let core = &*connected.core;
    let (_serving, refused) = connected.pulse.begin();
    if let Some(reject) = refused {
        let mut answer = pipeline::refuse(core, &reject);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    let client = connected.client(request.headers());
    match admit(connected, client, &request) {
        Ok(_admitted) => {
            let from = client.unwrap_or(connected.peer.address());
            pipeline::handle(core, &connected.peer, from, request).await
        }
        Err(reject) => pipeline::refuse_unread(core, &reject, request).await,
    }
}

/// Room for one more request, before a byte of its body is read.
fn admit<'c>(
    connected: &'c Connected,
    client: Option<IpAddr>,
    request: &Request<Incoming>,
) -> Result<(Slot<'c>, Option<Place>), Reject> {
    let shared = &*connected.core.shared;
    if request.version() == Version::HTTP_2 {
        check_target(request)?;
    } else if request.uri().scheme() == Some(&Scheme::HTTPS) && !connected.secured {
        // RFC 9110, 7.4: nobody vouches for it.
        return Err(Reject::Malformed("an https target came over a connection without TLS"));
    }
    let slot = Slot::take(shared).ok_or(Reject::Overloaded)?;
    if shared.watermark.is_shedding() {
        return Err(Reject::Overloaded);
    }
    let Some(client) = client else { return Ok((slot, None)) };
    let place = shared.addresses.take(client).ok_or(Reject::Overloaded)?;
    Ok((slot, Some(place)))
}

/// HTTP/2 frames itself; what is left is what is asked for, and of whom (RFC 9113 section 8.3.1). A
/// proxy that ends TLS may say `https` here.
fn check_target(request: &Request<Incoming>) -> Result<(), Reject> {
    if request.method() == Method::CONNECT {
        return Err(Reject::NotImplemented("this is no proxy: CONNECT is not implemented"));
    }
    if !matches!(request.uri().scheme_str(), Some("http" | "https")) {
        return Err(Reject::Malformed(":scheme is neither http nor https"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Reject::Malformed("Host stands there twice"));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => {
            Err(Reject::Malformed(":authority and Host differ"))
        }
        (Some(one), _) | (None, Some(one)) if authority_is_valid(one) => Ok(()),
        _ => Err(Reject::Malformed(":authority or Host is no host with an optional port")),
    }
}

/// The last address that no proxy of ours wrote about itself; what is before it anybody can write.
fn forwarded_for(shared: &Shared, headers: &HeaderMap) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let addresses = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for address in addresses {
        let address = address_of(address.trim())?;
        if !trusts(shared, address) {
            return Some(address.to_canonical());
        }
    }
    None
}

/// An address, also with the port that some proxies write behind it.
fn address_of(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

impl<'s> Slot<'s> {
    fn take(shared: &'s Shared) -> Option<Self> {
        let before = shared.requests.fetch_add(1, Ordering::Relaxed);
        let slot = Self(shared);
        (before < shared.config.edge.requests_max).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
