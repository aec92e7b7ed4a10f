//! From a lease to a byte stream that ends at its exporter.
use std::time::Duration;

use jumpstarter_protocol::v1::{DialRequest, DialResponse};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::{Client, ClientError, Line};

/// Limit of one Dial; the service answers within 15 s.
const CALL: Duration = Duration::from_secs(20);
/// First pause after an exporter that is not ready; doubles up to [`CAP`].
const FIRST: Duration = Duration::from_millis(300);
const CAP: Duration = Duration::from_secs(2);

/// What an answer to Dial means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Retry,
    Transferred,
    GiveUp,
}

/// The exact rules are those of existing clients; services are written against them.
fn judge(status: &Status) -> Verdict {
    let text = status.message().to_lowercase();
    match status.code() {
        Code::FailedPrecondition if text.contains("not ready") => Verdict::Retry,
        Code::Unavailable => Verdict::Retry,
        _ if text.contains("permission denied") => Verdict::Transferred,
        // The deadline of this side, not an answer.
        Code::DeadlineExceeded | Code::Cancelled => Verdict::Retry,
        _ => Verdict::GiveUp,
    }
}

impl Client {
    /// Asks for a router and a ticket, waiting while the exporter is not ready yet.
    async fn dial(&self, lease: &str, accept_direct: bool) -> Result<DialResponse, ClientError> {
        let started = Instant::now();
        let mut pause = FIRST;
        loop {
            let request = DialRequest { lease_name: lease.to_owned(), accept_direct };
            let answer = match timeout(CALL, self.controller().dial(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("the controller did not answer Dial in time")),
            };
            let status = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let late = started.elapsed() + pause > self.inner.dial_timeout;
            match judge(&status) {
                Verdict::Retry if !late => {
                    tracing::debug!(%lease, %status, ?pause, "dial again");
                    sleep(pause).await;
                    pause = (pause * 2).min(CAP);
                }
                Verdict::Transferred => return Err(ClientError::Transferred),
                Verdict::Retry | Verdict::GiveUp => {
                    return Err(ClientError::Unreachable { lease: lease.to_owned(), status: Box::new(status) });
                }
            }
        }
    }

    /// Opens one byte stream to the exporter of `lease`: by a Dial of its own, straight to the exporter where that works,
    /// else through a router.
    pub async fn line(&self, lease: &str) -> Result<Line, ClientError> {
        let limit = self.inner.around.limit(lease);
        let DialResponse { router_endpoint, router_token, direct } = self.dial(lease, limit.is_some()).await?;
        if let (Some(path), Some(limit)) = (direct, limit)
            && let Some(line) = self.inner.around.go(lease, &path, limit).await
        {
            tracing::debug!(lease, way = %line.way(), "connected to the exporter");
            return Ok(line);
        }
        let channel = self.inner.connector.connect(&router_endpoint).await;
        let channel = channel.map_err(|source| ClientError::Connect { endpoint: router_endpoint.clone(), source })?;
        let tunnel = jumpstarter_tunnel::open(channel, &router_token)
            .map_err(|status| ClientError::Protocol("the controller", status.message().to_owned()))?;
        Ok(Line::routed(tunnel, router_endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_answers_mean_what_services_expect() {
        for (status, verdict) in [
            (Status::failed_precondition("exporter is not ready"), Verdict::Retry),
            (Status::failed_precondition("lease not active"), Verdict::GiveUp),
            (Status::unavailable("nobody listens"), Verdict::Retry),
            (Status::unknown("Permission denied: not the owner"), Verdict::Transferred),
            (Status::permission_denied("permission denied"), Verdict::Transferred),
            (Status::not_found("no such lease"), Verdict::GiveUp),
        ] {
            assert_eq!(judge(&status), verdict, "{status}");
        }
    }
}
