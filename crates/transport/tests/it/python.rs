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
    let venv = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}"));
    let output = tokio::process::Command::new(venv.program("python"))
        .args(["-c", PEER, target, trust])
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
