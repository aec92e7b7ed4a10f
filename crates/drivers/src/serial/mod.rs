//! `jumpstarter_driver_pyserial.driver.PySerial`: a serial port, a PTY, or what a pySerial URL stands for.
mod port;
mod stream;

use std::{path::Path, sync::Mutex};

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    Build, Built, ByteStream, Driver, DriverError, DriverLog, Registry,
    args::Args,
    network::{self, Echo},
    storage::Resources,
};

use port::Port;
use stream::{Cut, Paced};

const CLASS: &str = "jumpstarter_driver_pyserial.driver.PySerial";

pub(crate) fn register(all: &mut Registry) {
    all.add_async(CLASS, |build| async { Ok(Built::new(PySerial::new(build).await?)) });
    // Kinds of URLs that only pySerial knows stay with it.
    all.leave_to_host(CLASS, |config: &Map<String, Value>| {
        config.get("url").and_then(Value::as_str).is_some_and(|url| Port::parse(url).is_err())
    });
}

/// The port at `path`, which need not be there yet, as a child of another driver.
pub(crate) async fn at(path: &Path, log: DriverLog, resources: Resources) -> Result<Built, String> {
    let mut config = Map::new();
    config.insert("url".to_owned(), path.display().to_string().into());
    config.insert("check_present".to_owned(), false.into());
    let build = Build { config, children: Vec::new(), proxies: Vec::new(), log, resources };
    Ok(Built::new(PySerial::new(build).await?))
}

/// Opens the port anew for each stream; several streams at once see the same wire.
struct PySerial {
    port: Port,
    baudrate: u32,
    cps: Option<f64>,
    keep_hupcl: bool,
    /// Cancelled to drop the streams of now.
    streams: Mutex<CancellationToken>,
    log: DriverLog,
}

impl PySerial {
    async fn new(mut build: Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let url: String = keys.required("url");
        let baudrate = keys.or("baudrate", 115_200_u32);
        let check = keys.or("check_present", true);
        let cps: Option<f64> = keys.option("cps");
        let disable_hupcl = keys.or("disable_hupcl", false);
        if baudrate == 0 {
            keys.fault("baudrate", "must be positive");
        }
        if cps.is_some_and(|cps| !cps.is_finite()) {
            keys.fault("cps", "must be a number of characters per second");
        }
        keys.end()?;
        let port = Port::parse(&url).map_err(|fault| format!("config key 'url': {fault}"))?;
        let serial = Self {
            port,
            baudrate,
            // As in Python, zero and less mean no limit.
            cps: cps.filter(|cps| *cps > 0.0),
            keep_hupcl: !disable_hupcl,
            streams: Mutex::default(),
            log: build.log,
        };
        if check {
            let absent = |err: DriverError| format!("{err}; plug it in, or set check_present: false");
            serial.port.check(baudrate).await.map_err(absent)?;
        }
        Ok(serial)
    }

    async fn connect(&self) -> Result<ByteStream, DriverError> {
        let cut = self.streams.lock().expect("no code panics while it holds the streams").child_token();
        let cps = self.cps.map(|cps| format!(", cps: {cps}")).unwrap_or_default();
        self.log.info(&format!("Connecting to {}, baudrate: {}{cps}", self.port, self.baudrate));
        let io: ByteStream = match &self.port {
            Port::Loop => Box::new(Echo::new()),
            Port::Socket(host, port) => Box::new(network::connect_tcp(host, *port).await?),
            Port::Device(path) => {
                let stream = port::open(path, self.baudrate)?;
                if !self.keep_hupcl {
                    match port::disable_hupcl(path) {
                        Ok(()) => self.log.info(&format!("Disabled HUPCL on {}", self.port)),
                        Err(err) => self.log.warning(&format!("HUPCL of {} stays: {err}", self.port)),
                    }
                }
                Box::new(stream)
            }
        };
        let io: ByteStream = match self.cps {
            Some(cps) => Box::new(Paced::new(io, cps)),
            None => io,
        };
        Ok(Box::new(Cut::new(io, cut)))
    }

    /// Drops the streams of now; later ones open the port anew.
    fn hang_up(&self) {
        let mut streams = self.streams.lock().expect("no code panics while it holds the streams");
        std::mem::take(&mut *streams).cancel();
    }
}

impl Driver for PySerial {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_pyserial.client.PySerialClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let mut args = Args::new(method, args);
            match method {
                "close" => {
                    args.end()?;
                    self.hang_up();
                }
                "set_dtr" | "set_rts" => {
                    let level = args.boolean("value")?;
                    args.end()?;
                    if let Port::Device(path) = &self.port {
                        port::set_line(path, self.baudrate, method == "set_dtr", level)?;
                    }
                }
                _ => return Err(DriverError::not_found(method)),
            }
            Ok(Value::Null)
        }
        .boxed()
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        async move {
            match method {
                "connect" => self.connect().await,
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        async {
            self.hang_up();
            Ok(())
        }
        .boxed()
    }
}
