//! A plug behind an MQTT broker: commands go to one topic, the plug's answers come on another.
mod link;

use std::{io, time::Duration};

use rumqttc::{AsyncClient, Broker, MqttOptions, PublishOptions, QoS, TlsConfiguration, Transport};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{DriverError, DriverLog, keys::ConfigKeys, tls};

use link::{Heard, Link, State};

/// A broker and a plug that are there answer within moments.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest time that a configuration may give them.
const MAX_LIMIT: f64 = 3600.0;
/// Between signs of life of a connection without traffic.
const KEEP_ALIVE_SECONDS: u16 = 30;

/// Publishes commands and waits for the plug's answers.
pub(super) struct Plug {
    /// The broker as it may be shown.
    broker: String,
    command: String,
    status: String,
    limit: Duration,
    state: watch::Receiver<State>,
    heard: watch::Receiver<Heard>,
    /// Keeps the connection; ends with the driver.
    _task: JoinSet<()>,
}

impl Plug {
    pub(super) async fn new(mut keys: ConfigKeys, log: &DriverLog) -> Result<Self, String> {
        let host: String = keys.required("host");
        let port = keys.or("port", 1883_u16);
        let (command, status): (String, String) = (keys.required("cmnd_topic"), keys.required("stat_topic"));
        let id = keys.option::<String>("client_id");
        let transport = keys.or("transport", "tcp".to_owned());
        let tls = keys.option::<bool>("tls");
        let (user, password) = (keys.option::<String>("username"), keys.secret("password"));
        let seconds = keys.option::<f64>("timeout");
        if seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= MAX_LIMIT)) {
            keys.fault("timeout", &format!("must be more than 0 and at most {MAX_LIMIT} seconds"));
        }
        for (key, topic) in [("cmnd_topic", &command), ("stat_topic", &status)] {
            if topic.contains(['+', '#', '\0']) {
                keys.fault(key, "must be one topic, without '+' and '#'");
            }
        }
        if password.is_some() && user.is_none() {
            keys.fault("password", "needs a 'username'");
        }
        let (broker, shown) = match transport.as_str() {
            "unix" => {
                if tls == Some(true) {
                    keys.fault("tls", "is not offered over a Unix socket");
                }
                (Broker::unix(&host), format!("unix:{host}"))
            }
            "tcp" => {
                let scheme = if tls == Some(false) { "mqtt" } else { "mqtts" };
                (Broker::tcp(host.clone(), port), format!("{scheme}://{host}:{port}"))
            }
            other => {
                let message = format!("'{other}' is neither 'tcp' nor 'unix'; 'websockets' needs the Python driver");
                keys.fault("transport", &message);
                (Broker::tcp(host.clone(), port), host)
            }
        };
        keys.end()?;
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("jumpstarter-{}", Uuid::new_v4().simple()));
        let mut options = MqttOptions::new(id, broker);
        options.set_keep_alive(KEEP_ALIVE_SECONDS);
        if transport == "tcp" && tls != Some(false) {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls::client_config()?)));
        }
        match (&user, password) {
            (Some(user), Some(password)) => drop(options.set_credentials(user.as_str(), password)),
            (Some(user), None) => drop(options.set_username(user.as_str())),
            (None, _) => {}
        }
        let limit = seconds.map_or(LIMIT, Duration::from_secs_f64);
        let (link, state, heard) = Link::new(options, shown.clone(), user, status.clone(), log.clone());
        let mut task = JoinSet::new();
        task.spawn(link.keep());
        let plug = Self { broker: shown, command, status, limit, state, heard, _task: task };
        plug.first_connection().await?;
        Ok(plug)
    }

    /// A broker that is away or refuses us stops the exporter at start, as a missing device node does.
    async fn first_connection(&self) -> Result<(), String> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting));
        match timeout_at(Instant::now() + self.limit, known).await {
            Ok(Ok(state)) => match &*state {
                State::Down(why) => Err(why.clone()),
                State::Up(_) | State::Connecting => Ok(()),
            },
            Ok(Err(_)) => Err(format!("the connection to {} is gone", self.broker)),
            Err(_) => Err(format!("{} did not answer within {} s", self.broker, self.limit.as_secs_f64())),
        }
    }

    pub(super) async fn switch(&self, on: bool) -> Result<(), DriverError> {
        let wanted = if on { "ON" } else { "OFF" };
        let deadline = Instant::now() + self.limit;
        let client = self.client(deadline).await?;
        let mut heard = self.heard.clone();
        let before = heard.borrow_and_update().count;
        let exchange = async {
            let sent = client.publish(self.command.as_str(), wanted, PublishOptions::new(QoS::AtLeastOnce)).await;
            // Where the connection is gone there will be no answer either, and that is reported.
            drop(sent);
            heard.wait_for(|heard| heard.count > before && heard.text == wanted).await.is_ok()
        };
        match timeout_at(deadline, exchange).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.silence(wanted, before)),
        }
    }

    /// The connection, once it is there.
    async fn client(&self, deadline: Instant) -> Result<AsyncClient, DriverError> {
        let mut state = self.state.clone();
        if let Ok(Ok(state)) = timeout_at(deadline, state.wait_for(|state| matches!(state, State::Up(_)))).await
            && let State::Up(client) = &*state
        {
            return Ok(client.clone());
        }
        Err(self.away())
    }

    /// Why there is no connection.
    fn away(&self) -> DriverError {
        let message = match &*self.state.borrow() {
            State::Down(why) => why.clone(),
            State::Connecting | State::Up(_) => {
                format!("{} did not answer within {} s", self.broker, self.limit.as_secs_f64())
            }
        };
        DriverError::Connection { message, source: io::Error::from(io::ErrorKind::NotConnected) }
    }

    /// Why a command was not confirmed.
    fn silence(&self, wanted: &str, before: u64) -> DriverError {
        if matches!(&*self.state.borrow(), State::Down(_)) {
            return self.away();
        }
        let (command, status, seconds) = (&self.command, &self.status, self.limit.as_secs_f64());
        let heard = self.heard.borrow();
        let instead = if heard.count > before {
            format!(" but said '{}'", heard.text.escape_debug())
        } else {
            "; is it connected to the broker, and are these its topics?".to_owned()
        };
        DriverError::Timeout(format!(
            "{wanted} was sent to '{command}' at {}, and the plug did not confirm it on '{status}' within {seconds} s{instead}",
            self.broker
        ))
    }
}
