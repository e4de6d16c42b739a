//! What librdkafka knows and rdkafka's safe interface does not tell: whether a message may be in the
//! log, a cached end, membership, and headers with any name. The only unsafe code
//! of the log; every function takes a safe handle that keeps alive what it dereferences.
#![expect(unsafe_code, reason = "rdkafka has no safe form of these calls")]

mod writer;

use std::ffi::{CStr, CString};
use std::ptr;

use bytes::Bytes;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::message::BorrowedMessage;

pub(super) use self::writer::{Report, Writer};

/// Whether a message that was not acknowledged may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It was never sent, or the broker refused it.
    Not,
    /// It was sent, and no answer came.
    Possibly,
    /// The broker has it.
    Surely,
}

/// What librdkafka says of a message in a delivery report.
///
/// SAFETY: the message is alive.
unsafe fn message_persistence(message: *const native::rd_kafka_message_t) -> Persistence {
    use native::rd_kafka_msg_status_t as Status;
    // SAFETY: by the contract above.
    match unsafe { native::rd_kafka_message_status(message) } {
        Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persistence::Not,
        Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Persistence::Possibly,
        Status::RD_KAFKA_MSG_STATUS_PERSISTED => Persistence::Surely,
    }
}

/// The end of a partition as the last fetch saw it; `None` before the first fetch. No I/O.
pub(super) fn cached_end<C: ClientContext>(
    client: &Client<C>,
    topic: &CStr,
    partition: i32,
) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as the borrow; both integers outlive the call.
    let error = unsafe {
        native::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    let known = error == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0;
    known.then_some(high)
}

/// Whether the coordinator knows this client as a member of its group.
pub(super) fn is_member<C: ClientContext>(client: &Client<C>) -> bool {
    // SAFETY: the client lives as long as the borrow; the answer is ours, a C string or null, and
    // is freed below with librdkafka's own allocator.
    unsafe {
        let id = native::rd_kafka_memberid(client.native_ptr());
        if id.is_null() {
            return false;
        }
        let member = *id != 0;
        native::rd_kafka_mem_free(client.native_ptr(), id.cast());
        member
    }
}

/// The headers of a message. rdkafka's own iterator panics on a name that is not UTF-8, and a
/// foreign writer may have put one there: such bytes become replacement characters here.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let mut list = ptr::null_mut();
    // SAFETY: the message outlives the call; the list belongs to the message and is only read.
    let error = unsafe { native::rd_kafka_message_headers(message.ptr(), &raw mut list) };
    if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list is valid as long as the message, see above.
    let count = unsafe { native::rd_kafka_header_cnt(list) };
    let mut headers = Vec::with_capacity(count);
    for index in 0..count {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: index is below the count; the three places outlive the call.
        let error = unsafe {
            native::rd_kafka_header_get_all(
                list,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            )
        };
        if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            break;
        }
        // SAFETY: librdkafka ends a header's name with a zero byte.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let value = match value.is_null() || length == 0 {
            true => Bytes::new(),
            // SAFETY: value points to `length` bytes that live as long as the message; copied here.
            false => Bytes::copy_from_slice(unsafe {
                std::slice::from_raw_parts(value.cast::<u8>(), length)
            }),
        };
        headers.push((name, value));
    }
    headers
}

/// A topic's name as librdkafka takes it.
pub(super) fn topic_name(name: &str) -> CString {
    CString::new(name).expect("a topic that was assigned has no zero byte in its name")
}

/// Makes a producer fail for good, as a broken sequence of batches would.
#[cfg(any(test, feature = "world"))]
pub(super) fn fail<C: ClientContext>(client: &Client<C>) {
    let error = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client lives as long as the borrow, the text for ever.
    unsafe { native::rd_kafka_test_fatal_error(client.native_ptr(), error, c"a test".as_ptr()) };
}
