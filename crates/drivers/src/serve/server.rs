//! The driver around a server: what HTTP and TFTP have in common.
use std::io;

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{Build, Built, Driver, DriverError, DriverLog, Value, args::Args};

use super::{
    Settings,
    service::{Service, bind_error},
};

/// What makes one kind of server.
pub(super) trait Protocol: Send + Sync + 'static {
    /// Its name in messages.
    const NAME: &'static str;
    /// Import path of the client class.
    const CLIENT: &'static str;

    /// Listens where the settings say and serves their directory.
    fn start(settings: &Settings, log: &DriverLog) -> impl Future<Output = io::Result<Service>> + Send;

    /// Where a server on `port` is found, as the log tells it.
    fn place(host: &str, port: u16) -> String;

    /// The answer to `method`, if it is one of this protocol's own. `port` is none while the server does not run.
    fn tell(method: &str, settings: &Settings, port: Option<u16>) -> Option<Value>;
}

/// Serves a directory between `start` and `stop`; its child `storage` fills the directory.
pub(super) struct Server<P> {
    settings: Settings,
    running: Mutex<Option<Service>>,
    log: DriverLog,
    protocol: std::marker::PhantomData<P>,
}

impl<P: Protocol> Server<P> {
    /// The driver for `settings`, and its child.
    pub(super) fn build(settings: Settings, build: Build) -> Result<Built, String> {
        let storage = settings.storage(&build)?;
        let server = Self { settings, running: Mutex::default(), log: build.log, protocol: std::marker::PhantomData };
        Ok(Built::new(server).child("storage", storage))
    }

    async fn start(&self) -> Result<(), DriverError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            self.log.warning(&format!("{} server is already running", P::NAME));
            return Ok(());
        }
        let Settings { host, port, .. } = &self.settings;
        let service = P::start(&self.settings, &self.log).await;
        let service = service.map_err(|err| bind_error(P::NAME, host, *port, err))?;
        self.log.info(&format!("{} server started {}", P::NAME, P::place(host, service.port)));
        *running = Some(service);
        Ok(())
    }

    async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(service) => {
                service.stop().await;
                self.log.info(&format!("{} server stopped", P::NAME));
            }
            None => self.log.debug(&format!("{} server is not running", P::NAME)),
        }
    }

    async fn answer(&self, method: &str) -> Result<Value, DriverError> {
        match method {
            "start" => self.start().await.map(|()| Value::Null),
            "stop" => {
                self.stop().await;
                Ok(Value::Null)
            }
            "get_host" => Ok(json!(self.settings.host)),
            _ => {
                let port = self.running.lock().await.as_ref().map(|service| service.port);
                P::tell(method, &self.settings, port).ok_or_else(|| DriverError::not_found(method))
            }
        }
    }
}

impl<P: Protocol> Driver for Server<P> {
    fn client(&self) -> &'static str {
        P::CLIENT
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let own = ["start", "stop", "get_host"].contains(&method);
            if !own && P::tell(method, &self.settings, None).is_none() {
                return Err(DriverError::not_found(method));
            }
            Args::new(method, args).end()?;
            self.answer(method).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async {
            self.stop().await;
            Ok(())
        }
        .boxed()
    }
}
