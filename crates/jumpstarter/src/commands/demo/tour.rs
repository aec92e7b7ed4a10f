//! What the demo shows, step by step.

use std::{fmt, time::Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use jumpstarter_client::{Client, CreateLease, ExporterStatus};
use jumpstarter_config::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};

use super::say;

/// Bytes sent through the router and back.
const ECHO: usize = 4 * 1024 * 1024;

/// Prints each step with the time it took.
pub(super) struct Steps {
    number: u32,
    started: Instant,
    last: Instant,
}

impl Steps {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { number: 0, started: now, last: now }
    }

    pub(super) fn done(&mut self, what: impl fmt::Display) {
        self.number += 1;
        let took = self.last.elapsed().as_secs_f64() * 1e3;
        self.last = Instant::now();
        say(format_args!("{:>2}. {took:>8.1} ms  {what}", self.number));
    }

    pub(super) fn total(&self) {
        say(format_args!("    {:>8.1} ms  in all", self.started.elapsed().as_secs_f64() * 1e3));
    }
}

/// Leases the device, uses it in all three ways, and gives it back.
pub(super) async fn run(
    steps: &mut Steps,
    config: &ClientConfig,
    mut reported: watch::Receiver<Option<ExporterStatus>>,
    exporter: &str,
) -> anyhow::Result<()> {
    reported.wait_for(|status| *status == Some(ExporterStatus::Available)).await.context("the exporter ended")?;
    steps.done(format_args!("exporter `{exporter}` registered and available"));

    let client = Client::from_config(config).await?;
    let found = client.list_exporters("board=demo").await?;
    ensure!(found.iter().any(|one| one.name == exporter), "the exporter is not listed");
    steps.done("client connected over TLS and found it by its label");

    let wanted = CreateLease {
        selector: "board=demo".to_owned(),
        duration: std::time::Duration::from_mins(5),
        ..CreateLease::default()
    };
    let lease = client.create_lease(&wanted).await?;
    let lease = client.wait_ready(&lease.name, |_| {}).await?;
    steps.done(format_args!("lease {} is ready", lease.name));

    let session = client.session(&lease.name).await?;
    let report = session.report().await?;
    steps.done(format_args!("dialled through the router; {} drivers reported", report.drivers.len()));

    session.call("power", "on", &[]).await?;
    steps.done("power on (a unary driver call)");

    let mut readings = session.stream_call("power", "read", &[]).await?;
    while let Some(reading) = readings.next().await {
        let reading = reading?;
        steps.done(format_args!("reading: {} V, {} A (streamed)", reading["voltage"], reading["current"]));
    }

    let stream = session.open("echo", "connect").await?;
    let sent: Vec<u8> = (0..ECHO).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect();
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    let mut received = Vec::with_capacity(ECHO);
    let began = Instant::now();
    let (written, read) = tokio::join!(send, from.read_to_end(&mut received));
    written.context("send to the echo")?;
    read.context("receive the echo")?;
    ensure!(received == sent, "the echo is not what was sent");
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = ECHO as f64 / 1e6 / began.elapsed().as_secs_f64();
    steps.done(format_args!("{} MiB echoed through the router, {rate:.0} MB/s each way", ECHO >> 20));

    session.call("power", "off", &[]).await?;
    session.end_session().await?;
    client.delete_lease(&lease.name).await?;
    steps.done("power off, session ended, lease released");
    Ok(())
}
