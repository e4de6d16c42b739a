//! One librdkafka producer: records in, reports out, nothing allocated here on either way.
//!
//! rdkafka's own producer allocates a C string and a box per record and two blocks per poll, and
//! hands out reports one callback at a time. Here a record names its topic by a cached handle and
//! carries one word, and a poll hands out a whole event. What librdkafka itself allocates per record
//! is unavoidable through its interface: one block for the message with a copy of key and value,
//! and, for a record with headers, one for the list, one for its index and one per header.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaType;

use super::{Persistence, message_persistence, topic_name};
use crate::log::NewRecord;
use crate::position::Class;

/// A poll's time-out goes into librdkafka in whole milliseconds.
const POLL_MS_MAX: u128 = 1_000;

/// What librdkafka says became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::kafka) struct Report {
    /// The word that was given with the record.
    pub opaque: usize,
    /// Why it was not acknowledged.
    pub error: Option<Code>,
    /// Whether it may be in the log.
    pub persistence: Persistence,
    /// Where it stands; negative where librdkafka cannot say.
    pub offset: i64,
    /// Which broker answered; negative where none did.
    pub broker: i32,
}

/// A producer with a handle for each class's topic.
pub(in crate::log::kafka) struct Writer<C: ClientContext> {
    client: Client<C>,
    queue: *mut native::rd_kafka_queue_t,
    topics: [*mut native::rd_kafka_topic_t; Class::ALL.len()],
}

// SAFETY: librdkafka's client, queue and topic handles may be used from any thread at once (its
// INTRODUCTION.md, "Threads and callbacks"); the fields are not changed between `new` and `drop`.
unsafe impl<C: ClientContext> Send for Writer<C> {}
// SAFETY: as above.
unsafe impl<C: ClientContext> Sync for Writer<C> {}

impl<C: ClientContext> Writer<C> {
    /// Starts librdkafka's threads; connects in the background. `topics` by `Class::index`.
    pub fn new(
        config: &ClientConfig,
        context: C,
        topics: &[String; Class::ALL.len()],
    ) -> Result<Self, KafkaError> {
        let native_config = config.create_native_config()?;
        let events = native::RD_KAFKA_EVENT_DR | native::RD_KAFKA_EVENT_ERROR;
        // SAFETY: the configuration is ours until the client takes it.
        unsafe { native::rd_kafka_conf_set_events(native_config.ptr(), events) };
        let client = Client::new(config, native_config, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        // SAFETY: the client is alive; the handle is a reference of ours, given back in `drop`.
        let queue = unsafe { native::rd_kafka_queue_get_main(client.native_ptr()) };
        // From here on `drop` gives back what is there.
        let mut writer = Self { client, queue, topics: [ptr::null_mut(); Class::ALL.len()] };
        for (handle, name) in writer.topics.iter_mut().zip(topics) {
            let name = topic_name(name);
            // SAFETY: the client is alive and the name outlives the call; no configuration of its
            // own means the client's.
            *handle = unsafe {
                native::rd_kafka_topic_new(
                    writer.client.native_ptr(),
                    name.as_ptr(),
                    ptr::null_mut(),
                )
            };
            if handle.is_null() {
                let reason = "a topic's handle was refused".to_owned();
                return Err(KafkaError::ClientCreation(reason));
            }
        }
        Ok(writer)
    }

    /// The client, for what rdkafka has a safe form of.
    pub const fn client(&self) -> &Client<C> {
        &self.client
    }

    /// Queues a record, or says why not. What was queued is reported once, with `opaque`; what was
    /// not is never reported.
    pub fn produce(&self, record: &NewRecord<'_>, opaque: usize) -> Result<(), Code> {
        let headers = Headers::of(record.headers);
        // SAFETY: each pair is of the type that librdkafka documents for its tag, and the list ends
        // with END; client and topic are alive; key and value are copied before the call returns
        // (F_COPY; a key always is), so the borrows outlive their use. The headers are librdkafka's
        // once it has taken the record, and stay ours otherwise.
        let error = unsafe {
            native::rd_kafka_producev(
                self.client.native_ptr(),
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT),
                self.topics[record.id.class.index()],
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION),
                record.id.partition.as_i32(),
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS),
                native::RD_KAFKA_MSG_F_COPY as c_int,
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE),
                record.value.as_ptr(),
                record.value.len(),
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY),
                record.key.as_ptr(),
                record.key.len(),
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE),
                opaque,
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP),
                record.timestamp.0,
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS),
                headers.0,
                tag(native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END),
            )
        };
        if error.is_error() {
            return Err(error.into());
        }
        std::mem::forget(headers);
        Ok(())
    }

    /// Waits at most `wait` for an event, and hands out the reports of that one event. Log lines and
    /// errors go to the client's context. False where nothing came.
    pub fn poll(&self, wait: Duration, sink: &mut impl FnMut(Report)) -> bool {
        let wait_ms = wait.as_millis().min(POLL_MS_MAX) as c_int;
        // SAFETY: the queue is alive; the event is ours until destroyed below.
        let event = unsafe { native::rd_kafka_queue_poll(self.queue, wait_ms) };
        if event.is_null() {
            return false;
        }
        let event = Event(event);
        // SAFETY: the event is not null.
        match unsafe { native::rd_kafka_event_type(event.0) } {
            native::RD_KAFKA_EVENT_DR => event.reports(sink),
            native::RD_KAFKA_EVENT_LOG => self.log(&event),
            native::RD_KAFKA_EVENT_ERROR => self.error(&event),
            _ => {}
        }
        true
    }

    fn log(&self, event: &Event) {
        let (mut fac, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive and the three places outlive the call.
        let failed = unsafe {
            native::rd_kafka_event_log(event.0, &raw mut fac, &raw mut line, &raw mut level)
        };
        if failed == 0 {
            // SAFETY: both are C strings that live as long as the event.
            let (fac, line) = unsafe { (text(fac), text(line)) };
            self.client.context().log(log_level(level), fac.trim(), line.trim());
        }
    }

    fn error(&self, event: &Event) {
        // SAFETY: the event is alive, and its text lives as long as it.
        let (error, reason) = unsafe {
            let reason = text(native::rd_kafka_event_error_string(event.0));
            (native::rd_kafka_event_error(event.0), reason)
        };
        self.client.context().error(KafkaError::Global(error.into()), reason.trim());
    }

    /// Fails everything that is queued and under way; it is reported by the next polls.
    pub fn purge(&self) {
        let flags = native::RD_KAFKA_PURGE_F_QUEUE | native::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive. The flags are known, so the call cannot fail.
        unsafe { native::rd_kafka_purge(self.client.native_ptr(), flags as c_int) };
    }
}

impl<C: ClientContext> Drop for Writer<C> {
    fn drop(&mut self) {
        // SAFETY: each handle is a reference of ours that nobody uses after this; the client, which
        // they belong to, is destroyed after this body.
        unsafe {
            for topic in self.topics.into_iter().filter(|topic| !topic.is_null()) {
                native::rd_kafka_topic_destroy(topic);
            }
            native::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// An event of ours; not null.
struct Event(*mut native::rd_kafka_event_t);

impl Event {
    fn reports(&self, sink: &mut impl FnMut(Report)) {
        loop {
            // SAFETY: the event is alive; the message belongs to it and lives until it is destroyed.
            let message = unsafe { native::rd_kafka_event_message_next(self.0) };
            if message.is_null() {
                return;
            }
            // SAFETY: as above, and nothing writes to the message any more.
            let report = unsafe {
                Report {
                    opaque: (*message)._private as usize,
                    error: (*message).err.is_error().then(|| (*message).err.into()),
                    persistence: message_persistence(message),
                    offset: (*message).offset,
                    broker: native::rd_kafka_message_broker_id(message),
                }
            };
            sink(report);
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and its messages are not used any more.
        unsafe { native::rd_kafka_event_destroy(self.0) };
    }
}

/// A header list; null where there are none. Ours until a record has taken it.
struct Headers(*mut native::rd_kafka_headers_t);

impl Headers {
    fn of(headers: &[(&str, &[u8])]) -> Self {
        if headers.is_empty() {
            return Self(ptr::null_mut());
        }
        // SAFETY: a list of ours; names and values are copied into it with their lengths, which fit,
        // since slices are no longer than isize::MAX.
        unsafe {
            let list = native::rd_kafka_headers_new(headers.len());
            for (name, value) in headers {
                native::rd_kafka_header_add(
                    list,
                    name.as_ptr().cast::<c_char>(),
                    name.len() as isize,
                    value.as_ptr().cast(),
                    value.len() as isize,
                );
            }
            Self(list)
        }
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the list is ours: no record has taken it.
            unsafe { native::rd_kafka_headers_destroy(self.0) };
        }
    }
}

/// A syslog level; what syslog does not have counts as the nearest.
const fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        ..=0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}

/// A tag as a variadic argument.
const fn tag(vtype: native::rd_kafka_vtype_t) -> c_uint {
    vtype as c_uint
}

/// SAFETY: `chars` is null or a C string that outlives the result.
unsafe fn text<'a>(chars: *const c_char) -> std::borrow::Cow<'a, str> {
    if chars.is_null() {
        return "".into();
    }
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(chars) }.to_string_lossy()
}
