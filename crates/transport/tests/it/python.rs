//! A real Python peer: the channel, the trust and the probe that existing clients and exporters use.

use std::time::Duration;

use jumpstarter_peers::NEWEST;
use jumpstarter_transport::ServeLimits;

use crate::kit::{LONG, own_tls, start_health};

/// Calls the health service as the released packages would call the controller; arguments: target, CA or "insecure".
const PEER: &str = r#"
import asyncio, base64, sys
from jumpstarter.common.grpc import aio_secure_channel, ssl_channel_credentials
from jumpstarter.config.tls import TLSConfigV1Alpha1

async def main(target, trust):
    if trust == "insecure":
        tls = TLSConfigV1Alpha1(insecure=True)
    else:
        tls = TLSConfigV1Alpha1(ca=base64.b64encode(open(trust, "rb").read()).decode())
    credentials = await ssl_channel_credentials(target, tls)
    async with aio_secure_channel(target, credentials, None) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        print((await check(b"", timeout=20)).hex())

asyncio.run(main(*sys.argv[1:]))
"#;

async fn python(target: &str, trust: &str) -> (bool, String) {
    run(PEER, target, trust).await
}

async fn run(script: &str, target: &str, trust: &str) -> (bool, String) {
    let venv = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}"));
    let output = tokio::process::Command::new(venv.program("python"))
        .args(["-c", script, target, trust])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LONG + Duration::from_secs(30), output).await.expect("in time").unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), shown)
}

#[tokio::test]
async fn python_peers_connect_with_our_ca_and_without_verification() {
    let directory = tempfile::tempdir().unwrap();
    let server = start_health(Some(own_tls(directory.path())), ServeLimits::default()).await;
    let ca = directory.path().join("ca.crt").display().to_string();
    for trust in [ca.as_str(), "insecure"] {
        let (success, shown) = python(&server.endpoint(), trust).await;
        // Status 1 in field 1: SERVING.
        assert!(success && shown.trim() == "0801", "{trust}: {shown}");
    }
    let other = tempfile::tempdir().unwrap();
    own_tls(other.path());
    let (success, shown) = python(&server.endpoint(), &other.path().join("ca.crt").display().to_string()).await;
    assert!(!success && shown.contains("UNAVAILABLE"), "another CA is refused: {shown}");
    server.stop().await;
}

/// Calls for some seconds, and keeps one call open; prints how many calls failed and how the open one ended.
const CALLS: &str = r#"
import asyncio, grpc, sys
from jumpstarter.common.grpc import aio_secure_channel, ssl_channel_credentials
from jumpstarter.config.tls import TLSConfigV1Alpha1

async def main(target, _):
    credentials = await ssl_channel_credentials(target, TLSConfigV1Alpha1(insecure=True))
    async with aio_secure_channel(target, credentials, None) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert (await watch.read()).hex() == "0801"
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        failed = 0
        for _ in range(150):
            try:
                await check(b"", timeout=20)
            except grpc.aio.AioRpcError as error:
                print(error, file=sys.stderr)
                failed += 1
            await asyncio.sleep(0.02)
        print(failed, watch.done())

asyncio.run(main(*sys.argv[1:]))
"#;

#[tokio::test]
async fn python_peers_do_not_notice_that_old_connections_end() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ServeLimits { max_connection_age: Some(Duration::from_millis(500)), ..ServeLimits::default() };
    let server = start_health(Some(own_tls(directory.path())), limits).await;
    let (success, shown) = run(CALLS, &server.endpoint(), "insecure").await;
    assert!(success && shown.trim() == "0 False", "{shown}");
    // Beside the probe of the certificate: the calls moved from connection to connection.
    let accepted = server.totals().accepted;
    assert!(accepted >= 4, "{accepted} connections");
    server.stop().await;
}
