use std::{collections::BTreeMap, sync::Mutex};

use jumpstarter_store::{
    Key, Write,
    embedded::{EmbeddedOptions, EmbeddedStore},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const ROUTER: &str = "default: {endpoint: 'r.example.com:443'}";

#[derive(Default)]
struct Told(Mutex<Vec<ObjectEvent>>);

impl EventRecorder for Told {
    fn record(&self, event: ObjectEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    fn reasons(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|event| event.reason).collect()
    }

    fn last(&self) -> String {
        self.0.lock().unwrap().last().map(|event| event.message.clone()).unwrap_or_default()
    }
}

fn map(config: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(CONFIG_MAP.into()), namespace: Some("lab".into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("config".into(), config.into()), ("router".into(), ROUTER.into())])),
        ..ConfigMap::default()
    }
}

struct Fixture {
    store: Arc<EmbeddedStore>,
    live: Live,
    told: Arc<Told>,
    metrics: ReloadMetrics,
    stop: CancellationToken,
    task: tokio::task::JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).unwrap());
        let started = ClusterConfig::from_config_map(&map(config)).unwrap();
        let live = Live::new(changeable(&started));
        let told = Arc::new(Told::default());
        let metrics = ReloadMetrics::register(&mut Registry::default());
        let stop = CancellationToken::new();
        store.transact(vec![Write::Create(Object::from_resource(&map(config)))]).await.unwrap();
        let events: Arc<dyn EventRecorder> = Arc::<Told>::clone(&told);
        let reload =
            Reload::new(Arc::<EmbeddedStore>::clone(&store), "lab", events, live.clone(), metrics.clone(), started);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(reload.run(stop.clone()));
        Self { store, live, told, metrics, stop, task, _dir: dir }
    }

    async fn write(&self, config: &str) {
        self.store.transact(vec![Write::Update(Object::from_resource(&map(config)))]).await.unwrap();
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        assert!(waited.is_ok(), "{what}: {:?}, {:?}", self.live, self.told.0.lock().unwrap());
    }

    async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task.join_next()).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_good_change_takes_effect_and_is_told() {
    let fixture = Fixture::start("leasePolicy: {maxTags: 3}").await;
    fixture
        .write("leasePolicy: {maxTags: 5}\nhiddenLabels: {keys: [a]}\nauthentication: {internal: {tokenLifetime: 1h}}")
        .await;
    fixture.until("applied", |f| f.live.get().max_tags == 5).await;
    let now = fixture.live.get();
    assert_eq!(now.hidden_labels, ["a"]);
    assert_eq!(now.token_lifetime, Some(Duration::from_hours(1)));
    assert_eq!(now.routers[0].endpoint, "r.example.com:443");
    fixture.until("told", |f| f.told.reasons() == ["ConfigurationApplied"]).await;
    assert_eq!(
        fixture.told.last(),
        "in use now: authentication.internal.tokenLifetime, leasePolicy.maxTags, hiddenLabels.keys"
    );
    assert_eq!((fixture.metrics.applied.get(), fixture.metrics.valid.get()), (1, 1));
    fixture.stop().await;
}

#[tokio::test]
async fn a_bad_change_leaves_what_is_and_names_the_key() {
    let fixture = Fixture::start("leasePolicy: {maxTags: 3}").await;
    fixture.write("leasePolicy: {maxTags: 5}\ncolour: blue").await;
    fixture.until("told", |f| f.told.reasons() == ["ConfigurationRejected"]).await;
    assert!(fixture.told.last().contains("`colour`: unknown key"), "{}", fixture.told.last());
    fixture.until("counted", |f| f.metrics.rejected.get() == 1 && f.metrics.valid.get() == 0).await;
    assert_eq!(fixture.live.get().max_tags, 3);
    // Back to what it was.
    fixture.write("leasePolicy: {maxTags: 3}").await;
    fixture.until("valid", |f| f.metrics.valid.get() == 1).await;
    assert_eq!(fixture.told.reasons().len(), 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_config_map_leaves_what_is() {
    let fixture = Fixture::start("leasePolicy: {maxTags: 3}").await;
    // The first look must be over, or the deletion is none.
    fixture.write("leasePolicy: {maxTags: 4}").await;
    fixture.until("applied", |f| f.live.get().max_tags == 4).await;
    let key = Key::new(Kind::ConfigMap, "lab", CONFIG_MAP);
    fixture.store.transact(vec![Write::Delete(key, None)]).await.unwrap();
    fixture.until("told", |f| f.told.reasons().last() == Some(&"ConfigurationRejected")).await;
    assert!(fixture.told.last().contains("was deleted"), "{}", fixture.told.last());
    assert_eq!(fixture.live.get().max_tags, 4);
    let again = Object::from_resource(&map("leasePolicy: {maxTags: 6}"));
    fixture.store.transact(vec![Write::Create(again)]).await.unwrap();
    fixture.until("applied", |f| f.live.get().max_tags == 6).await;
    fixture.stop().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_said_once() {
    let fixture = Fixture::start("").await;
    fixture.write("grpc: {keepalive: {minTime: 5s}}\nleasePolicy: {maxTags: 4}").await;
    fixture.until("told", |f| f.told.reasons() == ["ConfigurationApplied", "ConfigurationNeedsRestart"]).await;
    assert_eq!(fixture.told.last(), "restart the controller for changes of: grpc.keepalive.minTime");
    assert_eq!(fixture.metrics.restart_needed.get(), 1);
    fixture.write("grpc: {keepalive: {minTime: 5s}}\nleasePolicy: {maxTags: 5}").await;
    fixture.until("applied", |f| f.live.get().max_tags == 5).await;
    fixture.write("leasePolicy: {maxTags: 6}").await;
    fixture.until("nothing waits", |f| f.metrics.restart_needed.get() == 0).await;
    let restarts = fixture.told.reasons().into_iter().filter(|reason| *reason == "ConfigurationNeedsRestart").count();
    assert_eq!(restarts, 1, "{:?}", fixture.told.reasons());
    fixture.stop().await;
}

#[tokio::test]
async fn config_maps_of_others_do_not_matter() {
    let fixture = Fixture::start("leasePolicy: {maxTags: 3}").await;
    let mut other = map("leasePolicy: {maxTags: 9}\nnonsense: 1");
    other.metadata.name = Some("jumpstarter-service-ca-cert".into());
    fixture.store.transact(vec![Write::Create(Object::from_resource(&other))]).await.unwrap();
    fixture.write("leasePolicy: {maxTags: 4}").await;
    fixture.until("applied", |f| f.live.get().max_tags == 4).await;
    assert_eq!(fixture.told.reasons(), ["ConfigurationApplied"]);
    fixture.stop().await;
}

#[test]
fn keepalive_settings_become_limits() {
    let usual = ServeLimits::default();
    let grace = Duration::from_secs(3);
    let limits = serve_limits(&Keepalive::default(), grace);
    assert_eq!(
        (limits.keepalive_interval, limits.keepalive_timeout),
        (usual.keepalive_interval, usual.keepalive_timeout)
    );
    assert_eq!((limits.max_connection_age, limits.max_connection_idle, limits.drain_grace), (None, None, grace));
    let keepalive = Keepalive {
        interval: Some(Duration::from_millis(1)),
        timeout: Some(Duration::from_mins(3)),
        max_connection_idle: Some(Duration::from_secs(7)),
        max_connection_age: Some(Duration::from_secs(8)),
        max_connection_age_grace: Some(Duration::from_secs(9)),
        ..Keepalive::default()
    };
    let limits = serve_limits(&keepalive, grace);
    assert_eq!((limits.keepalive_interval, limits.keepalive_timeout), (Duration::from_secs(1), Duration::from_mins(3)));
    assert_eq!(limits.max_connection_idle, keepalive.max_connection_idle);
    assert_eq!(limits.max_connection_age, keepalive.max_connection_age);
    assert_eq!(limits.max_connection_age_grace, keepalive.max_connection_age_grace);
}
