//! A client as the wire sees it.

use std::time::Duration;

use jumpstarter_protocol::{
    client::v1::{
        self as client, CreateLeaseRequest, DeleteLeaseRequest, GetLeaseRequest, Lease, ListLeasesRequest,
        UpdateLeaseRequest, client_service_client::ClientServiceClient,
    },
    v1::{Condition, DialRequest, DialResponse, controller_service_client::ControllerServiceClient},
};
use tonic::{Response, Status, Streaming, transport::Channel};

use super::{Identity, Lab, eventually, lab::NAMESPACE, soon};

#[derive(Clone)]
pub(crate) struct FakeClient {
    pub(crate) identity: Identity,
    pub(crate) stub: ClientServiceClient<Channel>,
    pub(crate) controller: ControllerServiceClient<Channel>,
}

/// Full name of something in the namespace.
pub(crate) fn path(collection: &str, name: &str) -> String {
    format!("namespaces/{NAMESPACE}/{collection}/{name}")
}

impl FakeClient {
    pub(crate) fn new(lab: &Lab, identity: Identity) -> Self {
        let channel = lab.channel();
        Self {
            identity,
            stub: ClientServiceClient::new(channel.clone()),
            controller: ControllerServiceClient::new(channel),
        }
    }

    pub(crate) async fn create(&self, id: &str, lease: Lease) -> Result<Lease, Status> {
        let request = CreateLeaseRequest {
            parent: format!("namespaces/{NAMESPACE}"),
            lease_id: id.to_owned(),
            lease: Some(lease),
        };
        soon("CreateLease", self.stub.clone().create_lease(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    /// A look at a lease.
    pub(crate) async fn get(&self, id: &str) -> Result<Lease, Status> {
        let request = GetLeaseRequest { name: path("leases", id) };
        soon("GetLease", self.stub.clone().get_lease(self.identity.request(request))).await.map(Response::into_inner)
    }

    pub(crate) async fn list(&self, request: ListLeasesRequest) -> Result<client::ListLeasesResponse, Status> {
        let request = ListLeasesRequest { parent: format!("namespaces/{NAMESPACE}"), ..request };
        soon("ListLeases", self.stub.clone().list_leases(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    pub(crate) async fn list_exporters(
        &self,
        request: client::ListExportersRequest,
    ) -> Result<client::ListExportersResponse, Status> {
        let request = client::ListExportersRequest { parent: format!("namespaces/{NAMESPACE}"), ..request };
        soon("ListExporters", self.stub.clone().list_exporters(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    pub(crate) async fn exporter(&self, name: &str, show_hidden_labels: bool) -> Result<client::Exporter, Status> {
        let request = client::GetExporterRequest { name: path("exporters", name), show_hidden_labels };
        soon("GetExporter", self.stub.clone().get_exporter(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    /// Changes the named fields of a lease to those of `lease`.
    pub(crate) async fn update(&self, id: &str, mask: &[&str], lease: Lease) -> Result<Lease, Status> {
        let lease = Lease { name: path("leases", id), ..lease };
        let update_mask = (!mask.is_empty())
            .then(|| prost_types::FieldMask { paths: mask.iter().map(|field| (*field).to_owned()).collect() });
        let request = UpdateLeaseRequest { lease: Some(lease), update_mask };
        soon("UpdateLease", self.stub.clone().update_lease(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = DeleteLeaseRequest { name: path("leases", id) };
        soon("DeleteLease", self.stub.clone().delete_lease(self.identity.request(request))).await.map(drop)
    }

    /// Creates a group of leases.
    pub(crate) async fn create_group(
        &self,
        name: &str,
        leases: Vec<Lease>,
        same: &[&str],
    ) -> Result<client::LeaseGroup, Status> {
        let request = client::CreateLeaseGroupRequest {
            parent: format!("namespaces/{NAMESPACE}"),
            group_id: name.to_owned(),
            leases,
            same: same.iter().map(|key| (*key).to_owned()).collect(),
        };
        soon("CreateLeaseGroup", self.stub.clone().create_lease_group(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    /// Releases a group of leases.
    pub(crate) async fn delete_group(&self, name: &str) -> Result<(), Status> {
        let request =
            client::DeleteLeaseGroupRequest { parent: format!("namespaces/{NAMESPACE}"), group: name.to_owned() };
        soon("DeleteLeaseGroup", self.stub.clone().delete_lease_group(self.identity.request(request))).await.map(drop)
    }

    /// What its accounts use.
    pub(crate) async fn usage(&self) -> Result<Vec<client::AccountUsage>, Status> {
        let request = client::GetUsageRequest { parent: format!("namespaces/{NAMESPACE}") };
        let answer = soon("GetUsage", self.stub.clone().get_usage(self.identity.request(request))).await;
        answer.map(|answer| answer.into_inner().accounts)
    }

    pub(crate) async fn explain(
        &self,
        request: client::ExplainLeaseRequest,
    ) -> Result<client::ExplainLeaseResponse, Status> {
        soon("ExplainLease", self.stub.clone().explain_lease(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    pub(crate) async fn dial(&self, id: &str) -> Result<DialResponse, Status> {
        let request = DialRequest { lease_name: id.to_owned(), ..DialRequest::default() };
        soon("Dial", self.controller.clone().dial(self.identity.request(request))).await.map(Response::into_inner)
    }

    /// A dial of a client that can do without a router.
    pub(crate) async fn dial_directly(&self, id: &str) -> Result<DialResponse, Status> {
        let request = DialRequest { lease_name: id.to_owned(), accept_direct: true };
        soon("Dial", self.controller.clone().dial(self.identity.request(request))).await.map(Response::into_inner)
    }

    /// Watches a lease.
    pub(crate) async fn watch(&self, id: &str) -> Result<Streaming<Lease>, Status> {
        let request = client::WatchLeaseRequest { name: path("leases", id) };
        soon("WatchLease", self.stub.clone().watch_lease(self.identity.request(request)))
            .await
            .map(Response::into_inner)
    }

    /// Looks until the lease is ready.
    pub(crate) async fn await_ready(&self, id: &str) -> Lease {
        eventually(&format!("lease {id} ready"), async || {
            let lease = self.get(id).await.unwrap();
            assert!(lease.effective_end_time.is_none(), "lease {id} ended instead: {:?}", lease.conditions);
            is_true(&lease, "Ready").then_some(lease)
        })
        .await
    }

    /// Looks until the lease has ended.
    pub(crate) async fn await_end(&self, id: &str) -> Lease {
        eventually(&format!("lease {id} ended"), async || {
            let lease = self.get(id).await.unwrap();
            lease.effective_end_time.is_some().then_some(lease)
        })
        .await
    }
}

/// A lease by labels, for an hour.
pub(crate) fn wanted(selector: &str) -> Lease {
    Lease { selector: selector.to_owned(), duration: Some(seconds(3600)), ..Lease::default() }
}

/// A lease of one exporter, for an hour.
pub(crate) fn for_exporter(name: &str) -> Lease {
    wanted(&format!("board={name}"))
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// An instant so many seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: super::lab::now().as_second() + seconds, nanos: 0 }
}

pub(crate) fn condition<'a>(lease: &'a Lease, type_: &str) -> Option<&'a Condition> {
    lease.conditions.iter().find(|condition| condition.r#type() == type_)
}

pub(crate) fn is_true(lease: &Lease, type_: &str) -> bool {
    condition(lease, type_).is_some_and(|condition| condition.status() == "True")
}

/// Reason of a condition; empty when there is none.
pub(crate) fn reason<'a>(lease: &'a Lease, type_: &str) -> &'a str {
    condition(lease, type_).map_or("", Condition::reason)
}

/// A call with a deadline of the caller.
pub(crate) fn limited<T>(mut request: tonic::Request<T>, limit: Duration) -> tonic::Request<T> {
    request.set_timeout(limit);
    request
}
