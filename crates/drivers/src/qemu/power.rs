//! The machine's power.
use std::sync::Arc;

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};

use crate::{Driver, DriverError, Value, ValueStream, args::Args};

use super::machine::Machine;

/// Starts and ends the machine.
pub(super) struct QemuPower(pub(super) Arc<Machine>);

impl Driver for QemuPower {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_power.client.PowerClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let args = Args::new(method, args);
            match method {
                "on" => {
                    args.end()?;
                    self.0.on().await?;
                }
                "off" => {
                    args.end()?;
                    self.0.off().await;
                }
                _ => return Err(DriverError::not_found(method)),
            }
            Ok(Value::Null)
        }
        .boxed()
    }

    fn stream_call<'a>(
        &'a self,
        method: &'a str,
        _args: Vec<Value>,
    ) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        let refused = match method {
            "read" => DriverError::Unimplemented("a virtual machine has no power to measure".to_owned()),
            _ => DriverError::not_found(method),
        };
        ready(Err(refused)).boxed()
    }
}
