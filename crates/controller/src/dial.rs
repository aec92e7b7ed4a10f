//! Dial: a client asks for a stream to the exporter of its lease (protocol.md §5.2).

use std::{sync::Arc, time::Duration};

use jumpstarter_auth::{Side, TicketIssuer};
use jumpstarter_model::{Client, Lease};
use jumpstarter_protocol::v1;
use jumpstarter_transport::{
    Endpoint,
    direct::{Digest, Ticket},
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    config::ControllerConfig,
    lease_calls::check_owner,
    metrics::Metrics,
    presence::Presence,
    rendezvous::{Offer, Rendezvous},
    routers::Routers,
    runtime::Refusal,
    status,
    world::World,
};

/// Life of the client's ticket: it opens its half at once.
const CLIENT_TICKET: Duration = Duration::from_mins(5);
/// Added to the longest hook for the exporter's ticket, which it may keep until the hook has ended.
const TICKET_SLACK: Duration = Duration::from_mins(1);

/// Life of the ticket for a connection without a router: clients use it at once, and try for a second or so.
const DIRECT_TICKET: Duration = Duration::from_secs(30);
/// Most addresses that an exporter may name for such connections, and most bytes of each.
const MAX_ENDPOINTS: usize = 8;
const MAX_ENDPOINT: usize = 261;

/// Whether clients can be sent to where an exporter says that it listens.
pub(crate) fn is_usable(direct: &v1::DirectListener, exporter: &str) -> bool {
    let endpoints = &direct.endpoints;
    let usable = (1..=MAX_ENDPOINTS).contains(&endpoints.len())
        && endpoints.iter().all(|text| text.len() <= MAX_ENDPOINT && text.parse::<Endpoint>().is_ok())
        && Digest::from_bytes(&direct.certificate_sha256).is_some();
    if !usable {
        tracing::warn!(
            exporter,
            "the exporter's direct listener is left out: it needs 1 to {MAX_ENDPOINTS} addresses HOST:PORT and the \
             SHA-256 of its certificate"
        );
    }
    usable
}

/// What Dial needs.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) world: World,
    pub(crate) presence: Presence,
    pub(crate) rendezvous: Rendezvous,
    pub(crate) tickets: Arc<TicketIssuer>,
    pub(crate) metrics: Metrics,
    pub(crate) routers: Routers,
    pub(crate) stop: tokio_util::sync::CancellationToken,
}

impl Dialer {
    /// A ticket for the client; the exporter gets its own.
    pub(crate) async fn dial(&self, caller: &Client, request: &v1::DialRequest) -> Result<v1::DialResponse, Status> {
        let asked = Instant::now();
        let lease_name = request.lease_name.as_str();
        let lease = self.reachable(caller, lease_name).await?;
        let exporter = lease.assigned_exporter().unwrap_or_default();
        let labels =
            self.world.exporter(exporter).and_then(|exporter| exporter.metadata.labels.clone()).unwrap_or_default();
        let settings = self.config.live.get();
        let router = self.routers.route(&settings.routers, &labels, lease_name, Instant::now()).map_err(|none| {
            self.metrics.dials_unrouted.inc();
            tracing::warn!(lease = lease_name, exporter, reason = %none, "dial refused");
            status::status(Code::Unavailable, none.to_string())
        })?;

        let stream = uuid::Uuid::new_v4();
        let now = self.config.clock.now();
        let exporter_life = self.config.hook_limit + TICKET_SLACK;
        let sign = |side, life: Duration| {
            let life = jiff::SignedDuration::try_from(life).unwrap_or(jiff::SignedDuration::MAX);
            self.tickets.issue(stream, side, life, now).map_err(|error| {
                tracing::error!(%error, "sign a router ticket");
                status::status(Code::Internal, "the router ticket could not be signed")
            })
        };
        let (invitation, path) = self.around(lease_name, request.accept_direct).unzip();
        let direct = path.is_some();
        let offer = Offer {
            endpoint: router.endpoint.clone(),
            ticket: sign(Side::Exporter, exporter_life)?,
            direct: invitation,
            good_until: Instant::now() + exporter_life,
        };
        let ticket = sign(Side::Client, CLIENT_TICKET)?;
        self.rendezvous
            .offer(lease_name, offer)
            .map_err(|error| status::status(Code::ResourceExhausted, error.to_string()))?;
        self.metrics.dials.inc();
        if direct {
            self.metrics.dials_direct.inc();
        }
        let seconds = asked.elapsed().as_secs_f64();
        tracing::info!(lease = lease_name, exporter, stream = %stream, router = %router.endpoint, direct, seconds, "dial");
        Ok(v1::DialResponse { router_endpoint: router.endpoint.clone(), router_token: ticket, direct: path })
    }

    /// A way around the router, for the exporter and for the client, where both want one and the operator lets them.
    fn around(&self, lease: &str, accepted: bool) -> Option<(v1::DirectInvitation, v1::DirectPath)> {
        if !accepted || !self.config.direct_paths {
            return None;
        }
        let announced = self.rendezvous.announced(lease)?;
        let ticket = Ticket::generate().inspect_err(|error| tracing::error!(%error, "make a direct ticket")).ok()?;
        let invitation = v1::DirectInvitation {
            ticket_sha256: ticket.digest().as_bytes().to_vec().into(),
            lifetime_seconds: u32::try_from(DIRECT_TICKET.as_secs()).unwrap_or(u32::MAX),
        };
        let path = v1::DirectPath {
            endpoints: announced.endpoints.clone(),
            certificate_sha256: announced.certificate_sha256.clone(),
            ticket: ticket.expose().to_vec().into(),
        };
        Some((invitation, path))
    }

    /// Waits until the exporter of the lease listens.
    async fn reachable(&self, caller: &Client, lease_name: &str) -> Result<Arc<Lease>, Status> {
        let started = Instant::now();
        self.check(caller, lease_name)?;
        let mut lease_changes = self.world.lease_topics.subscribe(lease_name);
        loop {
            let lease = self.check(caller, lease_name)?;
            let exporter = lease.assigned_exporter().unwrap_or_default();
            let mut exporter_changes = self.world.exporter_topics.subscribe(exporter);
            let listening = self.rendezvous.has_listener(lease_name);
            let session_over = self.presence.session_over(exporter, lease_name);
            if listening && !session_over {
                return Ok(lease);
            }
            let limits = &self.config.limits;
            let limit = if session_over { limits.session_wait } else { limits.listener_wait };
            let until = started + limit;
            if Instant::now() >= until {
                return Err(if session_over {
                    let text = format!("exporter `{exporter}` is not ready: the session of this lease has ended");
                    status::status(Code::FailedPrecondition, text)
                } else {
                    let text = format!("exporter `{exporter}` is not listening yet: try again in a moment");
                    status::status(Code::Unavailable, text)
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                // All are cancel safe; what is true is read anew after each.
                biased;
                () = self.stop.cancelled() => return Err(status::stopping()),
                () = lease_changes.changed() => {}
                () = exporter_changes.changed() => {}
                _ = self.rendezvous.wait_for_listener(lease_name, left), if !listening => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    fn check(&self, caller: &Client, lease_name: &str) -> Result<Arc<Lease>, Status> {
        if lease_name.is_empty() {
            return Err(status::invalid("lease_name is required"));
        }
        let lease = self.world.lease(lease_name).ok_or_else(|| status::not_found("lease", lease_name))?;
        let client = caller.metadata.name.as_deref().unwrap_or_default();
        check_owner(&lease, client).map_err(|error| status::refusal(&Refusal::Edit(error)))?;
        if lease.is_ended() || lease.spec.release == Some(true) {
            return Err(status::status(Code::FailedPrecondition, format!("lease `{lease_name}` has ended")));
        }
        if lease.assigned_exporter().is_none() {
            let text = format!("lease `{lease_name}` is not active: it has no exporter yet");
            return Err(status::status(Code::FailedPrecondition, text));
        }
        Ok(lease)
    }
}
