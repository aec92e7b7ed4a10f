//! Calls to the controller.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jumpstarter_config::ClientConfig;
use jumpstarter_protocol::{
    client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, GetExporterRequest, GetLeaseRequest, ListExportersRequest,
        ListLeasesRequest, client_service_client::ClientServiceClient,
    },
    v1::{ExporterStatus, controller_service_client::ControllerServiceClient},
};
use jumpstarter_tunnel::Connector;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{ClientError, CreateLease, Lease, UpdateLease, lease::split};

/// Limit of one call; the service holds a poll for less than this.
const CALL: Duration = Duration::from_secs(30);
/// Objects asked for at a time.
const PAGE: i32 = 100;

/// A client of the service. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    channel: Channel,
    identity: Identity,
    namespace: String,
    name: String,
    pub(crate) connector: Connector,
    pub(crate) acquisition_timeout: Duration,
    pub(crate) dial_timeout: Duration,
}

/// An exporter as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exporter {
    /// Bare name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub status: ExporterStatus,
    /// More about that.
    pub status_message: String,
    /// The service hears from it.
    pub online: bool,
    /// It may be leased.
    pub enabled: bool,
}

/// Who is calling, added to every call.
#[derive(Clone)]
pub(crate) struct Identity {
    namespace: MetadataValue<Ascii>,
    name: MetadataValue<Ascii>,
    authorization: MetadataValue<Ascii>,
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("jumpstarter-kind", MetadataValue::from_static("Client"));
        metadata.insert("jumpstarter-namespace", self.namespace.clone());
        metadata.insert("jumpstarter-name", self.name.clone());
        metadata.insert("authorization", self.authorization.clone());
        Ok(request)
    }
}

impl Client {
    /// Connects as its configuration says.
    pub async fn from_config(config: &ClientConfig) -> Result<Self, ClientError> {
        let connector = Connector::from_config(&config.tls, config.grpc_options.as_ref());
        Self::connect(config, connector.map_err(ClientError::Config)?).await
    }

    /// Connects as the client of `config`, reaching controller and routers through `connector`.
    pub async fn connect(config: &ClientConfig, connector: Connector) -> Result<Self, ClientError> {
        let missing = || ClientError::NotConfigured(config.alias.clone());
        let endpoint = config.endpoint.as_deref().filter(|text| !text.is_empty()).ok_or_else(missing)?;
        let token = config.token.as_ref().ok_or_else(missing)?;
        let ascii = |what, text: &str| text.parse().map_err(|_| ClientError::Unsendable(what));
        let mut authorization: MetadataValue<Ascii> = ascii("token", &format!("Bearer {}", token.expose()))?;
        authorization.set_sensitive(true);
        let namespace = config.metadata.namespace.clone().unwrap_or_default();
        let identity = Identity {
            namespace: ascii("metadata.namespace", &namespace)?,
            name: ascii("metadata.name", &config.metadata.name)?,
            authorization,
        };
        let channel = connector
            .connect(endpoint)
            .await
            .map_err(|source| ClientError::Connect { endpoint: endpoint.to_owned(), source })?;
        let dial = config.leases.dial_timeout;
        let inner = Inner {
            channel,
            identity,
            namespace,
            name: config.metadata.name.clone(),
            connector,
            acquisition_timeout: Duration::from_secs(config.leases.acquisition_timeout),
            dial_timeout: Duration::try_from_secs_f64(dial).unwrap_or(Duration::MAX),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This client's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// This client's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    fn service(&self) -> ClientServiceClient<InterceptedService<Channel, Identity>> {
        ClientServiceClient::with_interceptor(self.inner.channel.clone(), self.inner.identity.clone())
    }

    pub(crate) fn controller(&self) -> ControllerServiceClient<InterceptedService<Channel, Identity>> {
        ControllerServiceClient::with_interceptor(self.inner.channel.clone(), self.inner.identity.clone())
    }

    fn parent(&self) -> String {
        format!("namespaces/{}", self.inner.namespace)
    }

    fn lease_name(&self, name: &str) -> String {
        format!("namespaces/{}/leases/{name}", self.inner.namespace)
    }

    /// Asks for a lease; it may still have to wait.
    pub async fn create_lease(&self, wanted: &CreateLease) -> Result<Lease, ClientError> {
        let request = CreateLeaseRequest {
            parent: self.parent(),
            lease_id: wanted.lease_id.clone().unwrap_or_default(),
            lease: Some(wanted.to_proto()),
        };
        let answer = self.service().create_lease(limited(request)).await;
        lease(checked("create a lease", answer)?)
    }

    /// Reads one lease; the service may hold the answer for a moment while nothing has changed.
    pub async fn get_lease(&self, name: &str) -> Result<Lease, ClientError> {
        let answer = self.service().get_lease(limited(GetLeaseRequest { name: self.lease_name(name) })).await;
        lease(checked(&format!("read lease {name}"), answer)?)
    }

    /// Every lease of the namespace, or only those that have not ended.
    pub async fn list_leases(&self, only_active: bool) -> Result<Vec<Lease>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListLeasesRequest {
                parent: self.parent(),
                page_size: PAGE,
                page_token,
                only_active: Some(only_active),
                ..ListLeasesRequest::default()
            };
            let page = checked("list leases", self.service().list_leases(limited(request)).await)?;
            for found in page.leases {
                all.push(lease(found)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }

    /// Changes duration, begin or owner of a lease.
    pub async fn update_lease(&self, name: &str, change: &UpdateLease) -> Result<Lease, ClientError> {
        let request = change.to_proto(&self.inner.namespace, name);
        let answer = self.service().update_lease(limited(request)).await;
        lease(checked(&format!("update lease {name}"), answer)?)
    }

    /// Gives a lease back.
    pub async fn delete_lease(&self, name: &str) -> Result<(), ClientError> {
        let answer = self.service().delete_lease(limited(DeleteLeaseRequest { name: self.lease_name(name) })).await;
        checked(&format!("release lease {name}"), answer)
    }

    /// Reads one exporter.
    pub async fn get_exporter(&self, name: &str) -> Result<Exporter, ClientError> {
        let full = format!("namespaces/{}/exporters/{name}", self.inner.namespace);
        let request = GetExporterRequest { name: full, show_hidden_labels: false };
        let answer = self.service().get_exporter(limited(request)).await;
        exporter(checked(&format!("read exporter {name}"), answer)?)
    }

    /// Exporters of the namespace that match a label selector; an empty one matches all.
    pub async fn list_exporters(&self, selector: &str) -> Result<Vec<Exporter>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListExportersRequest {
                parent: self.parent(),
                page_size: PAGE,
                page_token,
                filter: selector.to_owned(),
                show_hidden_labels: false,
            };
            let page = checked("list exporters", self.service().list_exporters(limited(request)).await)?;
            for found in page.exporters {
                all.push(exporter(found)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            page_token = page.next_page_token;
        }
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

fn checked<T>(action: &str, answer: Result<Response<T>, Status>) -> Result<T, ClientError> {
    let refused = |status| ClientError::Controller { action: action.to_owned(), status: Box::new(status) };
    answer.map(Response::into_inner).map_err(refused)
}

fn lease(found: jumpstarter_protocol::client::v1::Lease) -> Result<Lease, ClientError> {
    Lease::from_proto(found).map_err(|err| ClientError::Protocol("the controller", err))
}

#[expect(deprecated, reason = "old services only fill `online`")]
fn exporter(found: jumpstarter_protocol::client::v1::Exporter) -> Result<Exporter, ClientError> {
    let (_, name) = split(&found.name, "exporters").map_err(|err| ClientError::Protocol("the controller", err))?;
    Ok(Exporter {
        name,
        status: found.status(),
        labels: found.labels.into_iter().collect(),
        status_message: found.status_message,
        online: found.online,
        enabled: found.enabled.unwrap_or(true),
    })
}
