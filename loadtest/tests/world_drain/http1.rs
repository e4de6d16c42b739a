//! HTTP/1.1, one request at a time.

use std::io::ErrorKind;

use anyhow::{Context, bail, ensure};
use loadtest::deployment::producers;
use loadtest::load::event;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{Accepted, End};

pub async fn post_until_closed(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    accepted: &Accepted,
) -> anyhow::Result<End> {
    let producer = &producers()[connection % producers().len()];
    for number in 0.. {
        let id = format!("drain-{connection}-{number}");
        let (body, _) = event(&producer.tenant, &id);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            producer.key,
            body.len()
        );
        match stream.write_all(&[head.as_bytes(), &body].concat()).await {
            // The server had closed, cleanly, before this request left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(End::Unread),
            written => written.context("write")?,
        }
        stream.flush().await.context("flush")?;
        let Some(answer) = read_answer(&mut stream).await? else { return Ok(End::Unread) };
        ensure!(answer.starts_with("http/1.1 202 "), "{answer}");
        accepted.note(id);
        if answer.contains("connection: close") {
            // Under TLS this is an error where the end was not said there too.
            let rest = stream.read(&mut [0]).await.context("the connection's end")?;
            ensure!(rest == 0, "bytes behind the last answer");
            return Ok(End::Announced);
        }
    }
    bail!("the numbers ended")
}

/// The head of a whole answer in lower case; nothing where the connection was closed instead.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Option<String>> {
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await.context("read")? == 0 {
            ensure!(received.is_empty(), "half an answer: {}", received.escape_ascii());
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&received).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() >= length.context("a length")?.trim().parse::<usize>()? {
            return Ok(Some(head.to_owned()));
        }
    }
}
