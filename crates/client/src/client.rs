//! Calls to the controller.
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use jumpstarter_config::{ClientConfig, Secret};
use jumpstarter_protocol::{
    client::v1::{
        CreateLeaseGroupRequest, CreateLeaseRequest, DeleteLeaseGroupRequest, DeleteLeaseRequest, GetExporterRequest,
        GetLeaseRequest, GetUsageRequest, ListExportersRequest, ListLeasesRequest, RotateTokenRequest,
        WatchLeaseRequest, client_service_client::ClientServiceClient,
    },
    v1::{ExporterStatus, controller_service_client::ControllerServiceClient},
};
use jumpstarter_tunnel::Connector;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    AccountUsage, ClientError, CreateLease, CreateLeaseGroup, Lease, LeaseGroup, LeaseWhy, UpdateLease, WhatIf,
    around::Around,
    lease::{split, timestamp},
};

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
    identity: RwLock<Identity>,
    namespace: String,
    name: String,
    pub(crate) connector: Connector,
    pub(crate) acquisition_timeout: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) around: Around,
    /// The service has said that it has no watches.
    pub(crate) no_watch: AtomicBool,
}

/// An exporter as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exporter {
    /// Its namespace.
    pub namespace: String,
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
    /// Labels that are going away, with what to use instead; empty text when nobody said.
    pub deprecated_labels: BTreeMap<String, String>,
    /// Why it is not given out at present, if the service keeps it back.
    pub quarantine: Option<Quarantine>,
}

/// An exporter is kept back since its leases fail, or because an operator said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// One word, such as `HookFailures` or `ByHand`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When it is checked, or given out again; `None` when somebody has to lift it.
    pub until: Option<Timestamp>,
}

/// Which exporters to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExporterQuery {
    /// Label selector; empty for all.
    pub selector: String,
    /// Labels that the service hides are wanted too.
    pub show_hidden_labels: bool,
    /// Exporters asked for at a time.
    pub page_size: Option<u32>,
}

/// Which leases to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseQuery {
    /// `key=value` pairs that the selector of the lease must name; empty for all.
    pub filter: String,
    /// Label selector over the tags; empty for all.
    pub tag_filter: String,
    /// Leases that have ended are wanted too.
    pub ended: bool,
    /// Leases asked for at a time.
    pub page_size: Option<u32>,
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
        let namespace = config.metadata.namespace.clone().unwrap_or_default();
        let identity = Identity {
            namespace: ascii("metadata.namespace", &namespace)?,
            name: ascii("metadata.name", &config.metadata.name)?,
            authorization: bearer(token)?,
        };
        let channel = connector
            .connect(endpoint)
            .await
            .map_err(|source| ClientError::Connect { endpoint: endpoint.to_owned(), source })?;
        let dial = config.leases.dial_timeout;
        let inner = Inner {
            channel,
            identity: RwLock::new(identity),
            namespace,
            name: config.metadata.name.clone(),
            connector,
            acquisition_timeout: Duration::from_secs(config.leases.acquisition_timeout),
            dial_timeout: Duration::try_from_secs_f64(dial).unwrap_or(Duration::MAX),
            around: Around::default(),
            no_watch: AtomicBool::new(false),
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

    /// Uses another token from now on, in this client and all its clones; calls under way keep the old one.
    pub fn set_token(&self, token: &Secret) -> Result<(), ClientError> {
        self.inner.identity.write().unwrap_or_else(PoisonError::into_inner).authorization = bearer(token)?;
        Ok(())
    }

    /// Sets how long a connection straight to an exporter may take before the router is used, one second at first. With
    /// zero the router is always used. Concerns connections made from now on, by this client and all its clones.
    pub fn set_direct_limit(&self, limit: Duration) {
        self.inner.around.set_limit(limit);
    }

    fn identity(&self) -> Identity {
        self.inner.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn service(&self) -> ClientServiceClient<InterceptedService<Channel, Identity>> {
        ClientServiceClient::with_interceptor(self.inner.channel.clone(), self.identity())
    }

    pub(crate) fn controller(&self) -> ControllerServiceClient<InterceptedService<Channel, Identity>> {
        ControllerServiceClient::with_interceptor(self.inner.channel.clone(), self.identity())
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

    /// One lease at once, and again whenever it has changed, its place in the queue included. The stream ends once a
    /// lease has ended; any other end comes as an error, after which the lease may be watched again.
    ///
    /// Services that have no watches refuse with UNIMPLEMENTED; [`Client::wait_ready`] manages with all of them.
    pub async fn watch_lease(
        &self,
        name: &str,
    ) -> Result<impl Stream<Item = Result<Lease, ClientError>> + Send + use<>, ClientError> {
        let action = format!("watch lease {name}");
        Ok(self.watch(name).await?.map(move |found| match found {
            Ok(found) => lease(found),
            Err(status) => Err(refused(&action, status)),
        }))
    }

    pub(crate) async fn watch(
        &self,
        name: &str,
    ) -> Result<Streaming<jumpstarter_protocol::client::v1::Lease>, ClientError> {
        // No limit: the stream lasts as long as the lease.
        let request = WatchLeaseRequest { name: self.lease_name(name) };
        checked(&format!("watch lease {name}"), self.service().watch_lease(request).await)
    }

    /// Every lease of the namespace, or only those that have not ended.
    pub async fn list_leases(&self, only_active: bool) -> Result<Vec<Lease>, ClientError> {
        self.list_leases_with(&LeaseQuery { ended: !only_active, ..LeaseQuery::default() }).await
    }

    /// The leases of the namespace that `query` asks for, whoever owns them.
    pub async fn list_leases_with(&self, query: &LeaseQuery) -> Result<Vec<Lease>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListLeasesRequest {
                parent: self.parent(),
                page_size: page_size(query.page_size),
                page_token,
                filter: query.filter.clone(),
                only_active: Some(!query.ended),
                tag_filter: query.tag_filter.clone(),
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

    /// Asks for several leases that are served together or not at all. A service that does not know of groups answers
    /// `UNIMPLEMENTED`.
    pub async fn create_lease_group(&self, wanted: &CreateLeaseGroup) -> Result<LeaseGroup, ClientError> {
        let request = CreateLeaseGroupRequest {
            parent: self.parent(),
            group_id: wanted.name.clone().unwrap_or_default(),
            leases: wanted.leases.iter().map(CreateLease::to_proto).collect(),
            same: wanted.same.clone(),
        };
        let answer = self.service().create_lease_group(limited(request)).await;
        let found = checked("create a lease group", answer)?;
        let leases = found.leases.into_iter().map(lease).collect::<Result<_, _>>()?;
        Ok(LeaseGroup { name: found.name, leases })
    }

    /// Gives back what this client has of a group.
    pub async fn delete_lease_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteLeaseGroupRequest { parent: self.parent(), group: group.to_owned() };
        checked(&format!("release lease group {group}"), self.service().delete_lease_group(limited(request)).await)
    }

    /// Asks why a lease waits and until when, and what another request would mean. A service that cannot tell answers
    /// `UNIMPLEMENTED`.
    pub async fn explain_lease(&self, name: &str, what_if: &WhatIf) -> Result<LeaseWhy, ClientError> {
        let request = what_if.to_proto(self.lease_name(name));
        let answer = self.service().explain_lease(limited(request)).await;
        let found = checked(&format!("explain lease {name}"), answer)?;
        LeaseWhy::from_proto(found).map_err(|err| ClientError::Protocol("the controller", err))
    }

    /// What the accounts of this client use, one for each quota that is about it. A service that cannot tell answers
    /// `UNIMPLEMENTED`.
    pub async fn usage(&self) -> Result<Vec<AccountUsage>, ClientError> {
        let request = GetUsageRequest { parent: self.parent() };
        let found = checked("read the usage of quotas", self.service().get_usage(limited(request)).await)?;
        Ok(found.accounts.into_iter().map(AccountUsage::from_proto).collect())
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
        self.list_exporters_with(&ExporterQuery { selector: selector.to_owned(), ..ExporterQuery::default() }).await
    }

    /// The exporters of the namespace that `query` asks for.
    pub async fn list_exporters_with(&self, query: &ExporterQuery) -> Result<Vec<Exporter>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListExportersRequest {
                parent: self.parent(),
                page_size: page_size(query.page_size),
                page_token,
                filter: query.selector.clone(),
                show_hidden_labels: query.show_hidden_labels,
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

    /// Replaces this client's token by a new one, which the service signs; the old one may stop to work.
    pub async fn rotate_token(&self) -> Result<Secret, ClientError> {
        let request = RotateTokenRequest { parent: self.parent() };
        let answer = checked("rotate the token", self.service().rotate_token(limited(request)).await)?;
        if answer.token.is_empty() {
            return Err(ClientError::Protocol("the controller", "the new token is empty".to_owned()));
        }
        Ok(Secret::new(answer.token))
    }
}

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, ClientError> {
    let value = format!("Bearer {}", token.expose()).parse();
    let mut value: MetadataValue<Ascii> = value.map_err(|_| ClientError::Unsendable("token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn page_size(asked: Option<u32>) -> i32 {
    asked.map_or(PAGE, |size| i32::try_from(size).unwrap_or(i32::MAX))
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

fn checked<T>(action: &str, answer: Result<Response<T>, Status>) -> Result<T, ClientError> {
    answer.map(Response::into_inner).map_err(|status| refused(action, status))
}

pub(crate) fn refused(action: &str, status: Status) -> ClientError {
    ClientError::Controller { action: action.to_owned(), status: Box::new(status) }
}

pub(crate) fn lease(found: jumpstarter_protocol::client::v1::Lease) -> Result<Lease, ClientError> {
    Lease::from_proto(found).map_err(|err| ClientError::Protocol("the controller", err))
}

#[expect(deprecated, reason = "old services only fill `online`")]
fn exporter(found: jumpstarter_protocol::client::v1::Exporter) -> Result<Exporter, ClientError> {
    let (namespace, name) =
        split(&found.name, "exporters").map_err(|err| ClientError::Protocol("the controller", err))?;
    Ok(Exporter {
        namespace,
        name,
        status: found.status(),
        labels: found.labels.into_iter().collect(),
        status_message: found.status_message,
        online: found.online,
        enabled: found.enabled.unwrap_or(true),
        deprecated_labels: found.deprecated_labels.into_iter().collect(),
        quarantine: found.quarantine.map(|it| Quarantine {
            reason: it.reason,
            message: it.message,
            until: timestamp(it.until),
        }),
    })
}
