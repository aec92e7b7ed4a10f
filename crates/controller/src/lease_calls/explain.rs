//! Why a lease waits and until when, for its owner and for anybody else in the lab: who waits where is no secret.

use std::sync::Arc;

use jumpstarter_model::{Lease, Selector, condition, lease_time::check_duration};
use jumpstarter_protocol::client::v1 as client;
use jumpstarter_scheduler::{Forecast, LeaseStanding, WhatIf, Why};
use tonic::Status;

use super::{LeaseCalls, is_decided};
use crate::{
    convert,
    status::{self, invalid},
};

impl LeaseCalls {
    /// Answers `ExplainLease`.
    pub(crate) async fn explain(
        &self,
        name: &str,
        asked: &client::ExplainLeaseRequest,
    ) -> Result<client::ExplainLeaseResponse, Status> {
        let what_if = what_if(asked)?;
        let lease = self.world.lease(name).ok_or_else(|| status::not_found("lease", name))?;
        let why = if is_decided(&lease) || lease.assigned_exporter().is_some() {
            None
        } else {
            self.lab.why(name.to_owned(), what_if).await
        };
        // What was asked of the core took a moment: an answer about a lease that waits must not show one that is over.
        let lease = match &why {
            Some(_) => lease,
            None => self.world.lease(name).unwrap_or(lease),
        };
        Ok(self.answer(&lease, why))
    }

    fn answer(&self, lease: &Arc<Lease>, why: Option<Why>) -> client::ExplainLeaseResponse {
        let now = self.config.clock.now();
        let shown = |queue| Some(convert::lease(&self.config, lease, queue, now));
        let Some(why) = why else {
            let (standing, reason, message) = decided(lease);
            return client::ExplainLeaseResponse {
                lease: shown(None),
                standing: standing.to_owned(),
                reason,
                message,
                ..Default::default()
            };
        };
        let namespace = &self.config.namespace;
        client::ExplainLeaseResponse {
            lease: shown(Some(&why.explanation)),
            standing: standing(why.explanation.standing).to_owned(),
            reason: why.explanation.reason,
            message: why.explanation.message,
            ahead: why
                .ahead
                .into_iter()
                .map(|one| client::LeaseAhead {
                    lease: format!("namespaces/{namespace}/leases/{}", one.lease),
                    client: format!("namespaces/{namespace}/clients/{}", one.client),
                    priority: one.priority,
                    create_time: Some(convert::timestamp(one.created)),
                })
                .collect(),
            start: why.start.map(forecast),
            alternatives: why
                .alternatives
                .into_iter()
                .map(|one| client::LeaseAlternative {
                    selector: one.selector,
                    duration: Some(convert::duration(one.duration)),
                    asked: one.asked,
                    devices: count(one.devices),
                    position: count(one.position),
                    start: one.start.map(forecast),
                })
                .collect(),
        }
    }
}

fn what_if(asked: &client::ExplainLeaseRequest) -> Result<WhatIf, Status> {
    let selector = asked.selector.as_deref().map(Selector::parse).transpose().map_err(invalid)?;
    if selector.as_ref().is_some_and(Selector::is_empty) {
        return Err(invalid("the selector of the question is empty: name at least one label, or leave it out"));
    }
    let duration = match asked.duration {
        None => None,
        Some(span) => {
            let duration = convert::from_duration(span).ok_or_else(|| invalid("duration is out of range"))?;
            check_duration(duration).map_err(invalid)?;
            Some(duration)
        }
    };
    Ok(WhatIf { selector, duration })
}

/// Standing, reason and message of a lease that does not wait.
fn decided(lease: &Lease) -> (&'static str, String, String) {
    let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let last = conditions.last();
    let (reason, message) = last.map(|last| (last.reason.clone(), last.message.clone())).unwrap_or_default();
    if lease.is_ended() {
        ("Ended", reason, message)
    } else if condition::is_true(conditions, "Ready") {
        ("Ready", reason, message)
    } else if lease.assigned_exporter().is_some() {
        ("Preparing", reason, message)
    } else {
        // Decided a moment ago, and not yet written.
        ("Waiting", reason, message)
    }
}

fn standing(standing: LeaseStanding) -> &'static str {
    match standing {
        LeaseStanding::Scheduled => "Scheduled",
        LeaseStanding::Waiting => "Waiting",
        LeaseStanding::Preparing => "Preparing",
        LeaseStanding::Ready => "Ready",
    }
}

fn forecast(from: Forecast) -> client::StartForecast {
    client::StartForecast {
        earliest: Some(convert::timestamp(from.earliest)),
        likely: Some(convert::timestamp(from.likely)),
        latest: from.latest.map(convert::timestamp),
        learned_from: count(from.learned_from),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
