//! The emulator's control protocol: one JSON object a line.
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};
use tokio_util::codec::{Framed, LinesCodec};

use crate::DriverError;

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest line: answers that are used have a few hundred bytes.
const MAX_LINE: usize = 1024 * 1024;

/// A connection, past its greeting.
pub(super) struct Qmp(Framed<UnixStream, LinesCodec>);

/// Something that happened in the machine.
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Value,
}

impl Qmp {
    /// Takes the greeting and agrees on no special capabilities.
    pub(super) async fn new(stream: UnixStream) -> Result<Self, DriverError> {
        let mut qmp = Self(Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE)));
        let greeting = timeout(LIMIT, qmp.line()).await.map_err(|_| late("greet"))??;
        if greeting.get("QMP").is_none() {
            return Err(DriverError::Other("the emulator's control socket speaks another protocol".to_owned()));
        }
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Has `command` carried out and returns its answer; events in between are dropped.
    pub(super) async fn execute(&mut self, command: &str) -> Result<Value, DriverError> {
        let work = async {
            let line = json!({ "execute": command }).to_string();
            self.0.send(line).await.map_err(|err| broken(&err.to_string()))?;
            loop {
                let mut answer = self.line().await?;
                if let Some(value) = answer.get_mut("return") {
                    return Ok(value.take());
                }
                if let Some(error) = answer.get("error") {
                    let text = error["desc"].as_str().unwrap_or("no reason given");
                    return Err(DriverError::Other(format!("the emulator refused {command}: {text}")));
                }
            }
        };
        timeout(LIMIT, work).await.unwrap_or_else(|_| Err(late(command)))
    }

    /// The next event; none when the machine is gone.
    ///
    /// # Cancel safety
    /// Cancel safe: half a line stays in the buffer.
    pub(super) async fn event(&mut self) -> Option<Event> {
        loop {
            let mut line = self.line().await.ok()?;
            if let Some(name) = line["event"].as_str() {
                return Some(Event { name: name.to_owned(), data: line["data"].take() });
            }
        }
    }

    async fn line(&mut self) -> Result<Value, DriverError> {
        match self.0.next().await {
            None => Err(broken("it was closed")),
            Some(Err(err)) => Err(broken(&err.to_string())),
            Some(Ok(line)) => serde_json::from_str(&line).map_err(|err| broken(&err.to_string())),
        }
    }
}

fn broken(why: &str) -> DriverError {
    DriverError::Other(format!("the connection to the emulator broke: {why}"))
}

fn late(command: &str) -> DriverError {
    DriverError::Timeout(format!("the emulator did not answer {command} within {} s", LIMIT.as_secs()))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
        task::JoinSet,
    };

    use super::*;

    /// An emulator that says its lines, one for each command after the first.
    async fn against(lines: &'static [&'static str]) -> Result<(Qmp, JoinSet<()>), DriverError> {
        let (mine, theirs) = UnixStream::pair().unwrap();
        let mut peer = JoinSet::new();
        peer.spawn(async move {
            let mut io = BufReader::new(theirs);
            for (n, line) in lines.iter().enumerate() {
                if n > 0 {
                    let mut command = String::new();
                    io.read_line(&mut command).await.unwrap();
                }
                io.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            }
        });
        Qmp::new(mine).await.map(|qmp| (qmp, peer))
    }

    #[tokio::test]
    async fn answers_are_told_from_events_and_errors() {
        let greeting = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
        let lines: &'static [&'static str] = Box::leak(Box::new([
            greeting,
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\"}\n{\"return\": [1]}",
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#,
            r#"{"event": "SHUTDOWN", "data": {"guest": true}}"#,
        ]));
        let (mut qmp, mut peer) = against(lines).await.unwrap();
        assert_eq!(qmp.execute("query").await.unwrap(), json!([1]));
        assert!(qmp.execute("other").await.unwrap_err().to_string().contains("no such thing"));
        assert!(qmp.execute("last").await.unwrap_err().to_string().contains("it was closed"));
        peer.join_next().await.unwrap().unwrap();
        assert!(against(&["{}"]).await.is_err());
        assert!(against(&["this is no JSON"]).await.is_err());
    }
}
