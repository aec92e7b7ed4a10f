//! Power switches: the mock without a wire, and sockets on the network.
mod http;
mod tasmota;
mod web;

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde_json::json;

use serde_json::Map;

use crate::{Driver, DriverError, DriverLog, Registry, Value, ValueStream, args::Args};

/// The client class of everything that switches power.
pub(crate) const CLIENT: &str = "jumpstarter_driver_power.client.PowerClient";

const TASMOTA: &str = "jumpstarter_driver_tasmota.driver.TasmotaPower";

pub(crate) fn register(all: &mut Registry) {
    for class in ["MockPower", "SyncMockPower"] {
        all.add(format!("jumpstarter_driver_power.driver.{class}"), |build| {
            build.config::<Map<String, Value>>(&[])?;
            Ok(Arc::new(MockPower::new(build.log)))
        });
    }
    all.add("jumpstarter_driver_http_power.driver.HttpPower", |build| Ok(Arc::new(http::HttpPower::new(build)?)));
    all.add_async(TASMOTA, tasmota::build);
    // MQTT inside of a WebSocket is what the Python driver can do and this one cannot.
    all.leave_to_host(TASMOTA, |config| config.get("transport").is_some_and(|kind| kind == "websockets"));
}

/// Logs `on` and `off`; `read` streams two fixed readings.
pub(crate) struct MockPower {
    log: DriverLog,
}

impl MockPower {
    pub(crate) fn new(log: DriverLog) -> Self {
        Self { log }
    }
}

impl Driver for MockPower {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let message = match method {
                "on" => "power on",
                "off" => "power off",
                _ => return Err(DriverError::not_found(method)),
            };
            Args::new(method, args).end()?;
            self.log.info(message);
            Ok(Value::Null)
        }
        .boxed()
    }

    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        async move {
            if method != "read" {
                return Err(DriverError::not_found(method));
            }
            Args::new(method, args).end()?;
            let readings = [(0.0, 0.0), (5.0, 2.0)].map(|(v, a)| Ok(json!({ "voltage": v, "current": a })));
            Ok(stream::iter(readings).boxed())
        }
        .boxed()
    }
}
