//! What counts as whose failure.

use jiff::SignedDuration;
use jumpstarter_model::{
    Exporter, ExporterHealth, ExporterPhase, ExporterStatus, Lease, LeaseFailure, SessionHealth, Timestamp,
    condition::{exporter as exporter_condition, is_true, lease as lease_condition},
    lease_time::whole_second,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{KEPT_FAILURES, WORST, better, tidy, worse};

/// An exporter that idles on for so long after its lease began, and reports sessions at other times, failed to begin one.
pub(crate) const NEVER_READY_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Most bytes of what an exporter said with a failure.
const MAX_MESSAGE: usize = 200;

/// Why a lease failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    BeforeLeaseHook,
    AfterLeaseHook,
    NeverReady,
    ConnectionLost,
}

impl Failure {
    const fn reason(self) -> &'static str {
        match self {
            Self::BeforeLeaseHook => "BeforeLeaseHookFailed",
            Self::AfterLeaseHook => "AfterLeaseHookFailed",
            Self::NeverReady => "NeverReady",
            Self::ConnectionLost => "ConnectionLost",
        }
    }
}

/// Notes a report of the exporter, in the write that stores it: `status` holds it already, `was` is the phase before.
pub fn reported(status: &mut ExporterStatus, was: Option<ExporterPhase>, now: Timestamp) {
    let Some(phase) = status.exporter_status.filter(|phase| was != Some(*phase)) else { return };
    let claim = claim(status).map(str::to_owned);
    let message = status.status_message.clone().unwrap_or_default();
    match (phase, claim) {
        (ExporterPhase::LeaseReady, Some(lease)) => {
            let health = status.health.get_or_insert_default();
            health.reports_sessions = true;
            session(health, &lease).ready = true;
        }
        // Without a lease its owner has left while the hook was running.
        (ExporterPhase::BeforeLeaseHookFailed, Some(lease)) => {
            fail(status, &lease, Failure::BeforeLeaseHook, &message, now);
        }
        (ExporterPhase::AfterLeaseHookFailed, claim) => {
            let last = status.health.as_ref().and_then(|health| health.session.as_ref());
            let lease = claim.or_else(|| last.map(|session| session.lease.clone())).unwrap_or_default();
            fail(status, &lease, Failure::AfterLeaseHook, &message, now);
        }
        (ExporterPhase::Available, None) => {
            let ending = status.health.as_ref().and_then(|health| health.session.as_ref());
            if let Some(lease) = ending.filter(|session| session.ending).map(|session| session.lease.clone()) {
                succeed(status, &lease);
            }
        }
        _ => {}
    }
}

/// Notes that the connection was lost, in the write that stores it. Nothing of it counts where nobody has a lease, nor
/// where the exporter said good-bye: then do not call this.
pub fn connection_lost(status: &mut ExporterStatus, now: Timestamp) {
    if let Some(lease) = claim(status).map(str::to_owned) {
        fail(status, &lease, Failure::ConnectionLost, "", now);
    }
}

/// Notes that a lease ends, in the write that takes the exporter back from it. `lease` is as it was before.
pub fn lease_ended(exporter: &mut Exporter, lease: &Lease, now: Timestamp) {
    let Some(status) = &mut exporter.status else { return };
    let Some(name) = lease.metadata.name.as_deref() else { return };
    let session = status.health.as_ref().and_then(|health| health.session.as_ref());
    let session = session.filter(|session| session.lease == name).cloned().unwrap_or_default();
    if session.failed {
        return;
    }
    let silent = is_silent(status);
    let was_ready = lease.status.as_ref().is_some_and(|status| is_true(&status.conditions, lease_condition::READY));
    let reports = status.health.as_ref().is_some_and(|health| health.reports_sessions);
    if !is_true(&status.conditions, exporter_condition::ONLINE) {
        forget_session(status);
    } else if session.ready || (silent && was_ready) {
        if silent || status.exporter_status == Some(ExporterPhase::Available) {
            succeed(status, name);
        } else {
            // Its tear-down can still fail.
            self::session(status.health.get_or_insert_default(), name).ending = true;
        }
    } else if reports && was_ready && failed_to_begin(status, lease, now) {
        fail(status, name, Failure::NeverReady, "", now);
    } else {
        forget_session(status);
    }
}

/// Whether the exporter had its time to begin a session and did not. The lease is called ready all the same then, or its
/// owner would wait for ever.
fn failed_to_begin(status: &ExporterStatus, lease: &Lease, now: Timestamp) -> bool {
    let begin = lease.status.as_ref().and_then(|status| status.begin_time.as_ref());
    match status.exporter_status {
        // The limit of the hook is over, since the lease was called ready.
        Some(ExporterPhase::BeforeLeaseHook) => true,
        Some(ExporterPhase::Available) => begin.is_some_and(|begin| now.duration_since(begin.0) >= NEVER_READY_AFTER),
        _ => false,
    }
}

/// Whether the exporter never says what it does.
fn is_silent(status: &ExporterStatus) -> bool {
    matches!(status.exporter_status, None | Some(ExporterPhase::Unspecified))
}

/// Whether the check of an exporter by this lease can be told to have passed or not while it runs.
pub(crate) fn check_verdict(phase: ExporterPhase, online: bool, ready: bool) -> Option<bool> {
    match phase {
        _ if !online => None,
        ExporterPhase::LeaseReady => Some(true),
        // That it can be had is all that can be known of it.
        ExporterPhase::Unspecified => ready.then_some(true),
        ExporterPhase::BeforeLeaseHookFailed => Some(false),
        _ => None,
    }
}

fn claim(status: &ExporterStatus) -> Option<&str> {
    status.lease_ref.as_ref().map(|claim| claim.name.as_str()).filter(|name| !name.is_empty())
}

/// What is noted of a lease.
fn session<'a>(health: &'a mut ExporterHealth, lease: &str) -> &'a mut SessionHealth {
    if health.session.as_ref().is_none_or(|session| session.lease != lease) {
        health.session = Some(SessionHealth { lease: lease.to_owned(), ..SessionHealth::default() });
    }
    health.session.get_or_insert_default()
}

fn forget_session(status: &mut ExporterStatus) {
    if let Some(health) = &mut status.health {
        health.session = None;
    }
    status.health = tidy(status.health.take());
}

/// Counts a failed lease, once.
fn fail(status: &mut ExporterStatus, lease: &str, failure: Failure, message: &str, now: Timestamp) {
    let health = status.health.get_or_insert_default();
    let session = session(health, lease);
    if session.failed {
        return;
    }
    (session.failed, session.ending) = (true, false);
    health.score = worse(health.score);
    if health.failures.len() >= KEPT_FAILURES {
        health.failures.drain(..=health.failures.len() - KEPT_FAILURES);
    }
    health.failures.push(LeaseFailure {
        lease: lease.to_owned(),
        reason: failure.reason().to_owned(),
        time: Some(Time(whole_second(now))),
        message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
    });
    if let Some(check) = health.check.as_mut().filter(|check| check.lease == lease) {
        check.passed = Some(false);
        health.score = WORST;
    }
}

/// Counts a lease that went well.
fn succeed(status: &mut ExporterStatus, lease: &str) {
    let Some(health) = &mut status.health else { return };
    health.session = None;
    health.score = better(health.score);
    if let Some(check) = health.check.as_mut().filter(|check| check.lease == lease) {
        check.passed = Some(true);
        health.score = 0;
    }
    if health.score == 0 {
        health.failures.clear();
    }
    status.health = tidy(status.health.take());
}
