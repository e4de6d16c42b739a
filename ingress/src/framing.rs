//! HTTP/1 framing, strictly (RFC 9112): where a request's head ends, what its body is framed by, and
//! whether two readers of the same bytes could disagree about it.
//!
//! hyper's parser reads what passes here once more. Whatever it refuses by itself (a name that is no
//! token, control bytes in a value, a bare CR) is left to it; here is what it lets through: a missing
//! or second Host, a length beside chunks, a length said twice, a target of another host, control
//! bytes in a chunk's extension. Pure: no I/O, no clock, nothing is kept.

mod chunked;
mod head;
mod target;

pub(crate) use self::chunked::Chunks;
pub(crate) use self::head::{BYTES_MAX, Body, read};
pub(crate) use self::target::authority_is_valid;
