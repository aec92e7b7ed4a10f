//! Follows the settings file while the service runs: what may change at once does, the rest is said to need a restart,
//! and what is wrong changes nothing.

use std::{io, path::Path, time::Duration};

use jumpstarter_controller::{Changeable, Live, RouterTarget};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ServeArgs, Settings};

/// How often the file is looked at; its content counts, whatever its time stamps say.
const LOOK: Duration = Duration::from_secs(2);

impl Settings {
    /// The part that may change at once. `builtin` is the router of this process.
    pub(crate) fn changeable(&self, builtin: &RouterTarget) -> Changeable {
        let mut routers = self.routers.clone();
        if self.builtin_router {
            // Whoever names it with labels of its own means this one.
            match routers.iter().position(|router| router.endpoint == builtin.endpoint) {
                Some(named) => routers.swap(0, named),
                None => routers.insert(0, builtin.clone()),
            }
        }
        Changeable {
            routers,
            max_tags: self.max_tags,
            hidden_labels: self.hidden_labels.clone(),
            deprecated_labels: self.deprecated_labels.clone(),
            token_lifetime: Some(self.token_lifetime),
            telemetry: Vec::new(),
        }
    }

    /// Settings that differ and take effect only when the service starts again.
    fn needing_restart(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            data_dir,
            listen,
            advertise,
            metrics_listen,
            namespace,
            certificate,
            routers: _,
            builtin_router: _,
            direct_paths,
            lease_retention,
            hook_limit,
            preemption_grace,
            queue,
            quarantine,
            turnaround,
            presence_grace,
            token_lifetime: _,
            drain,
            hidden_labels: _,
            deprecated_labels: _,
            max_tags: _,
        } = self;
        let compared = [
            ("dataDir", *data_dir == other.data_dir),
            ("listen", *listen == other.listen),
            ("advertise", *advertise == other.advertise),
            ("metricsListen", *metrics_listen == other.metrics_listen),
            ("namespace", *namespace == other.namespace),
            ("tlsCert, tlsKey or tlsCa", *certificate == other.certificate),
            ("leaseRetention", *lease_retention == other.lease_retention),
            ("hookLimit", *hook_limit == other.hook_limit),
            ("preemptionGrace", *preemption_grace == other.preemption_grace),
            ("longestWait, shareHalfLife or maxWaitingLeases", *queue == other.queue),
            (
                "quarantineShare, quarantineTime, quarantinePoolLabel or noQuarantineChecks",
                *quarantine == other.quarantine,
            ),
            ("turnaround", *turnaround == other.turnaround),
            ("presenceGrace", *presence_grace == other.presence_grace),
            ("noDirect", *direct_paths == other.direct_paths),
            ("drain", *drain == other.drain),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

/// Takes changed settings over.
pub(crate) struct Follower {
    args: ServeArgs,
    started: Settings,
    builtin: RouterTarget,
    live: Live,
    seen: Option<Vec<u8>>,
    waiting: Vec<&'static str>,
    hangup: Signal,
}

impl Follower {
    /// Follows the file of `args`; the service runs with `started`. From now on SIGHUP ends nothing, but makes this look
    /// at once.
    ///
    /// # Errors
    /// When the signal cannot be listened for.
    pub(crate) fn new(args: ServeArgs, started: Settings, builtin: RouterTarget, live: Live) -> io::Result<Self> {
        let seen = args.config.as_deref().and_then(|path| std::fs::read(path).ok());
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { args, started, builtin, live, seen, waiting: Vec::new(), hangup })
    }

    /// Follows until `stop` fires.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                // All are cancel safe.
                () = stop.cancelled() => return,
                _ = self.hangup.recv() => true,
                () = tokio::time::sleep(LOOK), if self.args.config.is_some() => false,
            };
            match self.args.config.clone() {
                Some(path) => self.look(&path, asked).await,
                None => info!("SIGHUP: there is no settings file to read again (--config)"),
            }
        }
    }

    async fn look(&mut self, path: &Path, asked: bool) {
        let content = tokio::fs::read(path).await.ok();
        if content == self.seen && !asked {
            return;
        }
        // What was looked at is not looked at again, also when it is wrong.
        self.seen = content;
        match self.args.clone().resolve() {
            Ok(settings) => self.apply(&settings),
            Err(error) => error!(
                file = %path.display(),
                error = format!("{error:#}"),
                "the changed settings are not used, those before stay"
            ),
        }
    }

    fn apply(&mut self, settings: &Settings) {
        let new = settings.changeable(&self.builtin);
        let old = self.live.get();
        if *old == new {
            info!("the settings file says nothing new that takes effect at once");
        } else {
            for router in new.routers.iter().filter(|router| !old.routers.contains(router)) {
                info!(router = router.endpoint, labels = ?router.labels, "a router was added or changed");
            }
            let gone = |router: &&RouterTarget| new.routers.iter().all(|other| other.endpoint != router.endpoint);
            for router in old.routers.iter().filter(gone) {
                info!(router = router.endpoint, "a router was removed: no more dials are sent there");
            }
            self.live.set(new);
            info!("changed settings are in use");
        }
        let waiting = self.started.needing_restart(settings);
        if !waiting.is_empty() && waiting != self.waiting {
            warn!(settings = waiting.join(", "), "these changes take effect only when the service is restarted");
        }
        self.waiting = waiting;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;
    use crate::settings::Written;

    fn follower(path: &Path) -> Follower {
        let written = Written { data_dir: Some("d".into()), ..Written::default() };
        let args = ServeArgs { config: Some(PathBuf::from(path)), written };
        let started = args.clone().resolve().unwrap();
        let builtin = RouterTarget { endpoint: "here:8082".into(), labels: BTreeMap::new(), probe: true };
        let live = Live::new(started.changeable(&builtin));
        Follower::new(args, started, builtin, live).unwrap()
    }

    fn routers(follower: &Follower) -> Vec<String> {
        follower.live.get().routers.iter().map(|router| router.endpoint.clone()).collect()
    }

    #[tokio::test]
    async fn routers_come_and_go_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.yaml");
        std::fs::write(&path, "routers: ['r1:1']\n").unwrap();
        let mut follower = follower(&path);
        assert_eq!(routers(&follower), ["here:8082", "r1:1"]);
        let write = |text: &str| std::fs::write(&path, text).unwrap();

        write("routers: ['r1:1', 'r2:1,site=a']\nmaxTags: 3\ndrain: 9s\n");
        follower.look(&path, false).await;
        assert_eq!(routers(&follower), ["here:8082", "r1:1", "r2:1"]);
        assert_eq!(follower.live.get().max_tags, 3);
        assert_eq!(follower.waiting, ["drain"]);

        write("routers: [nowhere]\n");
        follower.look(&path, false).await;
        assert_eq!(routers(&follower), ["here:8082", "r1:1", "r2:1"], "what is wrong changes nothing");

        std::fs::remove_file(&path).unwrap();
        follower.look(&path, false).await;
        assert_eq!(routers(&follower).len(), 3, "nor does a file that is gone");

        write("routers: [{endpoint: 'here:8082', labels: {site: b}}, 'r2:1']\n");
        follower.look(&path, false).await;
        assert_eq!(routers(&follower), ["here:8082", "r2:1"]);
        assert_eq!(follower.live.get().routers[0].labels["site"], "b");
        assert!(follower.waiting.is_empty());

        write("routers: ['r2:1']\nnoBuiltinRouter: true\n");
        follower.look(&path, false).await;
        assert_eq!(routers(&follower), ["r2:1"]);
    }
}
