//! The exporter's side of ControllerService (protocol.md §4).

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use futures::{Stream, stream};
use jumpstarter_model::{
    Device, Exporter, ExporterPhase,
    labels::{EXPORTER_OWNED_PREFIX, validate_key, validate_value},
};
use jumpstarter_protocol::v1;
use tonic::{Code, Request, Status};
use tracing::{info, warn};

use crate::{
    caller::Gate,
    dial,
    presence::{Attendance, Presence},
    rendezvous::{Listener, Rendezvous},
    runtime::{EditError, LabHandle, edits},
    status::{self, invalid, permission_denied, stopping},
    world::{Subscription, World},
};

/// Time for the end of a Status stream to arrive after the OFFLINE that an exporter reports on another connection.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Driver instances that one exporter may report.
const MAX_REPORTS: usize = 2048;
/// Longest status message kept, in bytes.
const MAX_MESSAGE: usize = 2048;

pub(crate) type StatusStream = Pin<Box<dyn Stream<Item = Result<v1::StatusResponse, Status>> + Send>>;
pub(crate) type ListenStream = Pin<Box<dyn Stream<Item = Result<v1::ListenResponse, Status>> + Send>>;

/// What exporters call.
#[derive(Clone)]
pub(crate) struct ExporterCalls {
    pub(crate) gate: Gate,
    pub(crate) lab: LabHandle,
    pub(crate) world: World,
    pub(crate) presence: Presence,
    pub(crate) rendezvous: Rendezvous,
    pub(crate) stop: tokio_util::sync::CancellationToken,
}

fn name_of(exporter: &Exporter) -> String {
    exporter.metadata.name.clone().unwrap_or_default()
}

fn shortened(text: &str) -> String {
    let mut cut = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    text[..cut].to_owned()
}

impl ExporterCalls {
    pub(crate) async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<v1::RegisterResponse, Status> {
        let exporter = self.gate.exporter(&request).await?;
        let name = name_of(&exporter);
        let v1::RegisterRequest { labels, reports, process } = request.into_inner();
        if self.presence.is_outdated(&name, &process) {
            return Ok(v1::RegisterResponse { uuid: exporter.metadata.uid.clone().unwrap_or_default() });
        }
        if reports.len() > MAX_REPORTS {
            return Err(invalid(format!(
                "{} driver instances reported, at most {MAX_REPORTS} are taken",
                reports.len()
            )));
        }
        let labels: BTreeMap<String, String> = labels.into_iter().collect();
        for (key, value) in labels.iter().filter(|(key, _)| key.starts_with(EXPORTER_OWNED_PREFIX)) {
            validate_key(key)
                .and_then(|()| validate_value(value))
                .map_err(|error| invalid(format!("labels: {error}")))?;
        }
        let devices: Vec<Device> = reports
            .into_iter()
            .map(|report| Device {
                uuid: Some(report.uuid),
                parent_uuid: report.parent_uuid.filter(|parent| !parent.is_empty()),
                labels: report.labels.into_iter().collect(),
            })
            .collect();
        let count = devices.len();
        // A process that registers has just started: whatever session there was is gone, and what an earlier process said
        // comes late from now on.
        self.presence.started(&name, &process);
        let edit = Box::new(move |exporter: &Exporter, now| Ok(edits::register(exporter, &labels, &devices, now)));
        self.lab.edit_exporter(&name, edit).await.map_err(|error| status::refusal(&error))?;
        info!(exporter = %name, devices = count, "exporter registered");
        Ok(v1::RegisterResponse { uuid: exporter.metadata.uid.clone().unwrap_or_default() })
    }

    pub(crate) async fn unregister(
        &self,
        request: Request<v1::UnregisterRequest>,
    ) -> Result<v1::UnregisterResponse, Status> {
        let name = name_of(&*self.gate.exporter(&request).await?);
        let v1::UnregisterRequest { reason, process } = request.into_inner();
        let reason = shortened(&reason);
        if self.presence.is_outdated(&name, &process) {
            return Ok(v1::UnregisterResponse {});
        }
        self.presence.left(&name);
        info!(exporter = %name, %reason, "exporter unregistered");
        let edit = Box::new(move |exporter: &Exporter, now| Ok(edits::unregister(exporter, &reason, now)));
        self.lab.edit_exporter(&name, edit).await.map_err(|error| status::refusal(&error))?;
        Ok(v1::UnregisterResponse {})
    }

    pub(crate) async fn report_status(
        &self,
        request: Request<v1::ReportStatusRequest>,
    ) -> Result<v1::ReportStatusResponse, Status> {
        let exporter = self.gate.exporter(&request).await?;
        let name = name_of(&exporter);
        let v1::ReportStatusRequest { status: number, message, release_lease, revision, process } =
            request.into_inner();
        if self.presence.is_outdated(&name, &process) {
            return Ok(v1::ReportStatusResponse {});
        }
        let phase = ExporterPhase::from_wire(number);
        let message = shortened(&message.unwrap_or_default());
        // The lease that the exporter means is the one it held when it called, whatever follows it meanwhile.
        let holder = self.world.read().holder(&name).cloned();
        let held = holder.as_ref().and_then(|lease| lease.metadata.name.clone());
        if phase != ExporterPhase::Offline {
            self.presence.seen(&name);
        }
        self.presence.reported(&name, phase, revision.map(|heard| self.presence.heard(&heard)));
        info!(exporter = %name, status = ?phase, "exporter status");
        // Kept for whoever leads next: of a lease that goes on the exporter may not say so again.
        let over = held.as_ref().is_some_and(|lease| self.presence.session_over(&name, lease));
        let torn_down = holder.filter(|_| over).and_then(|lease| lease.metadata.uid.clone());
        let edit = Box::new(move |exporter: &Exporter, now| {
            Ok(edits::report(exporter, phase, &message, torn_down.as_deref(), now))
        });
        self.lab.edit_exporter(&name, edit).await.map_err(|error| status::refusal_to_exporter(&error))?;
        if let Some(lease) = held
            && (release_lease == Some(true) || (phase == ExporterPhase::Offline && self.stays_connected(&name).await))
        {
            self.release(&name, &lease).await?;
        }
        Ok(v1::ReportStatusResponse {})
    }

    /// Whether an exporter that says it is offline waits for the end of its lease, as after a hook that failed with
    /// `onFailure: exit`. One that was told to stop closes its stream before it says so, and its lease goes on.
    async fn stays_connected(&self, exporter: &str) -> bool {
        tokio::time::sleep(LAST_WORD).await;
        self.presence.is_connected(exporter)
    }

    /// `ReleaseLease` by the exporter that holds it; repeats are harmless.
    pub(crate) async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<v1::ReleaseLeaseResponse, Status> {
        let name = name_of(&*self.gate.exporter(&request).await?);
        let lease = request.into_inner().name;
        self.release(&name, &lease).await?;
        Ok(v1::ReleaseLeaseResponse {})
    }

    async fn release(&self, exporter: &str, lease: &str) -> Result<(), Status> {
        let caller = exporter.to_owned();
        let edit = Box::new(move |lease: &jumpstarter_model::Lease, _: &_, _| {
            if lease.assigned_exporter() != Some(caller.as_str()) {
                // Not PERMISSION_DENIED: old exporters would take it for an old service and never ask again.
                return Err(EditError::FailedPrecondition(format!(
                    "lease `{}` is not held by exporter `{caller}`",
                    lease.metadata.name.as_deref().unwrap_or_default()
                )));
            }
            if lease.is_ended() || lease.spec.release == Some(true) {
                return Ok(None);
            }
            let mut edited = lease.clone();
            edited.spec.release = Some(true);
            Ok(Some(edited))
        });
        self.lab.edit_lease(lease, edit).await.map_err(|error| status::refusal_to_exporter(&error))?;
        info!(%exporter, %lease, "lease released by its exporter");
        Ok(())
    }

    pub(crate) async fn status(&self, request: Request<v1::StatusRequest>) -> Result<StatusStream, Status> {
        let name = name_of(&*self.gate.exporter(&request).await?);
        if self.stop.is_cancelled() {
            return Err(stopping());
        }
        let attendance = self.presence.open(&name).map_err(|error| {
            warn!(exporter = %name, "two processes use the credentials of one exporter");
            status::status(Code::Unavailable, error.to_string())
        })?;
        info!(exporter = %name, "exporter connected");
        let changes = self.world.exporter_topics.subscribe(&name);
        let watcher = StatusWatcher { calls: self.clone(), name, attendance, changes, sent: Sent::Nothing };
        Ok(Box::pin(stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        })))
    }

    pub(crate) async fn listen(&self, request: Request<v1::ListenRequest>) -> Result<ListenStream, Status> {
        let exporter = name_of(&*self.gate.exporter(&request).await?);
        let v1::ListenRequest { lease_name: lease, direct } = request.into_inner();
        if lease.is_empty() {
            return Err(invalid("lease_name is required"));
        }
        let found = self.world.lease(&lease).ok_or_else(|| status::not_found("lease", &lease))?;
        if found.assigned_exporter() != Some(exporter.as_str()) {
            return Err(permission_denied(format!("lease `{lease}` is not held by exporter `{exporter}`")));
        }
        let announced = direct.filter(|direct| dial::is_usable(direct, &exporter));
        let watcher = ListenWatcher { listener: self.rendezvous.listen(&lease, announced), stop: self.stop.clone() };
        Ok(Box::pin(stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        })))
    }
}

struct ListenWatcher {
    listener: Listener,
    stop: tokio_util::sync::CancellationToken,
}

impl ListenWatcher {
    async fn next(&mut self) -> Result<v1::ListenResponse, Status> {
        tokio::select! {
            // Both are cancel safe: an offer not returned is still queued.
            biased;
            () = self.stop.cancelled() => Err(stopping()),
            offer = self.listener.next() => match offer {
                Ok(offer) => Ok(v1::ListenResponse {
                    router_endpoint: offer.endpoint,
                    router_token: offer.ticket,
                    direct: offer.direct,
                }),
                Err(_) => Err(status::status(Code::Unavailable, "another stream listens for this lease now")),
            },
        }
    }
}

/// What the exporter was told last on this stream.
#[derive(Clone, PartialEq, Eq)]
enum Sent {
    Nothing,
    Free,
    Leased { lease: String, client: String },
}

/// Feeds one Status stream: changes only, and never from one lease to another without `leased=false` between.
struct StatusWatcher {
    calls: ExporterCalls,
    name: String,
    attendance: Attendance,
    changes: Subscription,
    sent: Sent,
}

impl StatusWatcher {
    async fn next(&mut self) -> Result<v1::StatusResponse, Status> {
        loop {
            self.changes.mark_unchanged();
            if let Some(message) = self.step() {
                return Ok(message);
            }
            tokio::select! {
                // All three are cancel safe; the state to tell is read anew after each.
                biased;
                () = self.calls.stop.cancelled() => return Err(stopping()),
                () = self.attendance.replaced().cancelled() => {
                    if self.calls.world.exporter(&self.name).is_none() {
                        return Err(status::not_found("exporter", &self.name));
                    }
                    let text = "another process connected with the credentials of this exporter";
                    return Err(status::status(Code::Unavailable, text));
                }
                () = self.changes.changed() => {}
            }
        }
    }

    /// The next message, if what was sent last is no longer true.
    fn step(&mut self) -> Option<v1::StatusResponse> {
        let holder = self.calls.world.read().holder(&self.name).cloned();
        let Some(lease) = holder else {
            return self.tell_free();
        };
        let lease_name = lease.metadata.name.clone().unwrap_or_default();
        let client = lease.spec.client_ref.name.clone();
        match &self.sent {
            Sent::Leased { lease: told, client: told_client } if *told == lease_name => {
                if *told_client == client {
                    return None;
                }
            }
            Sent::Leased { .. } => return self.tell_free(),
            // The exporter may still serve the lease that an earlier stream told it of.
            Sent::Nothing if self.calls.presence.told(&self.name).as_deref() != Some(&*lease_name) => {
                return self.tell_free();
            }
            Sent::Nothing | Sent::Free => {}
        }
        let word = self.calls.presence.next_word();
        self.calls.presence.told_leased(&self.name, &lease_name, word);
        self.sent = Sent::Leased { lease: lease_name.clone(), client: client.clone() };
        Some(v1::StatusResponse {
            leased: true,
            lease_name: Some(lease_name),
            client_name: Some(client),
            context: lease.spec.context.clone().unwrap_or_default().into_iter().collect(),
            revision: self.calls.presence.revision(word),
        })
    }

    fn tell_free(&mut self) -> Option<v1::StatusResponse> {
        if self.sent == Sent::Free {
            return None;
        }
        self.sent = Sent::Free;
        let exporter = self.calls.world.exporter(&self.name);
        let phase = exporter.and_then(|exporter| exporter.status.as_ref().and_then(|status| status.exporter_status));
        // Offline is what the service itself says of a lost connection.
        let silent = matches!(phase, None | Some(ExporterPhase::Unspecified | ExporterPhase::Offline));
        self.calls.presence.told_free(&self.name, silent);
        let presence = &self.calls.presence;
        Some(v1::StatusResponse { revision: presence.revision(presence.next_word()), ..v1::StatusResponse::default() })
    }
}
