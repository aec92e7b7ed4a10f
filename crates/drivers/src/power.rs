//! `jumpstarter_driver_power.driver.MockPower`: a power switch without a wire.
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use serde_json::json;

use crate::{Driver, DriverError, DriverLog, Value, ValueStream};

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
        "jumpstarter_driver_power.client.PowerClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let message = match method {
                "on" => "power on",
                "off" => "power off",
                _ => return Err(DriverError::not_found(method)),
            };
            no_arguments(method, &args)?;
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
            no_arguments(method, &args)?;
            let readings = [(0.0, 0.0), (5.0, 2.0)].map(|(v, a)| Ok(json!({ "voltage": v, "current": a })));
            Ok(stream::iter(readings).boxed())
        }
        .boxed()
    }
}

fn no_arguments(method: &str, args: &[Value]) -> Result<(), DriverError> {
    if args.is_empty() {
        return Ok(());
    }
    Err(DriverError::InvalidArgument(format!("{method} takes no arguments, {} given", args.len())))
}
