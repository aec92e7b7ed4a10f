//! One upstream watch: lines of JSON, until it ends or falls silent.

use std::{io, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use jumpstarter_store::{Event, Kind, Object};
use kube::{api::WatchParams, core::Status};
use rand::Rng as _;
use serde_json::Value;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use crate::{
    api::Api,
    decode::{self, Undecodable},
    error::{Failure, chain},
};

/// Longest line: more than the largest object that an API server stores, with what JSON adds.
const LONGEST_LINE: usize = 16 << 20;

/// Something that upstream told.
#[derive(Debug)]
pub(super) enum Told {
    /// A change, and the size of its line.
    Event(Event, usize),
    /// A change of something that is no object.
    Undecodable(Undecodable),
    /// Nothing else has happened up to this version.
    Progress(u64),
    /// The version that was asked for is no longer known.
    Gone,
    /// The watch has ended as it was to.
    End,
}

type Bodies = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

pub(super) struct Feed {
    kind: Kind,
    lines: FramedRead<StreamReader<Bodies, Bytes>, LinesCodec>,
}

impl Feed {
    /// Opens a watch after `from`, which the server is to end after about `lasting`.
    pub(super) async fn open(api: &Api, kind: Kind, from: u64, lasting: Duration) -> Result<Self, Failure> {
        let seconds = u32::try_from(lasting.as_secs()).unwrap_or(u32::MAX).clamp(1, 294);
        // Not all kinds of all replicas at the same moment.
        let timeout = rand::rng().random_range(seconds.div_ceil(2)..=seconds);
        let params = WatchParams { timeout: Some(timeout), bookmarks: true, ..WatchParams::default() };
        let mut request =
            api.path(kind).watch(&params, &from.to_string()).map_err(|error| Failure::Garbled(error.to_string()))?;
        request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let response = api.stream(&api.call("watch", kind), request).await?;
        let body: Bodies = Box::pin(response.into_body().into_data_stream().map_err(io::Error::other));
        let codec = LinesCodec::new_with_max_length(LONGEST_LINE);
        Ok(Self { kind, lines: FramedRead::new(StreamReader::new(body), codec) })
    }

    /// What comes next.
    ///
    /// # Cancel safety
    /// Cancel safe: a line that has not come whole stays in the buffer.
    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        match self.lines.next().await {
            None => Ok(Told::End),
            Some(Ok(line)) => parse(self.kind, &line),
            Some(Err(error)) => Err(Failure::Lost(chain(&error))),
        }
    }
}

fn parse(kind: Kind, line: &str) -> Result<Told, Failure> {
    // Half a line at the end of a connection that was cut is no object either.
    let mut value: Value =
        serde_json::from_str(line).map_err(|error| Failure::Lost(format!("half a line: {error}")))?;
    let what = value["type"].as_str().unwrap_or_default().to_owned();
    let object = value["object"].take();
    let event: fn(Object) -> Event = match what.as_str() {
        "ADDED" => Event::Added,
        "MODIFIED" => Event::Modified,
        "DELETED" => Event::Deleted,
        "BOOKMARK" => {
            let version = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
            return version.map(Told::Progress).ok_or_else(|| Failure::Garbled("a bookmark has no version".into()));
        }
        "ERROR" => {
            let status: Status = serde_json::from_value(object).unwrap_or_default();
            if status.code == 410 {
                return Ok(Told::Gone);
            }
            return Err(Failure::Refused { status: status.boxed(), retry_after: None });
        }
        other => return Err(Failure::Garbled(format!("a watch event has the type `{other}`"))),
    };
    Ok(match decode::object(kind, object) {
        Ok(object) => Told::Event(event(object), line.len()),
        Err(found) => Told::Undecodable(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        match parse(Kind::Secret, line) {
            Ok(Told::Event(event, bytes)) => format!("{} {bytes}", event.object().key()),
            Ok(Told::Undecodable(found)) => format!("undecodable {:?}", found.version),
            Ok(other) => format!("{other:?}"),
            Err(failure) => failure.outcome().to_owned(),
        }
    }

    #[test]
    fn lines_are_what_upstream_tells() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"5"}}}"#;
        assert_eq!(told(line), format!("Secret n/a {}", line.len()));
        let bad = line.replace(r#""name":"a""#, r#""name":"a","labels":{"x":1}"#);
        assert_eq!(told(&bad), "undecodable Some(ResourceVersion(5))");
        assert_eq!(told(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#), "Progress(7)");
        assert_eq!(told(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#), "Gone");
        assert_eq!(told(r#"{"type":"ERROR","object":{"kind":"Status","code":500}}"#), "server_error");
        assert_eq!(told(r#"{"type":"ADDED","object":{"metad"#), "lost");
        assert_eq!(told(r#"{"type":"NEWS","object":{}}"#), "garbled");
    }
}
