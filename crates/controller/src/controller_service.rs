//! ControllerService: what exporters call, the client's Dial, and the lease calls of old clients (protocol.md §1.3).

use std::sync::Arc;

use jumpstarter_model::{Client, Lease, LeaseSpec, LocalObjectReference, Selector, lease_time};
use jumpstarter_protocol::v1::{self, controller_service_server::ControllerService};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    caller::Gate,
    client_service::{active_leases_of, deadline, peer},
    config::{ControllerConfig, TelemetryTarget},
    convert,
    dial::Dialer,
    exporter_service::{ExporterCalls, ListenStream, StatusStream},
    lease_calls::{LeaseCalls, check_owner},
    runtime::Refusal,
    status::{self, invalid},
    world::World,
};

/// The service.
#[derive(Clone)]
pub(crate) struct ControllerCalls {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) gate: Gate,
    pub(crate) world: World,
    pub(crate) exporters: ExporterCalls,
    pub(crate) leases: LeaseCalls,
    pub(crate) dialer: Dialer,
}

fn name_of(client: &Client) -> String {
    client.metadata.name.clone().unwrap_or_default()
}

#[tonic::async_trait]
impl ControllerService for ControllerCalls {
    type ListenStream = ListenStream;
    type StatusStream = StatusStream;

    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        self.exporters.register(request).await.map(Response::new)
    }

    async fn unregister(
        &self,
        request: Request<v1::UnregisterRequest>,
    ) -> Result<Response<v1::UnregisterResponse>, Status> {
        self.exporters.unregister(request).await.map(Response::new)
    }

    async fn report_status(
        &self,
        request: Request<v1::ReportStatusRequest>,
    ) -> Result<Response<v1::ReportStatusResponse>, Status> {
        self.exporters.report_status(request).await.map(Response::new)
    }

    async fn listen(&self, request: Request<v1::ListenRequest>) -> Result<Response<ListenStream>, Status> {
        self.exporters.listen(request).await.map(Response::new)
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<StatusStream>, Status> {
        self.exporters.status(request).await.map(Response::new)
    }

    async fn dial(&self, request: Request<v1::DialRequest>) -> Result<Response<v1::DialResponse>, Status> {
        let caller = self.gate.client(&request).await?;
        self.dialer.dial(&caller, request.get_ref()).await.map(Response::new)
    }

    async fn audit_stream(&self, _: Request<Streaming<v1::AuditStreamRequest>>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("AuditStream is not offered: logs travel by LogStream"))
    }

    async fn get_lease(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<v1::GetLeaseResponse>, Status> {
        let caller = self.gate.client(&request).await?;
        let name = &request.get_ref().name;
        let lease = self.leases.look(&caller, name, deadline(request.metadata()), peer(&request)).await?;
        check_owner(&lease, &name_of(&caller)).map_err(|error| status::refusal(&Refusal::Edit(error)))?;
        let lease_status = lease.status.clone().unwrap_or_default();
        let exporter = lease.assigned_exporter().and_then(|name| self.world.exporter(name));
        Ok(Response::new(v1::GetLeaseResponse {
            duration: lease_time::requested_duration(&lease.spec).map(convert::duration),
            selector: Some(convert::selector_to_proto(&lease.spec.selector)),
            begin_time: lease_status.begin_time.map(|time| convert::timestamp(time.0)),
            end_time: lease_status.end_time.filter(|_| lease_status.ended).map(|time| convert::timestamp(time.0)),
            exporter_uuid: exporter.and_then(|exporter| exporter.metadata.uid.clone()),
            conditions: convert::conditions(&lease_status.conditions),
        }))
    }

    async fn request_lease(
        &self,
        request: Request<v1::RequestLeaseRequest>,
    ) -> Result<Response<v1::RequestLeaseResponse>, Status> {
        let caller = self.gate.client(&request).await?;
        let v1::RequestLeaseRequest { duration, selector } = request.into_inner();
        let structured = convert::selector_from_proto(selector.unwrap_or_default());
        let selector =
            Selector::from_label_selector(&structured).map_err(|error| invalid(format!("selector: {error}")))?;
        if selector.is_empty() {
            return Err(invalid("selector is required"));
        }
        let duration = duration
            .map(|span| convert::from_duration(span).ok_or_else(|| invalid("duration is out of range")))
            .transpose()?;
        let times = lease_time::normalize(None, None, duration).map_err(invalid)?;
        let mut spec = LeaseSpec {
            client_ref: LocalObjectReference::new(name_of(&caller)),
            selector: structured,
            ..LeaseSpec::default()
        };
        times.store(&mut spec);
        let labels = jumpstarter_model::labels::lease_labels(&selector, &std::collections::BTreeMap::new());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(uuid::Uuid::now_v7().to_string()),
                namespace: Some(self.config.namespace.clone()),
                labels: (!labels.is_empty()).then_some(labels),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        };
        let created = self.leases.create(lease).await?;
        Ok(Response::new(v1::RequestLeaseResponse { name: created.metadata.name.clone().unwrap_or_default() }))
    }

    async fn release_lease(
        &self,
        request: Request<v1::ReleaseLeaseRequest>,
    ) -> Result<Response<v1::ReleaseLeaseResponse>, Status> {
        if Gate::claims_exporter(request.metadata()) {
            return self.exporters.release_lease(request).await.map(Response::new);
        }
        let caller = self.gate.client(&request).await?;
        match self.leases.release(&caller, &request.get_ref().name).await {
            // Giving up what was given up is no mistake of the caller.
            Err(error) if error.code() != Code::FailedPrecondition => Err(error),
            _ => Ok(Response::new(v1::ReleaseLeaseResponse {})),
        }
    }

    async fn list_leases(
        &self,
        request: Request<v1::ListLeasesRequest>,
    ) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let caller = self.gate.client(&request).await?;
        let names = active_leases_of(&self.world, &name_of(&caller))
            .iter()
            .filter_map(|lease| lease.metadata.name.clone())
            .collect();
        Ok(Response::new(v1::ListLeasesResponse { names }))
    }

    async fn get_service_endpoints(
        &self,
        request: Request<v1::GetServiceEndpointsRequest>,
    ) -> Result<Response<v1::GetServiceEndpointsResponse>, Status> {
        self.gate.exporter(&request).await?;
        let settings = self.config.live.get();
        let endpoint = |target: &TelemetryTarget| v1::TelemetryEndpoint {
            endpoint: target.endpoint.clone(),
            certificate: target.certificate.clone(),
            min_severity: target.min_severity.clone(),
        };
        let telemetry_endpoints = settings.telemetry.iter().map(endpoint).collect();
        Ok(Response::new(v1::GetServiceEndpointsResponse { telemetry_endpoints }))
    }
}
