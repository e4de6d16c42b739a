//! `format` as an assertion: the usual texts are recognised here, every other text is the library's.
//!
//! A recogniser accepts less than its RFC does, never more, and refuses nothing itself: an unusual
//! but valid address costs a look at the library, not an event.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::program::Verdict;

/// A format that has a recogniser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Date,
    Time,
    DateTime,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Uri,
    UriReference,
    UriTemplate,
}

/// What draft-07 asserts. A name that stands nowhere here is an annotation in that draft.
pub(crate) const ASSERTED: [(&str, Option<Format>); 17] = [
    ("date", Some(Format::Date)),
    ("time", Some(Format::Time)),
    ("date-time", Some(Format::DateTime)),
    ("email", Some(Format::Email)),
    ("hostname", Some(Format::Hostname)),
    ("ipv4", Some(Format::Ipv4)),
    ("ipv6", Some(Format::Ipv6)),
    ("uri", Some(Format::Uri)),
    ("uri-reference", Some(Format::UriReference)),
    ("uri-template", Some(Format::UriTemplate)),
    ("idn-email", None),
    ("idn-hostname", None),
    ("iri", Some(Format::Uri)),
    ("iri-reference", Some(Format::UriReference)),
    ("json-pointer", None),
    ("relative-json-pointer", None),
    ("regex", None),
];

impl Format {
    /// Valid where the text is recognised, unknown otherwise.
    pub fn check(self, text: &str) -> Verdict {
        let bytes = text.as_bytes();
        let recognised = match self {
            Self::Date => date(bytes),
            Self::Time => time(bytes),
            Self::DateTime => {
                bytes.len() > 11 && bytes[10] == b'T' && date(&bytes[..10]) && time(&bytes[11..])
            }
            Self::Email => text.split_once('@').is_some_and(|(local, domain)| {
                local.len() <= 64
                    && atoms(local.as_bytes())
                    && domain.contains('.')
                    && hostname(domain.as_bytes())
            }),
            Self::Hostname => hostname(bytes),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Uri => uri(bytes),
            Self::UriReference => {
                uri(bytes)
                    || bytes.first() == Some(&b'/')
                        && bytes.get(1) != Some(&b'/')
                        && path_and_rest(bytes)
            }
            Self::UriTemplate => uri_template(bytes),
        };
        if recognised { Verdict::Valid } else { Verdict::Unknown }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

fn date(bytes: &[u8]) -> bool {
    let [_, _, _, _, b'-', _, _, b'-', _, _] = bytes else { return false };
    let fields = (number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..]));
    let (Some(year), Some(month), Some(day)) = fields else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// `HH:MM:SS`, a fraction, an offset. Leap seconds are the library's.
fn time(bytes: &[u8]) -> bool {
    let Some(([_, _, b':', _, _, b':', _, _], mut rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let below = |field: &[u8], end| number(field).is_some_and(|number| number < end);
    if !(below(&bytes[..2], 24) && below(&bytes[3..5], 60) && below(&bytes[6..8], 60)) {
        return false;
    }
    if let [b'.', digits @ ..] = rest {
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return false;
        }
        rest = &digits[len..];
    }
    match rest {
        [b'Z'] => true,
        [b'+' | b'-', hours @ .., b':', _, _] => {
            hours.len() == 2 && below(hours, 24) && below(&rest[4..], 60)
        }
        _ => false,
    }
}

/// Letters, digits and a few signs, in parts that dots separate.
fn atoms(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'.').all(|part| {
        !part.is_empty()
            && part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(byte))
    })
}

/// Labels of letters, digits and single hyphens; what could be Punycode is the library's.
fn hostname(bytes: &[u8]) -> bool {
    bytes.len() <= 253
        && bytes.split(|byte| *byte == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.first() != Some(&b'-')
                && label.last() != Some(&b'-')
                && !label.windows(2).any(|pair| pair == b"--")
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        })
}

/// RFC 3986: a scheme, a host with or without a port, path, query, fragment. No user, no literal
/// address.
fn uri(bytes: &[u8]) -> bool {
    let Some(rest) = behind_scheme(bytes) else { return false };
    let Some(rest) = rest.strip_prefix(b"//") else { return path_and_rest(rest) };
    let host = rest.iter().position(|byte| !is(*byte, HOST)).unwrap_or(rest.len());
    let mut rest = &rest[host..];
    if let [b':', port @ ..] = rest {
        let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &port[digits..];
    }
    host > 0 && matches!(rest, [] | [b'/' | b'?' | b'#', ..]) && path_and_rest(rest)
}

/// What follows a scheme and its colon.
fn behind_scheme(bytes: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = bytes.strip_prefix(b"https:") {
        return Some(rest);
    }
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let usual = matches!(&bytes[..colon], [first, more @ ..] if first.is_ascii_alphabetic()
        && more.iter().all(u8::is_ascii_alphanumeric));
    usual.then(|| &bytes[colon + 1..])
}

/// What may stand in a path, a query and a fragment.
const PATH: u8 = 1;
/// What a host's name is made of.
const HOST: u8 = 1 << 1;
/// What a template's variable is made of.
const VARIABLE: u8 = 1 << 2;

/// The classes of each byte.
const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let signs: [(&[u8], u8); 3] =
        [(b"-._~!$&'()*+,;=:@/?", PATH), (b"-._", HOST), (b"_", VARIABLE)];
    let mut class = 0;
    while class < signs.len() {
        let (bytes, bit) = signs[class];
        let mut at = 0;
        while at < bytes.len() {
            table[bytes[at] as usize] |= bit;
            at += 1;
        }
        let mut byte = 0_u8;
        while byte < 128 {
            if byte.is_ascii_alphanumeric() {
                table[byte as usize] |= bit;
            }
            byte += 1;
        }
        class += 1;
    }
    table
};

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// What is left behind the first plain part of a path: most of one, 16 bytes at a time, in a form
/// that compilers make a few vector instructions of. All of these bytes are of class [`PATH`].
#[inline]
fn behind_plain(mut bytes: &[u8]) -> &[u8] {
    let plain = |byte: &u8| {
        byte.wrapping_sub(b'&') <= b';' - b'&'
            || byte.wrapping_sub(b'?') <= b'Z' - b'?'
            || byte.wrapping_sub(b'a') <= b'z' - b'a'
            || *byte == b'_'
            || *byte == b'='
    };
    while let Some((block, rest)) = bytes.split_first_chunk::<16>() {
        if !block.iter().fold(true, |all, byte| all & plain(byte)) {
            break;
        }
        bytes = rest;
    }
    bytes
}

fn path_and_rest(bytes: &[u8]) -> bool {
    let mut fragment = false;
    let mut rest = behind_plain(bytes);
    loop {
        match rest {
            [] => return true,
            [byte, more @ ..] if is(*byte, PATH) => rest = more,
            [b'%', one, other, more @ ..]
                if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() =>
            {
                rest = more;
            }
            [b'#', more @ ..] if !fragment => (fragment, rest) = (true, more),
            _ => return false,
        }
    }
}

/// RFC 6570: text of a URI, and expressions of plain names.
fn uri_template(bytes: &[u8]) -> bool {
    let mut rest = behind_plain(bytes);
    loop {
        match rest {
            [] => return true,
            [byte, more @ ..] if is(*byte, PATH) || *byte == b'#' => rest = more,
            [b'{', more @ ..] => {
                let Some(end) = more.iter().position(|byte| *byte == b'}') else { return false };
                let (expression, after) = (&more[..end], &more[end + 1..]);
                let names = match expression {
                    [b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&', names @ ..] => names,
                    names => names,
                };
                let name = |name: &[u8]| {
                    let name = name.strip_suffix(b"*").unwrap_or(name);
                    !name.is_empty() && name.iter().all(|byte| is(*byte, VARIABLE))
                };
                if !names.split(|byte| *byte == b',').all(name) {
                    return false;
                }
                rest = after;
            }
            _ => return false,
        }
    }
}
