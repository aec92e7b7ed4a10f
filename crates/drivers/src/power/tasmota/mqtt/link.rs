//! The connection to a broker: made again for as long as it takes, each time from nothing.
use std::time::Duration;

use rand::Rng as _;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsError,
};
use tokio::{sync::watch, time::sleep};

use crate::DriverLog;

/// Commands on their way to the connection; each waits for its answer, so that there are few.
const QUEUE: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Plugs answer with one word.
const MAX_TEXT: usize = 256;

/// The connection as others see it.
pub(super) enum State {
    /// The first attempt goes on.
    Connecting,
    /// There is none, and this is why.
    Down(String),
    /// Connected, and the plug's topic is subscribed to.
    Up(AsyncClient),
}

/// The plug's last words.
#[derive(Default)]
pub(super) struct Heard {
    /// How many there were so far.
    pub(super) count: u64,
    pub(super) text: String,
}

pub(super) struct Link {
    options: MqttOptions,
    broker: String,
    user: Option<String>,
    topic: String,
    state: watch::Sender<State>,
    heard: watch::Sender<Heard>,
    log: DriverLog,
}

impl Link {
    pub(super) fn new(
        options: MqttOptions,
        broker: String,
        user: Option<String>,
        topic: String,
        log: DriverLog,
    ) -> (Self, watch::Receiver<State>, watch::Receiver<Heard>) {
        let (state, of_state) = watch::channel(State::Connecting);
        let (heard, of_heard) = watch::channel(Heard::default());
        (Self { options, broker, user, topic, state, heard, log }, of_state, of_heard)
    }

    /// Runs until it is dropped. A command of an earlier connection is never sent by a later one: whoever gave it has
    /// been told that it failed.
    pub(super) async fn keep(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let why = self.connection(&mut pause).await;
            let was_up = matches!(self.state.send_replace(State::Down(why.clone())), State::Up(_));
            if was_up {
                self.log.warning(&why);
            } else {
                self.log.debug(&why);
            }
            let share = rand::rng().random_range(0.5..1.0);
            sleep(pause.mul_f64(share)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection from its beginning to its end: why it ended.
    async fn connection(&self, pause: &mut Duration) -> String {
        let (client, mut events) = match AsyncClient::builder(self.options.clone()).capacity(QUEUE).try_build() {
            Ok(made) => made,
            Err(err) => return format!("set up MQTT for {}: {err}", self.broker),
        };
        loop {
            match events.poll().await {
                Err(err) => return self.explain(&err),
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if client.try_subscribe(self.topic.as_str(), QoS::AtMostOnce).is_err() {
                        return format!("'{}' cannot be subscribed to", self.topic);
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                        return format!("{} does not let us read the topic '{}'", self.broker, self.topic);
                    }
                    *pause = FIRST_PAUSE;
                    self.state.send_replace(State::Up(client.clone()));
                }
                // What was retained is old news.
                Ok(Event::Incoming(Packet::Publish(told))) if !told.retain && told.topic == self.topic.as_bytes() => {
                    let text = String::from_utf8_lossy(&told.payload);
                    self.heard.send_modify(|heard| {
                        heard.count += 1;
                        heard.text = text.trim().chars().take(MAX_TEXT).collect();
                    });
                }
                Ok(_) => {}
            }
        }
    }

    fn explain(&self, err: &ConnectionError) -> String {
        let broker = &self.broker;
        match err {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => match &self.user {
                Some(user) => {
                    format!(
                        "{broker} refused the user '{user}': check 'username' and 'password', and the user's rights"
                    )
                }
                None => format!("{broker} wants a login: set 'username' and 'password'"),
            },
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId) => {
                format!("{broker} refused the client's name: set 'client_id' to one that it takes")
            }
            ConnectionError::NetworkTimeout => format!("{broker} did not answer in time"),
            ConnectionError::Io(err) => format!("connect {broker}: {err}"),
            ConnectionError::Tls(TlsError::Io(err)) => {
                format!(
                    "connect {broker}: {err}; 'tls' is on unless it is set to false, and trusts what this host trusts"
                )
            }
            other => format!("connection to {broker}: {other}"),
        }
    }
}
