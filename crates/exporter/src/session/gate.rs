//! Who may use the drivers, and when.
//!
//! Clients connect as soon as their session exists, so that they see its status and log. Their driver calls wait
//! until the set-up is done, and are refused once the tear-down has begun. Hooks use the drivers at any time.
use jumpstarter_protocol::v1::{ExporterStatus, GetStatusResponse};
use tonic::{Request, Status, service::Interceptor};

use super::Session;

/// Metadata key of the passphrase.
const PASSPHRASE: &str = "x-jumpstarter-passphrase";

/// Who comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visitor {
    /// Whoever holds the lease.
    Client,
    /// A hook of the exporter itself.
    Hook,
}

/// A client's connection, while this lives.
pub(crate) struct Presence(Session);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.inner.clients.send_modify(|clients| *clients -= 1);
    }
}

/// What a driver call may do now.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Open,
    Later,
    /// The session is being, or has been, torn down.
    Over,
}

/// What the session's status means for a client's call. A session that nobody leads through a lease is open.
fn entry(now: &GetStatusResponse, leased: bool) -> Entry {
    match now.status() {
        ExporterStatus::LeaseReady => Entry::Open,
        ExporterStatus::BeforeLeaseHook => Entry::Later,
        ExporterStatus::Available | ExporterStatus::Unspecified if !leased => Entry::Open,
        ExporterStatus::Available if now.status_version == 0 => Entry::Later,
        ExporterStatus::Available
        | ExporterStatus::Unspecified
        | ExporterStatus::Offline
        | ExporterStatus::AfterLeaseHook
        | ExporterStatus::BeforeLeaseHookFailed
        | ExporterStatus::AfterLeaseHookFailed => Entry::Over,
    }
}

impl Session {
    /// The same session for its own hooks, which may use the drivers while no client may.
    #[must_use]
    pub fn for_hooks(&self) -> Self {
        Self { visitor: Visitor::Hook, ..self.clone() }
    }

    /// Names lease and client for those who are refused. Only the first call counts.
    pub fn set_holder(&self, lease: &str, client: &str) {
        let by = if client.is_empty() { String::new() } else { format!(" of client '{client}'") };
        let _ = self.inner.holder.set(format!("lease '{lease}'{by}"));
    }

    /// Demands this passphrase with every call. Only the first call counts.
    pub fn require_passphrase(&self, passphrase: &str) {
        let _ = self.inner.passphrase.set(passphrase.to_owned());
    }

    /// Notes that a client is connected.
    pub(crate) fn enter(&self) -> Presence {
        self.inner.clients.send_modify(|clients| *clients += 1);
        Presence(self.clone())
    }

    /// Waits until no client is connected.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn alone(&self) {
        // The sender lives as long as this session.
        let _ = self.inner.clients.subscribe().wait_for(|clients| *clients == 0).await;
    }

    /// Waits until a driver call may be made; refuses it when that will not be any more.
    pub(super) async fn admit(&self) -> Result<(), Status> {
        if self.visitor == Visitor::Hook {
            return Ok(());
        }
        let mut status = self.inner.status.subscribe();
        let leased = self.inner.info.leased;
        let now = tokio::select! {
            // Cancel safe: the status is read anew each time.
            now = status.wait_for(|now| entry(now, leased) != Entry::Later) => match now {
                Ok(now) => now.clone(),
                Err(_) => return Err(Status::unavailable("the session has ended")),
            },
            () = self.inner.closing.cancelled() => return Err(Status::unavailable("the session has ended")),
        };
        if entry(&now, leased) == Entry::Open {
            return Ok(());
        }
        let holder = self.inner.holder.get().map_or("the lease", String::as_str);
        Err(Status::failed_precondition(format!(
            "Exporter not ready for driver calls (status: {}): the session of {holder} is over; {}",
            now.status().as_str_name().trim_start_matches("EXPORTER_STATUS_"),
            now.message.filter(|text| !text.is_empty()).unwrap_or_else(|| "wait for the next one".to_owned()),
        )))
    }

    pub(super) fn password(&self) -> Password {
        Password(self.clone())
    }
}

/// Checks the passphrase of every call, when there is one.
#[derive(Clone)]
pub(super) struct Password(Session);

impl Interceptor for Password {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(wanted) = self.0.inner.passphrase.get() else { return Ok(request) };
        let given =
            request.metadata().get(PASSPHRASE).map(tonic::metadata::MetadataValue::as_bytes).unwrap_or_default();
        if same(wanted.as_bytes(), given) {
            return Ok(request);
        }
        let method = request.extensions().get::<tonic::GrpcMethod<'_>>();
        let method = method.map_or_else(String::new, |m| format!(" for method /{}/{}", m.service(), m.method()));
        tracing::warn!("authentication failed: invalid or missing passphrase{method}");
        Err(Status::unauthenticated("invalid or missing passphrase"))
    }
}

/// Compares in a time that depends on the length of `given` alone.
fn same(wanted: &[u8], given: &[u8]) -> bool {
    let mut difference = wanted.len() ^ given.len();
    for (at, byte) in given.iter().enumerate() {
        let expected = wanted.get(at % wanted.len().max(1)).copied().unwrap_or_default();
        difference |= usize::from(expected ^ byte);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(status: ExporterStatus, version: u64) -> GetStatusResponse {
        GetStatusResponse { status: status.into(), status_version: version, ..GetStatusResponse::default() }
    }

    #[test]
    fn what_each_status_means() {
        use ExporterStatus as S;
        for (status, version, leased, expected) in [
            (S::Available, 0, true, Entry::Later),
            (S::Available, 3, true, Entry::Over),
            (S::Available, 0, false, Entry::Open),
            (S::BeforeLeaseHook, 1, true, Entry::Later),
            (S::BeforeLeaseHook, 1, false, Entry::Later),
            (S::LeaseReady, 1, true, Entry::Open),
            (S::AfterLeaseHook, 2, true, Entry::Over),
            (S::BeforeLeaseHookFailed, 2, false, Entry::Over),
        ] {
            assert_eq!(entry(&at(status, version), leased), expected, "{status:?} {version} {leased}");
        }
    }

    #[test]
    fn passphrases_are_compared_whole() {
        for (wanted, given, expected) in
            [("abc", "abc", true), ("abc", "abd", false), ("abc", "abcabc", false), ("abc", "", false), ("", "", true)]
        {
            assert_eq!(same(wanted.as_bytes(), given.as_bytes()), expected, "{wanted} {given}");
        }
    }
}
