//! The door for clients that come without a router.
//!
//! One listener serves all exporters of a process. It takes nobody while none of them is leased, and nobody without the
//! ticket of one dial, which the controller announced to the exporter and gave to the client; what the client then
//! reaches is the session that the same dial would have reached through a router.
mod addresses;
mod guests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jumpstarter_protocol::v1::{DirectInvitation, DirectListener as Announcement};
use jumpstarter_transport::direct::{Arrival, Digest, DirectServer, DirectStream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::ExporterError;
use guests::{Expectation, Greeting, Guests};

/// Clients that have not been let in yet, at a time.
const MAX_AT_THE_DOOR: usize = 64;
/// Time for a handshake and all that belongs to it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a ticket may be ahead of its announcement, which comes by another way.
const AHEAD: Duration = Duration::from_secs(2);
/// Pause when a connection could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A listener for clients that come without a router; give its [`Door`] to the exporters whose clients they are.
pub struct DirectListener {
    listener: TcpListener,
    door: Door,
}

/// Where the clients of leases come in without a router. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    server: DirectServer,
    local: SocketAddr,
    /// `host:port` to be told to clients; found out when there is none.
    advertised: Vec<String>,
    guests: Mutex<Guests<DirectStream>>,
    /// A ticket was announced.
    announced: Notify,
}

impl DirectListener {
    /// Takes the port (`address` is `host:port`) and makes a key of its own. Clients are told `advertised` (`HOST` or
    /// `HOST:PORT`), or what can be found out when it is empty.
    pub async fn bind(address: &str, advertised: &[String]) -> Result<Self, ExporterError> {
        let failed = |source| ExporterError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let advertised = addresses::given(advertised, local.port()).map_err(failed)?;
        let server = DirectServer::generate().map_err(|err| ExporterError::Certificate(Box::new(err)))?;
        let inner = Inner { server, local, advertised, guests: Mutex::default(), announced: Notify::new() };
        Ok(Self { listener, door: Door(Arc::new(inner)) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.door.0.local
    }

    /// What exporters need of it.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Lets clients in until `stop` fires; those who are in stay with their sessions.
    ///
    /// # Cancel safety
    /// Dropping the future turns away those who are at the door.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listener, door } = self;
        let mut greetings = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // `join_next` is cancel safe by its docs; `accept` keeps no state.
                Some(_) = greetings.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if door.guests().is_open() && greetings.len() < MAX_AT_THE_DOOR => {
                        greetings.spawn(door.clone().greet(stream, peer));
                    }
                    Ok((_, peer)) => tracing::debug!(%peer, "nobody is expected, or too many are at the door"),
                    Err(err) => {
                        tracing::warn!(%err, "accept a direct connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

impl Door {
    fn guests(&self) -> MutexGuard<'_, Guests<DirectStream>> {
        self.0.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn greet(self, stream: TcpStream, peer: SocketAddr) {
        let greeting = async {
            let arrival = self.0.server.receive(stream).await?;
            let Some(seat) = self.seat(&arrival).await else {
                tracing::info!(%peer, "a direct connection was refused: its ticket is unknown, used or too old");
                arrival.refuse().await;
                return Ok(());
            };
            let stream = arrival.let_in().await?;
            tracing::info!(%peer, "a client connected directly");
            // The lease may have ended in this moment; the client sees a closed connection.
            let _ = seat.send(stream);
            std::io::Result::Ok(())
        };
        match timeout(PATIENCE, greeting).await {
            Ok(Ok(())) => {}
            // Clients that chose the router meanwhile hang up here.
            Ok(Err(err)) => tracing::debug!(%peer, %err, "a direct connection came to nothing"),
            Err(_) => tracing::debug!(%peer, "a direct connection took too long"),
        }
    }

    /// Where the holder of a ticket is expected.
    async fn seat(&self, arrival: &Arrival) -> Option<oneshot::Sender<DirectStream>> {
        let ticket = arrival.ticket().digest();
        let until = Instant::now() + AHEAD;
        loop {
            let announced = self.0.announced.notified();
            tokio::pin!(announced);
            announced.as_mut().enable();
            match self.guests().greet(ticket, Instant::now()) {
                Greeting::Welcome(seat) => return Some(seat),
                Greeting::Spent => return None,
                Greeting::Unknown => {}
            }
            timeout_at(until, announced).await.ok()?;
        }
    }

    /// What the controller is to be told; nothing when no address can be found out.
    pub(crate) async fn announcement(&self, controller: &str) -> Option<Announcement> {
        let Inner { server, local, advertised, .. } = &*self.0;
        let endpoints =
            if advertised.is_empty() { addresses::found(*local, controller).await } else { advertised.clone() };
        if endpoints.is_empty() {
            tracing::warn!(
                %controller,
                "clients cannot be told where to connect directly: no address of this machine leads to the controller; \
                 name one with --direct-address"
            );
            return None;
        }
        let certificate_sha256 = server.fingerprint().as_bytes().to_vec().into();
        Some(Announcement { endpoints, certificate_sha256 })
    }

    /// Opens the door for the clients of a lease, until the value returned is dropped.
    pub(crate) fn open(&self) -> OpenDoor {
        OpenDoor { lease: self.guests().open(), door: self.clone() }
    }
}

/// The door as long as a lease lasts.
pub(crate) struct OpenDoor {
    door: Door,
    lease: u64,
}

/// The client of one dial, who may come directly.
pub(crate) struct Invitation(oneshot::Receiver<DirectStream>);

/// What to do with a dial.
pub(crate) enum Invited {
    /// The client may come this way, too.
    Yes(Invitation),
    /// It comes by the router.
    No,
    /// The dial was taken in before.
    Already,
}

impl OpenDoor {
    /// Expects the client of a dial.
    pub(crate) fn invite(&self, invitation: &DirectInvitation) -> Invited {
        let Some(ticket) = Digest::from_bytes(&invitation.ticket_sha256) else { return Invited::No };
        let lifetime = Duration::from_secs(invitation.lifetime_seconds.into());
        let invited = match self.door.guests().expect(self.lease, ticket, lifetime, Instant::now()) {
            Expectation::New(guest) => Invited::Yes(Invitation(guest)),
            Expectation::Known => Invited::Already,
            Expectation::Full => Invited::No,
        };
        self.door.0.announced.notify_waiters();
        invited
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.door.guests().close(self.lease);
    }
}

impl Invitation {
    /// The client, once it has come; none when it will not.
    ///
    /// # Cancel safety
    /// Cancel safe. Not to be called again after it has returned.
    pub(crate) async fn arrived(&mut self) -> Option<DirectStream> {
        (&mut self.0).await.ok()
    }
}
