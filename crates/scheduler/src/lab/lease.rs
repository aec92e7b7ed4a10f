//! What the lab keeps of a live lease.

use jiff::SignedDuration;
use jumpstarter_model::{Lease, Selector, Timestamp, condition::lease as condition};

use super::{
    calendar::{Plan, Stay},
    group::Member,
    names::{Age, Name},
    times::{Times, later},
    want::{Kind, Request, WantId},
};
use crate::transition::{MAINTENANCE, MAINTENANCE_CHECK, MAINTENANCE_CLIENT, REQUEUE, reserved, successor_name};

/// One live lease.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the object")]
pub(crate) struct Entry {
    pub(crate) age: Age,
    pub(crate) client: Name,
    pub(crate) times: Times,
    pub(crate) release: bool,
    /// Whether it only shows whether its exporter works.
    pub(crate) is_check: bool,
    /// What it asks for, or why that makes no sense.
    pub(crate) request: Result<Request, String>,
    /// The exporter in `status.exporterRef`, as observed or assumed.
    pub(crate) exporter: Option<Name>,
    /// Actual begin.
    pub(crate) begin: Option<Timestamp>,
    /// Whether `Ready` is `True`.
    pub(crate) ready: bool,
    /// Whether it holds its exporter as spot.
    pub(crate) spot: bool,
    /// Priority of the rule that granted it.
    pub(crate) priority: i64,
    /// Since when it is told, as a holder of spot, that it is to make way.
    pub(crate) notice: Option<Timestamp>,
    /// Name of the lease that its owner wants in its stead should it be preempted.
    pub(crate) successor: Option<Name>,
    /// What it has reserved, as observed or assumed, while it has no exporter.
    pub(crate) plan: Option<Plan>,
    /// Reason of `Pending=True`.
    pub(crate) pending: Option<String>,
    /// The want in whose queue it stands.
    pub(crate) want: Option<WantId>,
    /// What it says of the group that it is in.
    pub(crate) group: Option<Box<Member>>,
    /// Its timer.
    pub(crate) wake: Option<Timestamp>,
}

impl Entry {
    /// What is seen in the object of a live lease.
    pub(crate) fn of(name: &Name, lease: &Lease) -> Self {
        let status = lease.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let exporter = lease.assigned_exporter().map(Name::from);
        let spot = exporter.is_some() && status.and_then(|status| status.spot_access) == Some(true);
        let requeue = lease.metadata.annotations.iter().flatten().any(|(key, value)| key == REQUEUE && value == "true");
        let holds = |type_: &str| conditions.iter().find(|found| found.type_ == type_ && found.status == "True");
        Self {
            age: Age {
                created: lease.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
                uid: lease.metadata.uid.as_deref().unwrap_or_default().into(),
                name: name.clone(),
            },
            client: lease.spec.client_ref.name.as_str().into(),
            times: Times::of(&lease.spec),
            release: lease.spec.release.unwrap_or(false),
            is_check: is_check(lease),
            request: request(lease),
            exporter,
            begin: status.and_then(|status| status.begin_time.as_ref()).map(|time| time.0),
            ready: holds("Ready").is_some(),
            spot,
            priority: status.and_then(|status| status.priority).unwrap_or_default(),
            notice: condition::noticed_at(conditions).filter(|_| spot),
            successor: requeue.then(|| successor_name(lease).into()),
            plan: exporter_of_plan(lease),
            pending: holds("Pending").map(|found| found.reason.clone()),
            want: None,
            group: Member::of(lease),
            wake: None,
        }
    }

    /// What it is among those that ask for the same.
    pub(crate) fn kind(&self) -> Kind {
        (self.client.clone(), self.times.span())
    }

    /// When it lets its exporter go, unless something happens; `grace` is what a notice leaves it.
    pub(crate) fn until(&self, grace: SignedDuration) -> Timestamp {
        let Some(begin) = self.begin else { return Timestamp::MAX };
        let end = self.times.end(begin);
        self.notice.map_or(end, |notice| end.min(later(notice, grace)))
    }

    /// Whether the lease was never told to wait, so that it may still be refused at once.
    pub(crate) fn is_fresh(&self) -> bool {
        let told = |reason: &str| !matches!(reason, condition::SCHEDULED | condition::GROUP_INCOMPLETE);
        !self.pending.as_deref().is_some_and(told)
    }
}

/// Whether a lease only shows whether its exporter works.
pub(crate) fn is_check(lease: &Lease) -> bool {
    let purpose = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(MAINTENANCE));
    purpose.is_some_and(|purpose| purpose == MAINTENANCE_CHECK) && lease.spec.client_ref.name == MAINTENANCE_CLIENT
}

/// What is written into a lease that has no exporter yet.
fn exporter_of_plan(lease: &Lease) -> Option<Plan> {
    if lease.assigned_exporter().is_some() {
        return None;
    }
    let (exporter, begin, end) = reserved(lease)?;
    Some(Plan { exporter: exporter.into(), stay: Stay { begin, end } })
}

fn request(lease: &Lease) -> Result<Request, String> {
    let selector = Selector::from_label_selector(&lease.spec.selector).map_err(|error| error.to_string())?;
    let pinned = lease.pinned_exporter().map(Name::from);
    if selector.is_empty() && pinned.is_none() {
        return Err(condition::SELECTOR_REQUIRED.to_owned());
    }
    let allow_disabled = pinned.is_some() && lease.spec.allow_disabled.unwrap_or(false);
    Ok(Request::new(selector, pinned, allow_disabled))
}
