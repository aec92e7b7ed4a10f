//! ClientService: what people and tools call (protocol.md §1.7, §1.8).

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jumpstarter_model::{
    Client, Lease, Selector,
    labels::TAG_LABEL_PREFIX,
    name::{ExporterName, LeaseName, NamespaceName},
    selector::Requirement,
};
use jumpstarter_protocol::client::v1::{self as client, client_service_server::ClientService};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use crate::{
    caller::{Gate, Peer},
    config::ControllerConfig,
    convert,
    credentials::Credentials,
    lease_calls::{LeaseCalls, LeaseUpdate, WatchStream, requested_lease},
    status::{self, invalid, not_found, permission_denied},
    world::World,
};

/// Objects on a page when the caller does not say.
const DEFAULT_PAGE: usize = 1000;
/// Most objects on a page.
const MAX_PAGE: usize = 2000;
/// Most bytes on a page: well below the 4 MiB that peers take in one message.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Leases of one page whose queues are explained candidate by candidate; finding that out costs a look at every
/// exporter.
const MAX_EXPLAINED: usize = 100;

/// The service.
#[derive(Clone)]
pub(crate) struct ClientCalls {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) gate: Gate,
    pub(crate) world: World,
    pub(crate) leases: LeaseCalls,
    pub(crate) credentials: Arc<Credentials>,
}

impl ClientCalls {
    fn own_namespace(&self, namespace: &str) -> Result<(), Status> {
        if namespace == self.config.namespace {
            return Ok(());
        }
        Err(permission_denied(format!(
            "namespace mismatch: the request is for `{namespace}`, the caller belongs to `{}`",
            self.config.namespace
        )))
    }
}

/// Name of an object after which a page begins.
fn page_start(token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some).ok_or_else(|| invalid("page_token is not one that this service gave out"))
}

fn page_limit(size: i32) -> Result<usize, Status> {
    match usize::try_from(size) {
        Err(_) => Err(invalid(format!("page_size must not be negative, got {size}"))),
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
    }
}

/// One page of `items`, and the token of the next.
fn page<T>(items: impl Iterator<Item = (String, T)>, limit: usize) -> (Vec<(String, T)>, String) {
    let mut page: Vec<(String, T)> = Vec::new();
    for item in items {
        if page.len() == limit
            && let Some((last, _)) = page.last()
        {
            let next = URL_SAFE_NO_PAD.encode(last);
            return (page, next);
        }
        page.push(item);
    }
    (page, String::new())
}

/// The part of a page that fits into one message, at least one item, and the token of the next.
fn fitting<T: prost::Message>(page: Vec<(String, T)>, next: String, limit: usize) -> (Vec<T>, String) {
    let mut bytes = 0;
    let mut fitting = Vec::with_capacity(page.len());
    let mut last = String::new();
    for (name, item) in page {
        // A tag and a length come with each.
        bytes += item.encoded_len() + 8;
        if bytes > limit && !fitting.is_empty() {
            return (fitting, URL_SAFE_NO_PAD.encode(last));
        }
        fitting.push(item);
        last = name;
    }
    (fitting, next)
}

fn filter(text: &str, what: &str) -> Result<Selector, Status> {
    Selector::parse_filter(text).map_err(|error| invalid(format!("{what}: {error}")))
}

/// A filter over tags as one over the labels that copy them.
fn tag_filter(text: &str) -> Result<Vec<Requirement>, Status> {
    filter(text, "tag_filter")?
        .requirements()
        .iter()
        .map(|one| {
            let key = format!("{TAG_LABEL_PREFIX}{}", one.key());
            Requirement::new(&key, one.operator(), one.values().iter().cloned())
                .map_err(|error| invalid(format!("tag_filter: {error}")))
        })
        .collect()
}

/// The connection that a call came over, where the listener says so.
pub(crate) fn peer<T>(request: &Request<T>) -> Option<Peer> {
    request.extensions().get::<Peer>().copied()
}

/// The time that a caller gives its call, if it says so.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn lease_name(text: &str) -> Result<LeaseName, Status> {
    text.parse().map_err(invalid)
}

fn caller_name(caller: &Client) -> &str {
    caller.metadata.name.as_deref().unwrap_or_default()
}

#[tonic::async_trait]
impl ClientService for ClientCalls {
    type WatchLeaseStream = WatchStream;

    async fn get_exporter(
        &self,
        request: Request<client::GetExporterRequest>,
    ) -> Result<Response<client::Exporter>, Status> {
        let name: ExporterName = request.get_ref().name.parse().map_err(invalid)?;
        self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        let exporter = self.world.exporter(&name.name).ok_or_else(|| not_found("exporter", &name.name))?;
        Ok(Response::new(convert::exporter(&self.config, &exporter, request.get_ref().show_hidden_labels)))
    }

    async fn list_exporters(
        &self,
        request: Request<client::ListExportersRequest>,
    ) -> Result<Response<client::ListExportersResponse>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        let asked = request.into_inner();
        let selector = filter(&asked.filter, "filter")?;
        let limit = page_limit(asked.page_size)?;
        let start = page_start(&asked.page_token)?;
        let none = std::collections::BTreeMap::new();
        let objects = self.world.read();
        let matching = objects
            .exporters
            .iter()
            .skip_while(|(name, _)| start.as_ref().is_some_and(|start| *name <= start))
            .filter(|(_, exporter)| selector.matches(exporter.metadata.labels.as_ref().unwrap_or(&none)))
            .map(|(name, exporter)| {
                (name.clone(), convert::exporter(&self.config, exporter, asked.show_hidden_labels))
            });
        let (found, next) = page(matching, limit);
        let (exporters, next_page_token) = fitting(found, next, MAX_PAGE_BYTES);
        Ok(Response::new(client::ListExportersResponse { exporters, next_page_token }))
    }

    async fn get_lease(&self, request: Request<client::GetLeaseRequest>) -> Result<Response<client::Lease>, Status> {
        let name = lease_name(&request.get_ref().name)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        let lease = self.leases.look(&caller, &name.name, deadline(request.metadata()), peer(&request)).await?;
        Ok(Response::new(self.leases.show(&lease).await))
    }

    async fn watch_lease(
        &self,
        request: Request<client::WatchLeaseRequest>,
    ) -> Result<Response<Self::WatchLeaseStream>, Status> {
        let name = lease_name(&request.get_ref().name)?;
        self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        self.leases.watch(&name.name).map(Response::new)
    }

    async fn list_leases(
        &self,
        request: Request<client::ListLeasesRequest>,
    ) -> Result<Response<client::ListLeasesResponse>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        let asked = request.into_inner();
        let selector = filter(&asked.filter, "filter")?;
        let tags = tag_filter(&asked.tag_filter)?;
        let limit = page_limit(asked.page_size)?;
        let start = page_start(&asked.page_token)?;
        let only_active = asked.only_active.unwrap_or(true);
        let (found, next) = {
            let none = std::collections::BTreeMap::new();
            let objects = self.world.read();
            let matching = objects
                .leases
                .iter()
                .skip_while(|(name, _)| start.as_ref().is_some_and(|start| *name <= start))
                .filter(|(name, _)| !only_active || objects.active_leases.contains(*name))
                .filter(|(_, lease)| {
                    let labels = lease.metadata.labels.as_ref().unwrap_or(&none);
                    selector.matches(labels) && tags.iter().all(|one| one.matches(labels))
                })
                .map(|(name, lease)| (name.clone(), Arc::clone(lease)));
            page(matching, limit)
        };
        let (names, leases): (Vec<String>, Vec<Arc<Lease>>) = found.into_iter().unzip();
        let shown = self.leases.show_all(&leases, MAX_EXPLAINED).await;
        let (leases, next_page_token) = fitting(names.into_iter().zip(shown).collect(), next, MAX_PAGE_BYTES);
        Ok(Response::new(client::ListLeasesResponse { leases, next_page_token }))
    }

    async fn create_lease(
        &self,
        request: Request<client::CreateLeaseRequest>,
    ) -> Result<Response<client::Lease>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        let requested = requested_lease(&self.config, request.get_ref().lease.clone())?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        let lease = requested.into_object(&self.config, &request.get_ref().lease_id, &caller)?;
        let created = self.leases.create(lease).await?;
        Ok(Response::new(self.leases.show(&created).await))
    }

    async fn update_lease(
        &self,
        request: Request<client::UpdateLeaseRequest>,
    ) -> Result<Response<client::Lease>, Status> {
        let asked = request.get_ref();
        let lease = asked.lease.as_ref().ok_or_else(|| invalid("lease is required"))?;
        let name = lease_name(&lease.name)?;
        let update = LeaseUpdate::from_proto(lease, asked.update_mask.as_ref())?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        let updated = self.leases.update(&caller, &name.name, update).await?;
        Ok(Response::new(self.leases.show(&updated).await))
    }

    async fn delete_lease(&self, request: Request<client::DeleteLeaseRequest>) -> Result<Response<()>, Status> {
        let name = lease_name(&request.get_ref().name)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        self.leases.release(&caller, &name.name).await?;
        Ok(Response::new(()))
    }

    async fn rotate_token(
        &self,
        request: Request<client::RotateTokenRequest>,
    ) -> Result<Response<client::RotateTokenResponse>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        let issued = self.credentials.rotate_client(&caller).await.map_err(|error| {
            tracing::warn!(client = caller_name(&caller), %error, "rotate a token");
            status::status(Code::Unavailable, "the new token could not be stored: try again in a moment")
        })?;
        tracing::info!(client = caller_name(&caller), "token rotated");
        Ok(Response::new(client::RotateTokenResponse {
            token: issued.token.expose().to_owned(),
            expiry: Some(convert::timestamp(issued.expires_at)),
        }))
    }

    async fn explain_lease(
        &self,
        request: Request<client::ExplainLeaseRequest>,
    ) -> Result<Response<client::ExplainLeaseResponse>, Status> {
        let name = lease_name(&request.get_ref().name)?;
        self.gate.client(&request).await?;
        self.own_namespace(&name.namespace)?;
        Ok(Response::new(self.leases.explain(&name.name, request.get_ref()).await?))
    }

    async fn get_usage(
        &self,
        request: Request<client::GetUsageRequest>,
    ) -> Result<Response<client::GetUsageResponse>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        Ok(Response::new(self.leases.usage(caller_name(&caller)).await?))
    }

    async fn create_lease_group(
        &self,
        request: Request<client::CreateLeaseGroupRequest>,
    ) -> Result<Response<client::LeaseGroup>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        let group = self.leases.requested_group(request.get_ref(), &caller)?;
        Ok(Response::new(self.leases.create_group(group).await?))
    }

    async fn delete_lease_group(
        &self,
        request: Request<client::DeleteLeaseGroupRequest>,
    ) -> Result<Response<()>, Status> {
        let parent: NamespaceName = request.get_ref().parent.parse().map_err(invalid)?;
        let caller = self.gate.client(&request).await?;
        self.own_namespace(&parent.namespace)?;
        self.leases.delete_group(&caller, &request.get_ref().group).await?;
        Ok(Response::new(()))
    }
}

/// Leases of one client that have not ended, by name.
pub(crate) fn active_leases_of(world: &World, client: &str) -> Vec<Arc<Lease>> {
    let objects = world.read();
    objects
        .active_leases
        .iter()
        .filter_map(|name| objects.leases.get(name))
        .filter(|lease| lease.spec.client_ref.name == client)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let names: Vec<String> = (0..7).map(|n| format!("e{n}")).collect();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let start = page_start(&token).unwrap();
            let rest = names.iter().filter(|name| start.as_ref().is_none_or(|start| *name > start));
            let (items, next) = page(rest.map(|name| (name.clone(), name.clone())), 3);
            seen.extend(items.into_iter().map(|(_, item)| item));
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, names);
        assert!(page_start("not base64 !").is_err());
        assert!(page_limit(-1).is_err());
    }

    #[test]
    fn a_page_ends_where_the_message_would_be_too_large() {
        let page = || ["a", "b", "c"].map(|name| (name.to_owned(), "x".repeat(100))).to_vec();
        let (all, next) = fitting(page(), "more".to_owned(), 1000);
        assert_eq!((all.len(), next.as_str()), (3, "more"));
        let (two, next) = fitting(page(), String::new(), 250);
        assert_eq!((two.len(), page_start(&next).unwrap().as_deref()), (2, Some("b")));
        let (one, next) = fitting(page(), String::new(), 1);
        assert_eq!((one.len(), page_start(&next).unwrap().as_deref()), (1, Some("a")), "a page is never empty");
    }

    #[test]
    fn a_callers_deadline_is_read() {
        let mut metadata = MetadataMap::new();
        for (text, expected) in
            [("5S", Some(5_000)), ("250m", Some(250)), ("1H", Some(3_600_000)), ("x", None), ("", None)]
        {
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&metadata), expected.map(Duration::from_millis), "{text}");
        }
    }
}
