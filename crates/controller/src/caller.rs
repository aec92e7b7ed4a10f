//! Who calls: metadata authentication and authorization (protocol.md §2, kubernetes.md §6.1).

use std::{net::SocketAddr, sync::Arc};

use jumpstarter_auth::{BearerError, TokenIssuer, VerifiedTokens, bearer_token};
use jumpstarter_model::{Client, Exporter, identity};
use jumpstarter_store::{Key, Kind, Store};
use tonic::{Code, Request, Status, metadata::MetadataMap};
use tracing::warn;

use crate::{
    config::ControllerConfig,
    metrics::Metrics,
    status::{self, invalid, permission_denied},
    world::World,
};

const KIND_KEY: &str = "jumpstarter-kind";
const NAMESPACE_KEY: &str = "jumpstarter-namespace";
const NAME_KEY: &str = "jumpstarter-name";

/// The address of the connection's other end, put into each request by the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address without the port, which differs with every connection.
    fn address(&self) -> String {
        self.0.ip().to_canonical().to_string()
    }
}

/// Checks every call.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) issuer: Arc<TokenIssuer>,
    pub(crate) verified: Arc<VerifiedTokens>,
    pub(crate) world: World,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Metrics,
}

impl Gate {
    /// The client that calls.
    pub(crate) async fn client<T>(&self, request: &Request<T>) -> Result<Arc<Client>, Status> {
        let checked = self.check_client(request.metadata()).await;
        self.note(request, "client", checked)
    }

    /// The exporter that calls.
    pub(crate) async fn exporter<T>(&self, request: &Request<T>) -> Result<Arc<Exporter>, Status> {
        let checked = self.check_exporter(request.metadata()).await;
        self.note(request, "exporter", checked)
    }

    /// Whether the caller says it is an exporter, exactly once.
    pub(crate) fn claims_exporter(metadata: &MetadataMap) -> bool {
        matches!(single(metadata, KIND_KEY), Ok("Exporter"))
    }

    fn note<T, U>(&self, request: &Request<T>, kind: &str, checked: Result<U, Status>) -> Result<U, Status> {
        checked.inspect_err(|error| {
            self.metrics.authentication_failures.inc();
            let peer = request.extensions().get::<Peer>().map_or_else(|| "unknown".to_owned(), Peer::address);
            warn!(peer, code = ?error.code(), reason = error.message(), "{kind} authentication failed");
        })
    }

    async fn check_client(&self, metadata: &MetadataMap) -> Result<Arc<Client>, Status> {
        let (user, name) = self.authenticate(metadata, identity::Kind::Client)?;
        let client = match self.world.client(&name) {
            Some(client) => client,
            None => Arc::new(self.read::<Client>(Kind::Client, &name).await?),
        };
        let subject = identity::Subject::of_client(&client);
        self.authorize(&user, &subject, client.spec.username.as_deref())?;
        Ok(client)
    }

    async fn check_exporter(&self, metadata: &MetadataMap) -> Result<Arc<Exporter>, Status> {
        let (user, name) = self.authenticate(metadata, identity::Kind::Exporter)?;
        let exporter = match self.world.exporter(&name) {
            Some(exporter) => exporter,
            None => Arc::new(self.read::<Exporter>(Kind::Exporter, &name).await?),
        };
        let subject = identity::Subject::of_exporter(&exporter);
        self.authorize(&user, &subject, exporter.spec.username.as_deref())?;
        Ok(exporter)
    }

    /// The user name behind the token and the object name it speaks for.
    fn authenticate(&self, metadata: &MetadataMap, wanted: identity::Kind) -> Result<(String, String), Status> {
        let values = metadata.get_all("authorization");
        let token =
            bearer_token(values.iter().map(tonic::metadata::MetadataValue::as_encoded_bytes)).map_err(|error| {
                match error {
                    BearerError::Missing => status::status(Code::Unauthenticated, error.to_string()),
                    BearerError::Multiple | BearerError::NotBearer => invalid(error),
                }
            })?;
        let now = self.config.clock.now();
        let claims = self
            .verified
            .verify(&self.issuer, token, now)
            .map_err(|error| status::status(Code::Unauthenticated, error.to_string()))?;
        self.metrics.legacy_uses.note(&claims, now);
        let prefix = &self.config.internal_prefix;
        let user = format!("{prefix}{}", claims.sub);
        let namespace = single(metadata, NAMESPACE_KEY)?;
        let kind = single(metadata, KIND_KEY)?;
        if identity::Kind::from_metadata(kind) != Some(wanted) {
            return Err(invalid(format!(
                "object kind mismatch: this call is for {}s, {KIND_KEY} says `{}`",
                wanted,
                shorten(kind)
            )));
        }
        let given = match metadata.get(NAME_KEY) {
            None => None,
            Some(_) => Some(single(metadata, NAME_KEY)?),
        };
        let name = identity::object_name(&user, prefix, given).map_err(invalid)?;
        if namespace != self.config.namespace {
            return Err(permission_denied(format!(
                "namespace mismatch: `{}` is not served here, only `{}`",
                shorten(namespace),
                self.config.namespace
            )));
        }
        Ok((user, name))
    }

    fn authorize(&self, user: &str, subject: &identity::Subject, username: Option<&str>) -> Result<(), Status> {
        if identity::may_act_as(user, &self.config.internal_prefix, subject, username) {
            return Ok(());
        }
        Err(permission_denied(format!(
            "the token does not belong to {} {}/{}; it may be of an object that was deleted and made again",
            subject.kind, self.config.namespace, subject.name
        )))
    }

    /// Reads an object that the shared watch has not brought yet.
    async fn read<K: jumpstarter_store::StoredKind>(&self, kind: Kind, name: &str) -> Result<K, Status> {
        let key = Key::new(kind, &self.config.namespace, name);
        let object = self.store.get(&key).await.map_err(|error| status::store(&error))?;
        let missing = || {
            let what = kind.name().to_lowercase();
            status::status(Code::NotFound, format!("{what} {}/{name}: not found", self.config.namespace))
        };
        object.ok_or_else(missing)?.decode().map_err(|error| status::status(Code::Internal, error.to_string()))
    }
}

/// The one value of a metadata key.
fn single<'a>(metadata: &'a MetadataMap, key: &'static str) -> Result<&'a str, Status> {
    let mut values = metadata.get_all(key).iter();
    let value = values.next().ok_or_else(|| invalid(format!("missing metadata: {key}")))?;
    if values.next().is_some() {
        return Err(invalid(format!("multiple metadata: {key}")));
    }
    value.to_str().map_err(|_| invalid(format!("metadata {key} is not plain text")))
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
