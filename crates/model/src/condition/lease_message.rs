//! Messages of lease conditions. Clients and tests search them for the phrases named beside each builder.

use crate::{GoDuration, Timestamp};

/// Most bytes of joined policy descriptions.
const MAX_DESCRIPTIONS: usize = 4096;

/// `Ready` true.
pub const ACQUIRED: &str = "The lease holds its exporter";
/// `Ready` false, `Released`.
pub const MARKED_FOR_RELEASE: &str = "The lease was marked for release";
/// `Ready` false, reason `Expired`: the word itself is left to tokens.
pub const TIME_OVER: &str = "The lease has ended: its time is over";
/// `Invalid`, `InvalidSelector`.
pub const SELECTOR_REQUIRED: &str =
    "The lease names neither labels nor an exporter: a selector or exporterRef is required";

/// `Pending`, `Offline`: `none of them are online`.
pub fn none_online(approved: usize, example: &str) -> String {
    format!("{} for the lease{}, but none of them are online", exporters_approved(approved), such_as(example))
}

/// `Pending`, `NotAvailable`: `but all of them are already leased`.
pub fn all_leased(online: usize, example: &str) -> String {
    format!("{} online for the lease{}, but all of them are already leased", exporters_are(online), such_as(example))
}

/// `Pending`, `NotReady`: `none are ready`.
pub fn none_ready(free: usize, example: &str) -> String {
    format!("{} free for the lease{}, but none are ready", exporters_are(free), such_as(example))
}

/// `Pending`, `Quarantined`.
pub fn all_quarantined(quarantined: usize, example: &str) -> String {
    let verb = if quarantined == 1 { "it is" } else { "all of them are" };
    format!("{} for the lease{}, but {verb} quarantined", exporters_approved(quarantined), such_as(example))
}

/// `Unsatisfiable`, `ExporterNotFound`.
pub fn exporter_not_found(name: &str) -> String {
    format!("The exporter {name} that the lease names does not exist")
}

/// `Unsatisfiable`, `SelectorMismatch`.
pub fn selector_mismatch(name: &str, selector: &str) -> String {
    format!("The exporter {name} that the lease names does not match its selector {selector}")
}

/// `Unsatisfiable`, `ExporterDisabled`: `is disabled`, `spec.allowDisabled: true`, `--allow-disabled`.
pub fn exporter_disabled(name: &str) -> String {
    format!(
        "The exporter {name} that the lease names is disabled; to lease it anyway set spec.allowDisabled: true or use \
         --allow-disabled"
    )
}

/// `Unsatisfiable` or `Pending`, `AllDisabled`.
pub fn all_disabled(matching: usize) -> String {
    let verb = if matching == 1 { "it is" } else { "all of them are" };
    format!("{} the selector, but {verb} disabled", exporters_match(matching))
}

/// `Unsatisfiable` or `Pending`, `NoAccess`: `none of them are approved by any policy`, and after
/// `Matching policies:` the descriptions of the rules that did not admit the client.
pub fn no_access<'a>(matching: usize, descriptions: impl IntoIterator<Item = &'a str>) -> String {
    let found = match matching {
        0 => "No exporter matches the lease, hence".to_owned(),
        _ => format!("{} the lease, but", exporters_match(matching)),
    };
    let mut message = format!("{found} none of them are approved by any policy");
    let joined = descriptions.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    if !joined.is_empty() {
        message.push_str(". Matching policies: ");
        message.push_str(cut(&joined, MAX_DESCRIPTIONS));
        if joined.len() > MAX_DESCRIPTIONS {
            message.push_str("...");
        }
    }
    message
}

/// `Preempting` true, `PreemptionNotice`.
pub fn preemption_notice(name: &str, ends: Timestamp) -> String {
    format!(
        "Others have the better right to the exporter {name} and wait for one: this spot lease ends at {ends}, unless \
         that need goes away before"
    )
}

/// `Preempting` false, `Withdrawn`.
pub fn preemption_withdrawn(name: &str) -> String {
    format!("The exporter {name} is not needed by others any more: this spot lease goes on")
}

/// `Ready` false, `Preempted`.
pub fn preempted(name: &str, successor: Option<&str>) -> String {
    let rest = successor.map(|lease| format!("; lease {lease} waits in its stead")).unwrap_or_default();
    format!("The spot lease has ended: others with the better right need the exporter {name}{rest}")
}

/// `Pending`, `NotFound`.
pub fn not_found(selector: &str) -> String {
    format!("No exporter matches the selector {selector} at present; waiting for one")
}

/// `Pending` or `Unsatisfiable`, `QuotaExceeded`, for a cap of devices. `account` is such as `team=boards`.
pub fn over_devices(quota: &str, account: &str, held: usize, most: usize) -> String {
    match (held, most) {
        (_, 0) => format!("The quota {quota} gives {account} no device at all"),
        (1, 1) => format!("The quota {quota} gives {account} 1 device at once, which is in use"),
        _ => format!("The quota {quota} gives {account} {most} devices at once, {held} are in use"),
    }
}

/// `Pending` or `Unsatisfiable`, `QuotaExceeded`, for a cap of device time.
pub fn over_time(quota: &str, account: &str, use_: &DeviceTime) -> String {
    let DeviceTime { used, most, period, requested, from } = use_;
    let start = format!("The quota {quota} gives {account} {most} of device time in any {period}");
    if requested > most {
        return format!("{start}, this lease alone asks for {requested}");
    }
    let rest = from.map(|from| format!("; there is enough from {from} on, or sooner if leases end early"));
    format!(
        "{start}: {used} are used or promised to leases that run, this lease asks for {requested}{}",
        rest.unwrap_or_default()
    )
}

/// Device time of an account, as [`over_time`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTime {
    /// Used in the period, and promised to leases that run.
    pub used: GoDuration,
    /// The cap.
    pub most: GoDuration,
    /// Length of the sliding period.
    pub period: GoDuration,
    /// What the lease asks for.
    pub requested: GoDuration,
    /// When there will be enough of it at the latest, if that is known.
    pub from: Option<Timestamp>,
}

/// `Unsatisfiable`, `TooManyWaiting`. `who` is such as `client alice`.
pub fn too_many_waiting(who: &str, most: usize, quota: Option<&str>) -> String {
    let whose = quota.map_or_else(|| "this lab".to_owned(), |quota| format!("the quota {quota}"));
    format!("{whose} lets {who} have {most} waiting leases, and so many wait already: try again when some are served")
}

/// `Pending`, `Scheduled`.
pub fn scheduled(begin: Timestamp) -> String {
    format!("The lease is scheduled to begin at {begin}")
}

/// `Pending`, `Scheduled`, with an exporter reserved, which somebody may hold until later than the begin.
pub fn scheduled_on(begin: Timestamp, name: &str, held_until: Option<Timestamp>) -> String {
    let held = held_until.map(|until| format!("; another lease may hold it until {until}")).unwrap_or_default();
    format!("{}; the exporter {name} is reserved for it{held}", scheduled(begin))
}

/// `Pending`, `Scheduled`, with nothing reserved.
pub fn scheduled_in_vain(begin: Timestamp, reason: &str) -> String {
    format!("{}; nothing is reserved for it: {reason}", scheduled(begin))
}

/// `Pending`, `Reserved`; `obstacle` says by whom, from when and until when.
pub fn reserved(free: usize, example: &str, obstacle: &str) -> String {
    let before = if free == 1 { "it is spoken for" } else { "all of them are spoken for" };
    format!("{} free{}, but {before} before the lease would end: {obstacle}", exporters_are(free), such_as(example))
}

/// `Pending`, `Queued`. `ahead` counts the leases that are served first.
pub fn queued(ahead: usize) -> String {
    match ahead {
        1 => "1 lease is ahead in the queue for an exporter that both could use".to_owned(),
        _ => format!("{ahead} leases are ahead in the queue for exporters that both could use"),
    }
}

/// `Pending`, `GroupIncomplete`.
pub fn group_incomplete(group: &str, there: usize, size: usize) -> String {
    format!("{there} of the {size} leases of the group {group} exist; waiting for the others")
}

/// `Invalid`, `GroupIncomplete`: the others were not created in time.
pub fn group_not_gathered(group: &str, there: usize, size: usize) -> String {
    format!(
        "Only {there} of the {size} leases of the group {group} were created in time: create all of them within a minute"
    )
}

/// `Invalid`, `GroupIncomplete`: one of the others is over.
pub fn group_lost(group: &str, over: &str) -> String {
    format!("The lease {over} of the group {group} is over, and the group has begun nothing without it")
}

/// `Invalid`, `GroupIncomplete`, and `Ready` false: one ended before all could be used.
pub fn group_fell_apart(group: &str) -> String {
    format!("A lease of the group {group} ended before all of them were ready, and with it the group")
}

/// Of all leases of a group: what one of them waits for in vain.
pub fn group_member(lease: &str, message: &str) -> String {
    format!("The lease {lease} of the group has nothing to wait for: {message}")
}

/// `Unsatisfiable` or `Pending`, `QuotaExceeded`: the group asks for more than the account may ever have at once.
pub fn group_over_quota(size: usize, quota: &str, who: &str, most: usize) -> String {
    format!("The quota {quota} lets {who} have {most} of the {size} exporters of the group at once at most")
}

/// `Pending`, `QuotaExceeded`: there is not room enough for a whole group now.
pub fn group_at_quota(size: usize) -> String {
    format!("Quotas do not let the client have the {size} exporters of the group beside what it has now")
}

/// `Pending`, `GroupNotAvailable`. `awaited` is what the others ask for, `place` the labels that are equal.
pub fn group_not_available(free: usize, size: usize, awaited: &str, place: &str) -> String {
    let place = if place.is_empty() { String::new() } else { format!(" with {place}") };
    format!("Exporters{place} are free for {free} of the {size} leases of the group; waiting for {awaited}")
}

/// `Unsatisfiable` or `Pending`, `GroupTooLarge`. `same` are the labels that must be equal.
pub fn group_too_large(members: usize, requests: &str, devices: usize, same: &str) -> String {
    let same = if same.is_empty() { String::new() } else { format!(" with equal {same}") };
    let need = if members == 1 { "1 lease of the group needs" } else { &format!("{members} leases of the group need") };
    format!("{need} {requests}, and the lab has {devices} such exporters{same} for the group")
}

/// `Pending`, `Preparing`.
pub fn preparing(name: &str) -> String {
    format!("The exporter {name} is assigned and getting ready")
}

fn exporters_approved(count: usize) -> String {
    if count == 1 { "1 exporter is approved".to_owned() } else { format!("{count} exporters are approved") }
}

fn exporters_are(count: usize) -> String {
    if count == 1 { "1 exporter is".to_owned() } else { format!("{count} exporters are") }
}

fn exporters_match(count: usize) -> String {
    if count == 1 { "1 exporter matches".to_owned() } else { format!("{count} exporters match") }
}

fn such_as(example: &str) -> String {
    if example.is_empty() { String::new() } else { format!(" (such as {example})") }
}

/// At most `limit` bytes of the text, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
