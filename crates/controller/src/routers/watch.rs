//! One watch for each router: it tells when the router comes, drains and goes, and how much it has to do.
//!
//! Any certificate with the right name is taken. What is learnt is no secret, what is shown opens nothing but the same
//! question for two minutes, and whoever can stand in the router's place can stop its traffic anyway; to ask for more
//! would need the CA of every router here.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use jumpstarter_auth::TicketIssuer;
use jumpstarter_protocol::router::v1::{
    RouterStatus, WatchRequest, router_status::State, router_status_service_client::RouterStatusServiceClient,
};
use jumpstarter_store::Clock;
use jumpstarter_transport::{ChannelOptions, ChannelTls, connect};
use rand::Rng as _;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{RouterReport, Routers};
use crate::config::Live;

/// Time for the look-up, TCP and TLS, and again for the first answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Routers report every two seconds; three that are missing are a sign of trouble.
const SILENCE: Duration = Duration::from_secs(7);
/// Pause after a watch broke off, in which a router that merely restarts its connection is not yet taken for dead.
const AT_ONCE: Duration = Duration::from_millis(100);
/// First and longest pause between attempts to reach a router that does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Pause between looks at a router that has no numbers to report.
const LOOK: Duration = Duration::from_secs(5);
/// Pause between looks at the address of a draining router, where another process may take over.
const SUCCESSOR: Duration = Duration::from_secs(1);

/// Keeps watches for the routers of the settings, whichever those are, until `stop` fires.
pub(crate) async fn follow(
    routers: Routers,
    live: Live,
    tickets: Arc<TicketIssuer>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut changes = live.subscribe();
    let mut tasks = JoinSet::new();
    let mut watched: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let wanted: BTreeSet<String> = {
            let settings = changes.borrow_and_update();
            let probed = settings.routers.iter().filter(|router| router.probe && !routers.is_local(&router.endpoint));
            probed.map(|router| router.endpoint.clone()).collect()
        };
        watched.retain(|endpoint, task| {
            let stays = wanted.contains(endpoint);
            if !stays {
                task.abort();
                routers.forget(endpoint);
            }
            stays
        });
        for endpoint in wanted {
            let Entry::Vacant(place) = watched.entry(endpoint) else { continue };
            routers.begin(place.key());
            let watch = Watch {
                routers: routers.clone(),
                endpoint: place.key().clone(),
                tickets: Arc::clone(&tickets),
                clock: clock.clone(),
            };
            place.insert(tasks.spawn(watch.run()));
        }
        tokio::select! {
            biased;
            // All are cancel safe. Watches end only when they are told to.
            () = stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
}

/// How an attempt ended.
#[derive(Debug)]
enum Ended {
    /// The router drains.
    Draining,
    /// The router answers, and has no watch.
    Answered,
    /// No answer, or none any more. In words for people.
    Failed { reason: String, was_there: bool },
}

struct Watch {
    routers: Routers,
    endpoint: String,
    tickets: Arc<TicketIssuer>,
    clock: Clock,
}

impl Watch {
    async fn run(self) {
        let mut retry = RETRY.0;
        loop {
            let ended = self.once().await;
            let pause = match ended {
                Ended::Draining => {
                    retry = RETRY.0;
                    SUCCESSOR
                }
                Ended::Answered => {
                    retry = RETRY.0;
                    LOOK
                }
                Ended::Failed { reason, was_there } => {
                    self.routers.failed(&self.endpoint, &reason);
                    if was_there {
                        retry = RETRY.0;
                        AT_ONCE
                    } else {
                        let pause = retry;
                        retry = (retry * 2).min(RETRY.1);
                        pause
                    }
                }
            };
            sleep(varied(pause)).await;
        }
    }

    /// One connection, for as long as it tells something.
    async fn once(&self) -> Ended {
        let failed = |reason: String| Ended::Failed { reason, was_there: false };
        let tls = ChannelTls { insecure: true, ..ChannelTls::default() };
        // Silence is noticed by its absence of reports.
        let options = ChannelOptions { connect_timeout: ANSWER, keepalive_interval: None, ..ChannelOptions::default() };
        let channel = match connect::connect(&self.endpoint, &tls, &options).await {
            Ok(channel) => channel,
            Err(error) => return failed(error.to_string()),
        };
        match timeout(ANSWER, self.call(&channel)).await {
            Ok(Ok(reports)) => self.listen(reports).await,
            Ok(Err(status)) => match status.code() {
                Code::Unimplemented => self.look(&channel).await,
                // Others watch it already: it is there.
                Code::ResourceExhausted => {
                    self.routers.answered(&self.endpoint, true);
                    Ended::Answered
                }
                _ => failed(said(&status)),
            },
            Err(_) => failed(format!("no answer within {ANSWER:?}")),
        }
    }

    async fn call(&self, channel: &Channel) -> Result<tonic::Streaming<RouterStatus>, Status> {
        let unsigned = |_| Status::internal("the token for watching routers could not be signed");
        let token = self.tickets.issue_status_token(self.clock.now()).map_err(unsigned)?;
        let mut request = Request::new(WatchRequest {});
        let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("the token is no metadata"))?;
        request.metadata_mut().insert("authorization", value);
        RouterStatusServiceClient::new(channel.clone()).watch(request).await.map(tonic::Response::into_inner)
    }

    /// Passes reports on until the router drains or falls silent.
    async fn listen(&self, mut reports: tonic::Streaming<RouterStatus>) -> Ended {
        let mut was_there = false;
        loop {
            let reason = match timeout(SILENCE, reports.message()).await {
                Ok(Ok(Some(status))) => {
                    was_there = true;
                    let report = report(&status);
                    self.routers.reported(&self.endpoint, report);
                    if report.draining {
                        return Ended::Draining;
                    }
                    continue;
                }
                Ok(Ok(None)) => "the router ended the watch".to_owned(),
                Ok(Err(status)) => said(&status),
                Err(_) => format!("the router was silent for {SILENCE:?}"),
            };
            return Ended::Failed { reason, was_there };
        }
    }

    /// Asks a router without a watch whether it serves. Any answer to a call shows that one is there.
    async fn look(&self, channel: &Channel) -> Ended {
        let mut health = HealthClient::new(channel.clone());
        let asked = timeout(ANSWER, health.check(HealthCheckRequest::default())).await;
        let reason = match asked {
            Ok(Ok(answer)) => {
                let serving = answer.into_inner().status() != ServingStatus::NotServing;
                self.routers.answered(&self.endpoint, serving);
                return Ended::Answered;
            }
            Ok(Err(status)) => match status.code() {
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => said(&status),
                _ => {
                    self.routers.answered(&self.endpoint, true);
                    return Ended::Answered;
                }
            },
            Err(_) => format!("no answer within {ANSWER:?}"),
        };
        Ended::Failed { reason, was_there: false }
    }
}

fn report(status: &RouterStatus) -> RouterReport {
    RouterReport {
        draining: status.state() == State::Draining,
        open: status.open_streams,
        waiting: status.waiting_streams,
        max_streams: status.max_streams,
        max_waiting: status.max_waiting_streams,
        total_bytes: status.total_bytes,
    }
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// A quarter more or less, so that a hundred watches do not knock together.
fn varied(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.75..1.25))
}
