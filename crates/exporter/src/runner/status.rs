//! The Status stream: who holds the exporter.
use futures::StreamExt as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::host::News;
use crate::{Assignment, ControllerLink, backoff::Backoff, link::OPEN};

/// Follows the Status stream for ever and passes on what it says. A lost stream changes nothing by itself.
pub(super) async fn follow_status(link: ControllerLink, events: mpsc::Sender<News>) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        let error = match link.status().await {
            Err(status) => format!("{}: {}", status.code(), status.message()),
            Ok(mut stream) => {
                let mut opened = false;
                loop {
                    let next = if opened { Ok(stream.next().await) } else { timeout(OPEN, stream.next()).await };
                    match next {
                        Ok(Some(Ok(message))) => {
                            // The controller may have been restarted: it is to be told again what we are doing.
                            let again = !opened && !first;
                            (opened, first) = (true, false);
                            backoff.reset();
                            let revision = message.revision.clone();
                            let news = News::Told { wanted: Assignment::told(message), revision, again };
                            if events.send(news).await.is_err() {
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
