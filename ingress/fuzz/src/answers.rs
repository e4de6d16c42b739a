//! The answers of a connection, read back to back.

/// Fields of an answer's head.
const FIELDS_MAX: usize = 64;

/// One final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; of a HEAD's answer nothing.
    pub body: Vec<u8>,
}

/// All whole final answers to requests of which these are HEADs; interim ones (1xx) are no answers.
/// Bytes that are none are a fault.
pub fn answers(mut bytes: &[u8], heads: &[bool]) -> Vec<Answer> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(bytes).expect("the server speaks HTTP/1") {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => break,
        };
        let status = head.code.expect("a parsed head has a status");
        let announced = head.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
        let announced = announced.and_then(|field| std::str::from_utf8(field.value).ok());
        // A HEAD's answer announces a body that does not come.
        let has_body = status >= 200 && heads.get(all.len()) != Some(&true);
        let announced = announced.filter(|_| has_body).and_then(|text| text.parse().ok());
        let rest = &bytes[length..];
        let Some((body, rest)) = rest.split_at_checked(announced.unwrap_or(0)) else { break };
        if status >= 200 {
            all.push(Answer { status, body: body.to_vec() });
        }
        bytes = rest;
    }
    all
}

impl Answer {
    /// The problem's `code`; empty where it is none.
    pub fn code(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["code"].as_str().unwrap_or_default().to_owned()
    }
}
