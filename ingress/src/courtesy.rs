//! Fields that an answer has whatever became of the request: the request's id, the mode and CORS.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::core::Shared;

/// The request's own id. It comes back, so that a sender finds its request in a proxy's log; none is
/// made up here, where no log line would name it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The mode, where it is not the normal one.
const MODE: HeaderName = HeaderName::from_static("shock-mode");
/// The longest that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Adds them. Without an id, in the normal mode, and with CORS off, nothing is touched.
pub(crate) fn add(shared: &Shared, request: &HeaderMap, answer: &mut HeaderMap) {
    if let Some(id) = request_id(request) {
        answer.insert(REQUEST_ID, id.clone());
    }
    if let Some(mode) = shared.admission.mode_field() {
        answer.insert(MODE, mode);
    }
    shared.cors.add_to(answer, request);
}

/// A well-formed id: what stands in a URI's path and in a log line without quotes.
fn request_id(request: &HeaderMap) -> Option<&HeaderValue> {
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b'+' | b'=')
    };
    let id = request.get(REQUEST_ID)?;
    let good = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(allowed);
    good.then_some(id)
}
