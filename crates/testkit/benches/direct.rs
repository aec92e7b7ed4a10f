//! The direct way and the one through the router, with the same programs in the same run: driver calls and bulk.
//!
//! `DIRECT_MIB` (64) goes to an echo and comes back; `DIRECT_CALLS` (500) are made one after the other. Service, exporter
//! and this client share one machine, so the router's share of the work is seen, and no network is.

mod shared;

use std::{env, time::Duration, time::Instant};

use jumpstarter_client::{Client, Session, Way};
use jumpstarter_testkit::{ExporterSetup, Lab, figures::say, jmp::Release};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::shared::leased;

const MIB: usize = 1024 * 1024;

fn number(name: &str, usual: usize) -> usize {
    env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
}

fn main() {
    jumpstarter_transport::install_crypto_provider();
    let lab = Lab::start();
    let setup = ExporterSetup::new("dut").release(Release::Rust).env("JMP_DIRECT_LISTEN", "127.0.0.1:0");
    let _dut = lab.exporter(setup);
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let (client, lease) = leased(&lab).await;
        // In turns, so that a machine that is busy for a while is unfair to both.
        for _ in 0..2 {
            for limit in [Duration::from_secs(1), Duration::ZERO] {
                client.set_direct_limit(limit);
                measure(&client, &lease).await;
            }
        }
        client.delete_lease(&lease).await.expect("release a lease");
    });
}

async fn measure(client: &Client, lease: &str) {
    let begin = Instant::now();
    let session = client.session(lease).await.expect("open a session");
    session.report().await.expect("read the report");
    let opened = begin.elapsed();
    let name = match session.way().expect("a session of a lease has a way") {
        Way::Direct(_) => "direct",
        Way::Router(_) => "router",
    };
    let mut calls = Vec::new();
    for _ in 0..number("DIRECT_CALLS", 500) {
        let begin = Instant::now();
        session.call("power", "on", &[]).await.expect("call a driver");
        calls.push(begin.elapsed());
    }
    calls.sort();
    let mib = number("DIRECT_MIB", 64);
    let seconds = echo(&session, mib).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = mib as f64 / seconds;
    say(
        name,
        format_args!(
            "first answer {opened:.1?}; call p50 {:.0?}, p99 {:.0?}; echo {rate:.0} MiB/s each way",
            calls[calls.len() / 2],
            calls[calls.len() * 99 / 100],
        ),
    );
}

/// Sends so much and reads it back; seconds.
async fn echo(session: &Session, mib: usize) -> f64 {
    let stream = session.open("echo", "connect").await.expect("open a stream");
    let (mut read, mut write) = tokio::io::split(stream);
    let begin = Instant::now();
    let send = async {
        let block = vec![7; MIB];
        for _ in 0..mib {
            write.write_all(&block).await.expect("write");
        }
        write.shutdown().await.expect("end");
    };
    let receive = async {
        let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
        loop {
            match read.read(&mut buffer).await.expect("read") {
                0 => break total,
                n => total += n,
            }
        }
    };
    let ((), total) = tokio::join!(send, receive);
    assert_eq!(total, mib * MIB);
    begin.elapsed().as_secs_f64()
}
