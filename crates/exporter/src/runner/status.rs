//! The Status stream: who holds the exporter.
use futures::StreamExt as _;
use jumpstarter_protocol::v1::StatusResponse;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{host::News, reports::Report};
use crate::{Assignment, ControllerLink, Event, backoff::Backoff, link::OPEN};

/// Follows the Status stream for ever and passes on what it says. A lost stream changes nothing by itself.
pub(super) async fn follow_status(link: ControllerLink, events: mpsc::Sender<News>, report: watch::Sender<Report>) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        let error = match link.status().await {
            Err(status) => format!("{}: {}", status.code(), status.message()),
            Ok(mut stream) => {
                if !first {
                    // The controller may have been restarted: tell it again what we are doing.
                    report.send_modify(|_| ());
                }
                first = false;
                let mut opened = false;
                loop {
                    let next = if opened { Ok(stream.next().await) } else { timeout(OPEN, stream.next()).await };
                    match next {
                        Ok(Some(Ok(message))) => {
                            opened = true;
                            backoff.reset();
                            let event = Event::Assigned(assignment(message));
                            if events.send(News::Event(event)).await.is_err() {
                                return;
                            }
                        }
                        Ok(Some(Err(status))) => {
                            break format!("{}: {}", status.code(), status.message());
                        }
                        Ok(None) => break "the controller ended it".to_owned(),
                        Err(_) => break "no first message".to_owned(),
                    }
                }
            }
        };
        let pause = backoff.next();
        tracing::warn!(%error, ?pause, "the Status stream ended; opening it again");
        sleep(pause).await;
    }
}

fn assignment(message: StatusResponse) -> Option<Assignment> {
    let StatusResponse { leased, lease_name, client_name, context: _ } = message;
    let lease = lease_name.filter(|name| leased && !name.is_empty())?;
    Some(Assignment { lease, client: client_name.unwrap_or_default() })
}
