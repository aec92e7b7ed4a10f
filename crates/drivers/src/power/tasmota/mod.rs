//! `jumpstarter_driver_tasmota.driver.TasmotaPower`: a plug with the Tasmota firmware, over MQTT or by HTTP.
mod mqtt;
mod web;

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use crate::{Build, Built, Driver, DriverError, DriverLog, Value, ValueStream, args::Args};

use super::CLIENT;

/// Makes the plug that the configuration describes; over MQTT only once the broker has taken us.
pub(super) async fn build(mut build: Build) -> Result<Built, String> {
    let mut keys = build.keys();
    let plug = match keys.option::<String>("url") {
        Some(url) => Plug::Web(web::Plug::new(keys, &url)?),
        None => Plug::Mqtt(mqtt::Plug::new(keys, &build.log).await?),
    };
    Ok(Built::new(Tasmota { plug, log: build.log }))
}

/// Switches a plug, and leaves it off when a session starts or ends.
struct Tasmota {
    plug: Plug,
    log: DriverLog,
}

enum Plug {
    Mqtt(mqtt::Plug),
    Web(web::Plug),
}

impl Tasmota {
    /// Returns when the plug has said that it did it.
    async fn switch(&self, on: bool) -> Result<(), DriverError> {
        match &self.plug {
            Plug::Mqtt(plug) => plug.switch(on).await?,
            Plug::Web(plug) => plug.switch(on).await?,
        }
        self.log.info(if on { "power on" } else { "power off" });
        Ok(())
    }
}

impl Driver for Tasmota {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let on = match method {
                "on" => true,
                "off" => false,
                _ => return Err(DriverError::not_found(method)),
            };
            Args::new(method, args).end()?;
            self.switch(on).await?;
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
            match &self.plug {
                Plug::Web(plug) => Ok(stream::iter([Ok(plug.read().await?)]).boxed()),
                Plug::Mqtt(_) => Err(DriverError::Unimplemented(
                    "read: a plug behind MQTT tells its measurements on topics of its own; configure 'url' to have them \
                     read by HTTP"
                        .to_owned(),
                )),
            }
        }
        .boxed()
    }

    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.switch(false).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.switch(false).boxed()
    }
}
