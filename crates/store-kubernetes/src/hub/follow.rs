//! The task of a hub: lists once, watches for ever, lists again when it must.

use std::{sync::Arc, time::Duration};

use jumpstarter_store::{Kind, ListOptions, StoreError};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Hub,
    feed::{Feed, Told},
};
use crate::{
    KubernetesOptions,
    api::{Api, pause_after},
    backoff::Backoff,
    decode::Reporter,
    error::Failure,
    list,
};

/// Longest pause between two attempts to reach the API server.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long upstream refuses a watch until its readers are told: a server that starts may refuse for a moment.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Watches in a row that told nothing and failed, after which a list is to show where we are.
const FRUITLESS: u32 = 5;

/// Why an upstream watch is over.
enum Over {
    /// The server ended it in time.
    Ended,
    /// Neither event nor bookmark for long.
    Silent,
    /// An own write did not come back.
    NoEcho,
    /// The version is no longer known, or is of another history.
    Gone,
    /// It could not be opened, or broke.
    Failed(Failure),
}

impl Over {
    fn reason(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::NoEcho => "no_echo",
            Self::Gone => "gone",
            Self::Failed(failure) => failure.outcome(),
        }
    }
}

/// A time without a watch: one warning for all of it, and a word when it is over.
#[derive(Default)]
struct Outage(Option<Instant>);

impl Outage {
    fn note(&mut self, kind: Kind, error: &StoreError) {
        if self.0.is_none() {
            self.0 = Some(Instant::now());
            tracing::warn!(%kind, %error, "cannot watch, trying again until it works");
        } else {
            tracing::debug!(%kind, %error, "still cannot watch");
        }
    }

    fn end(&mut self, kind: Kind) {
        if let Some(begun) = self.0.take() {
            tracing::info!(%kind, seconds = begun.elapsed().as_secs_f32(), "watching again");
        }
    }
}

/// Tells readers that nobody fills the hub any more, however its task came to end.
struct Closing(Arc<Hub>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}

impl Hub {
    /// Fills the hub until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>, api: Arc<Api>, reporter: Reporter, options: KubernetesOptions) {
        let closing = Closing(self);
        let hub = &*closing.0;
        let mut backoff = Backoff::new(Duration::from_millis(50), LONGEST_PAUSE);
        let mut must_list = true;
        let mut fruitless = 0;
        let mut refused_since = None;
        let mut outage = Outage::default();
        loop {
            if must_list {
                match list::list(&api, &reporter, hub.kind(), ListOptions::default(), options.list_timeout).await {
                    Ok(list) => {
                        hub.listed(list);
                        must_list = false;
                        fruitless = 0;
                    }
                    Err(error) => {
                        let pause = backoff.pause();
                        outage.note(hub.kind(), &error);
                        hub.failing(error);
                        sleep(pause).await;
                        continue;
                    }
                }
            }
            let before = hub.seen();
            let opened = Instant::now();
            let over = match Feed::open(&api, hub.kind(), before, options.watch_timeout).await {
                Ok(feed) => {
                    outage.end(hub.kind());
                    hub.accepted();
                    hub.follow(feed, &api, &reporter, &options).await
                }
                Err(failure) if failure.is_gone() => Over::Gone,
                Err(failure) => Over::Failed(failure),
            };
            let progressed = hub.seen() != before;
            if progressed || opened.elapsed() > LONGEST_PAUSE {
                backoff.reset();
            }
            if !matches!(&over, Over::Failed(failure) if failure.is_lasting()) {
                refused_since = None;
            }
            api.metrics.watch_restart(hub.kind(), over.reason());
            let pause = match &over {
                Over::Ended if progressed => Duration::ZERO,
                Over::Ended => backoff.pause(),
                Over::Silent => {
                    // Whatever swallows events may swallow those of the next watch too.
                    tracing::debug!(kind = %hub.kind(), "nothing heard, listing and watching anew");
                    Duration::ZERO
                }
                Over::NoEcho => {
                    tracing::warn!(kind = %hub.kind(), "an own write did not come back, watching anew");
                    hub.change(super::state::State::forget_own);
                    backoff.pause()
                }
                Over::Gone => {
                    tracing::info!(kind = %hub.kind(), version = before, "history is over, listing again");
                    must_list = !hub.change(super::state::State::give_up_the_past);
                    backoff.pause()
                }
                Over::Failed(failure) => {
                    let pause = pause_after(failure, &mut backoff);
                    let error = failure.clone().into_store(&api.call("watch", hub.kind()), None);
                    outage.note(hub.kind(), &error);
                    if failure.is_lasting() && refused_since.get_or_insert(opened).elapsed() >= REFUSED_FOR {
                        hub.refused(error);
                    }
                    pause
                }
            };
            if progressed {
                fruitless = 0;
            } else if matches!(over, Over::Failed(_)) {
                fruitless += 1;
                must_list = fruitless % FRUITLESS == 0;
            }
            must_list |= matches!(over, Over::Silent);
            sleep(pause).await;
        }
    }

    /// One upstream watch, from its opening to its end.
    ///
    /// # Cancel safety
    /// Cancel safe: what was told is in the hub.
    async fn follow(&self, mut feed: Feed, api: &Api, reporter: &Reporter, options: &KubernetesOptions) -> Over {
        let mut heard = Instant::now();
        loop {
            let silent_at = heard + options.watch_idle;
            // Before the look at what is due, so that what is announced after it wakes us.
            let announced = self.announced();
            let echo_at = self.echo_due(options.echo_timeout);
            let told = tokio::select! {
                // `next` and `notified` are cancel safe; sleeps keep no state.
                told = feed.next() => told,
                () = announced => continue,
                () = sleep_until(silent_at) => return Over::Silent,
                () = sleep_until(echo_at.unwrap_or(silent_at)), if echo_at.is_some() => {
                    // It may have come in the meantime.
                    if self.echo_due(options.echo_timeout).is_some_and(|due| due <= Instant::now()) {
                        return Over::NoEcho;
                    }
                    continue;
                }
            };
            heard = Instant::now();
            let follows = match told {
                Ok(Told::Event(event, bytes)) => {
                    api.metrics.watch_event(self.kind());
                    self.change(|state| state.event(event, bytes))
                }
                Ok(Told::Undecodable(found)) => {
                    reporter.report(&found);
                    found.version.is_none_or(|version| self.change(|state| state.progress(version.0)))
                }
                Ok(Told::Progress(version)) => self.change(|state| state.progress(version)),
                Ok(Told::Gone) => return Over::Gone,
                Ok(Told::End) => return Over::Ended,
                Err(failure) => return Over::Failed(failure),
            };
            if !follows {
                // A version before one that we have seen: the cluster has another history now.
                return Over::Gone;
            }
        }
    }

    fn failing(&self, error: StoreError) {
        self.change(|state| {
            if !matches!(state.phase, super::state::Phase::Live) {
                state.phase = super::state::Phase::Failing(error);
            }
        });
    }

    fn refused(&self, error: StoreError) {
        self.change(|state| state.refusal = Some(error));
    }

    fn accepted(&self) {
        self.change(|state| state.refusal = None);
    }
}
