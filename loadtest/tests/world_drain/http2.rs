//! HTTP/2, several streams at a time.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use loadtest::deployment::producers;
use loadtest::load::event;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Accepted, End};

/// Streams of a connection that are under way at once.
const STREAMS: usize = 4;

pub async fn post_until_closed(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: usize,
    accepted: &Accepted,
) -> anyhow::Result<End> {
    let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let ended = join_all(
        (0..STREAMS).map(|number| post_until_refused(sender.clone(), connection, number, accepted)),
    )
    .await;
    drop(sender);
    ended.into_iter().collect::<anyhow::Result<()>>()?;
    // A GOAWAY without an error, every stream up to it answered, and then the end of the bytes.
    driver.await?.context("the connection's end")?;
    Ok(End::Announced)
}

/// Until the connection takes no more: a request that was not taken is told so, and may be sent again
/// elsewhere (RFC 9113, section 8.7).
async fn post_until_refused(
    mut sender: SendRequest<Full<Bytes>>,
    connection: usize,
    stream: usize,
    accepted: &Accepted,
) -> anyhow::Result<()> {
    let producer = &producers()[connection % producers().len()];
    for number in 0.. {
        if sender.ready().await.is_err() {
            return Ok(());
        }
        let id = format!("drain-{connection}-{stream}-{number}");
        let (body, _) = event(&producer.tenant, &id);
        let request = Request::post("https://localhost/v1/events")
            .header("authorization", format!("Bearer {}", producer.key))
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(error) if is_not_taken(&error) => return Ok(()),
            Err(error) => return Err(error).context("a stream"),
        };
        ensure!(answer.status() == 202, "{}", answer.status());
        answer.into_body().collect().await.context("an answer's body")?;
        accepted.note(id);
    }
    bail!("the numbers ended")
}

/// Never sent, or above the last stream of a GOAWAY without an error.
fn is_not_taken(error: &hyper::Error) -> bool {
    let text = format!("{error:?}");
    error.is_canceled() || error.is_closed() || text.contains("GoAway(b\"\", NO_ERROR, Remote)")
}
