//! What the lab keeps of a live lease.

use jumpstarter_model::{Lease, Selector, Timestamp, condition::lease as condition};

use super::{
    names::{Age, Name},
    times::Times,
    want::{Request, WantId},
};

/// One live lease.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) age: Age,
    pub(crate) client: Name,
    pub(crate) times: Times,
    pub(crate) release: bool,
    /// What it asks for, or why that makes no sense.
    pub(crate) request: Result<Request, String>,
    /// The exporter in `status.exporterRef`, as observed or assumed.
    pub(crate) exporter: Option<Name>,
    /// Actual begin.
    pub(crate) begin: Option<Timestamp>,
    /// Whether `Ready` is `True`.
    pub(crate) ready: bool,
    /// Reason of `Pending=True`.
    pub(crate) pending: Option<String>,
    /// The want in whose queue it stands.
    pub(crate) want: Option<WantId>,
    /// Its timer.
    pub(crate) wake: Option<Timestamp>,
}

impl Entry {
    /// What is seen in the object of a live lease.
    pub(crate) fn of(name: &Name, lease: &Lease) -> Self {
        let status = lease.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
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
            request: request(lease),
            exporter: lease.assigned_exporter().map(Name::from),
            begin: status.and_then(|status| status.begin_time.as_ref()).map(|time| time.0),
            ready: holds("Ready").is_some(),
            pending: holds("Pending").map(|found| found.reason.clone()),
            want: None,
            wake: None,
        }
    }

    /// Whether the lease was never told to wait, so that it may still be refused at once.
    pub(crate) fn is_fresh(&self) -> bool {
        self.pending.as_deref().is_none_or(|reason| reason == condition::SCHEDULED)
    }
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
