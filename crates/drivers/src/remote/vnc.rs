//! `jumpstarter_driver_vnc.driver.Vnc`: the client bridges a browser to the child `tcp`.
use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use serde_json::json;

use crate::{Build, Driver, DriverError, Value, args::Args};

use super::require_tcp;

/// Tells whether a session is encrypted unless the user says otherwise.
pub(super) struct Vnc {
    encrypt: bool,
}

impl Vnc {
    pub(super) fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let encrypt = keys.or("default_encrypt", false);
        keys.end()?;
        require_tcp(&build)?;
        Ok(Self { encrypt })
    }
}

impl Driver for Vnc {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_vnc.client.VNClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        let answer = match method {
            "get_default_encrypt" => Args::new(method, args).end().map(|()| json!(self.encrypt)),
            _ => Err(DriverError::not_found(method)),
        };
        ready(answer).boxed()
    }
}
