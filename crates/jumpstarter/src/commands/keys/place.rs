//! Which service's keys: one on this machine, running or not, or one on Kubernetes.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use http::{Method, StatusCode};
use jiff::Timestamp;
use jumpstarter_auth::{KeyRing, RingError};
use jumpstarter_controller::keys::{self, KeysError};
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Object};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    commands::admin::{self, Answer},
    data_dir::{self, DataDir},
    settings,
};

/// Longest wait for one answer of the cluster.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a change is tried again that somebody else was faster with.
const ATTEMPTS: usize = 16;

/// Where the keys are.
#[derive(Args, Debug)]
pub(crate) struct PlaceArgs {
    /// Namespace of the service
    #[arg(short, long, global = true, default_value = "default")]
    namespace: String,
    /// Data directory of a service on this machine, instead of Kubernetes
    #[arg(long, global = true, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    data_dir: Option<PathBuf>,
    /// Kubeconfig file of the cluster that the service runs on
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
}

/// The keys of one service.
pub(super) struct Place {
    namespace: String,
    backend: Backend,
}

enum Backend {
    /// A service on this machine that does not run at present.
    Stopped(DataDir, EmbeddedStore),
    /// Somebody answers for the store.
    Remote(Remote),
}

enum Remote {
    /// A service that runs on this machine.
    Service(DataDir),
    Cluster(Box<Api<Secret>>),
}

impl PlaceArgs {
    /// `--data-dir`, else `--kubeconfig` and `--context`, else `JUMPSTARTER_DATA_DIR`, else the usual data directory
    /// if there is a service's store in it, else the usual kubeconfig.
    pub(super) async fn open(&self) -> anyhow::Result<Place> {
        let Self { namespace, data_dir, kubeconfig, context } = self;
        jumpstarter_model::name::validate_label("namespace", namespace)?;
        let asked_for_cluster = kubeconfig.is_some() || context.is_some();
        let from_environment = || std::env::var_os("JUMPSTARTER_DATA_DIR").filter(|dir| !dir.is_empty());
        let usual = || settings::default_data_dir().filter(|dir| dir.join("store.sqlite").exists());
        let directory = match data_dir {
            Some(directory) => Some(directory.clone()),
            None if asked_for_cluster => None,
            None => from_environment().map(PathBuf::from).or_else(usual),
        };
        let backend = match directory {
            Some(directory) => local(&directory).await?,
            None => Backend::Remote(Remote::Cluster(Box::new(self.cluster().await?))),
        };
        Ok(Place { namespace: namespace.clone(), backend })
    }

    async fn cluster(&self) -> anyhow::Result<Api<Secret>> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = async {
            match &self.kubeconfig {
                Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await,
                None => Config::from_kubeconfig(&options).await,
            }
        };
        let mut config = read.await.context(
            "read the kubeconfig; give --kubeconfig, or for a service on this machine --data-dir or JUMPSTARTER_DATA_DIR",
        )?;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        config.write_timeout = Some(DEADLINE);
        let client = kube::Client::try_from(config).context("use the kubeconfig")?;
        Ok(Api::namespaced(client, &self.namespace))
    }
}

async fn local(directory: &std::path::Path) -> anyhow::Result<Backend> {
    anyhow::ensure!(directory.is_dir(), "the data directory {} does not exist", directory.display());
    let data_dir = DataDir::new(directory);
    if tokio::net::UnixStream::connect(data_dir.admin_socket()).await.is_ok() {
        return Ok(Backend::Remote(Remote::Service(data_dir)));
    }
    let path = directory.to_owned();
    let open = move || EmbeddedStore::open(&path, EmbeddedOptions::default());
    let store = tokio::task::spawn_blocking(open).await?.context("open the store of the service")?;
    Ok(Backend::Stopped(data_dir, store))
}

impl Place {
    /// The keys as they are now. In a store that no service has used yet they are made.
    pub(super) async fn read(&self) -> anyhow::Result<KeyRing> {
        match &self.backend {
            Backend::Stopped(data_dir, store) => {
                let make = || data_dir::first_ring(data_dir, Timestamp::now());
                Ok(keys::load_or_create(store, &self.namespace, make).await?)
            }
            Backend::Remote(remote) => Ok(keys::decode(&remote.get(&self.namespace).await?)?),
        }
    }

    /// Makes the keys of a service that is yet to start for the first time, so that it finds them.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        match &self.backend {
            Backend::Stopped(..) => self.read().await.map(drop),
            Backend::Remote(Remote::Service(_)) => Ok(()),
            Backend::Remote(Remote::Cluster(api)) => {
                if api.get_opt(keys::SECRET_NAME).await.context("read the Secret of the keys")?.is_some() {
                    return Ok(());
                }
                let ring = KeyRing::generate(Timestamp::now())?;
                let secret: Secret = keys::encode(&ring, &self.namespace, None)?.decode()?;
                match api.create(&parameters(), &secret).await {
                    Ok(_) => Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    Err(error) => Err(error).context("make the Secret of the keys"),
                }
            }
        }
    }

    /// Changes the keys; again on those of whoever changed them meanwhile.
    pub(super) async fn edit(
        &self,
        mut change: impl FnMut(&mut KeyRing) -> Result<(), RingError> + Send,
    ) -> anyhow::Result<KeyRing> {
        let remote = match &self.backend {
            Backend::Stopped(_, store) => {
                self.read().await?;
                return Ok(keys::edit(store, &self.namespace, change).await?);
            }
            Backend::Remote(remote) => remote,
        };
        for _ in 0..ATTEMPTS {
            let object = remote.get(&self.namespace).await?;
            let mut ring = keys::decode(&object)?;
            change(&mut ring)?;
            if remote.put(&keys::encode(&ring, &self.namespace, Some(&object))?).await? {
                return Ok(ring);
            }
        }
        Err(KeysError::Contended(keys::secret_key(&self.namespace)).into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Stopped(data_dir, _) => write!(f, "{} (no service runs)", data_dir.path().display()),
            Backend::Remote(Remote::Service(data_dir)) => write!(f, "the service in {}", data_dir.path().display()),
            Backend::Remote(Remote::Cluster(_)) => write!(f, "namespace {} of the cluster", self.namespace),
        }
    }
}

impl Remote {
    async fn get(&self, namespace: &str) -> anyhow::Result<Object> {
        let missing = || KeysError::Missing(keys::secret_key(namespace));
        match self {
            Self::Service(data_dir) => {
                let answer = ask(data_dir, Method::GET, namespace, Vec::new()).await?;
                match answer.status {
                    StatusCode::OK => Ok(Object::from_value(serde_json::from_slice(&answer.body)?)?),
                    // A service that runs has keys, so this is another namespace than the one that it serves.
                    StatusCode::NOT_FOUND => bail!("{}; name the service's namespace with --namespace", missing()),
                    _ => bail!("read the keys: {}", answer.message()),
                }
            }
            Self::Cluster(api) => {
                let secret = api.get_opt(keys::SECRET_NAME).await.context("read the Secret of the keys")?;
                Ok(Object::from_resource(&secret.ok_or_else(missing)?))
            }
        }
    }

    /// Writes the next state; false when somebody else was faster.
    async fn put(&self, object: &Object) -> anyhow::Result<bool> {
        match self {
            Self::Service(data_dir) => {
                let body = serde_json::to_vec(object.value())?;
                let answer = ask(data_dir, Method::PUT, object.namespace(), body).await?;
                match answer.status {
                    StatusCode::OK => Ok(true),
                    StatusCode::CONFLICT => Ok(false),
                    _ => bail!("write the keys: {}", answer.message()),
                }
            }
            Self::Cluster(api) => {
                let secret: Secret = object.decode()?;
                match api.replace(keys::SECRET_NAME, &parameters(), &secret).await {
                    Ok(_) => Ok(true),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                    Err(error) => Err(error).context("write the Secret of the keys"),
                }
            }
        }
    }
}

/// Writes as the service does, so that `kubectl` sees one manager of the Secret.
fn parameters() -> PostParams {
    PostParams { field_manager: Some("jumpstarter-controller".to_owned()), ..PostParams::default() }
}

async fn ask(data_dir: &DataDir, method: Method, namespace: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{}", keys::SECRET_NAME);
    let answer = admin::request(&data_dir.admin_socket(), method, &path, body).await?;
    answer.context("the service has just stopped: try again")
}
