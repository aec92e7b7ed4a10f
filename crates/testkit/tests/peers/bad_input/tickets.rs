//! Tickets of the router: for one stream, for one side, once.

use std::time::Duration;

use futures::StreamExt as _;
use jumpstarter_protocol::v1::{FrameType, StreamRequest, StreamResponse};
use jumpstarter_testkit::{
    Lab, MINUTE,
    grpc::{Grpc, metadata, wanted, with},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{refused, still_serving};
use crate::wire::ScriptedExporter;

/// One half of a stream.
struct Half {
    frames: mpsc::Sender<StreamRequest>,
    answers: Streaming<StreamResponse>,
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Half")
    }
}

/// Sends a first frame and opens the half. The router answers once it has judged the ticket.
async fn open(peer: &Grpc, endpoint: &str, ticket: &str) -> Result<Half, Status> {
    let (frames, queue) = mpsc::channel(4);
    frames.send(data(b"first")).await.unwrap();
    let request = with(ReceiverStream::new(queue), metadata(&[("authorization", &format!("Bearer {ticket}"))]));
    let answers = peer.router_in_runtime(endpoint).stream(request).await?.into_inner();
    Ok(Half { frames, answers })
}

fn data(payload: &'static [u8]) -> StreamRequest {
    StreamRequest { payload: payload.into(), frame_type: FrameType::Data.into() }
}

/// Opens, and waits for what comes: a refusal, or the end of `patience`.
fn judged(peer: &Grpc, endpoint: &str, ticket: &str) -> Result<(), Status> {
    peer.block_on(async {
        let patience = Duration::from_secs(5);
        let judged = async { open(peer, endpoint, ticket).await?.answers.message().await.map(|_| ()) };
        tokio::time::timeout(patience, judged).await.unwrap_or(Ok(()))
    })
}

#[test]
fn a_ticket_opens_one_side_of_one_stream_once() {
    let lab = Lab::start();
    let mut dut = ScriptedExporter::start(&lab, "dut");
    let alice = lab.grpc_client("alice");
    let _ = alice.create("mine", wanted("name=dut", MINUTE)).unwrap();
    dut.await_lease("mine");
    dut.listen("mine");
    dut.report_ready();

    let for_client = alice.dial("mine").unwrap();
    let for_exporter = dut.ticket();
    let endpoint = for_client.router_endpoint.clone();
    assert_ne!(for_client.router_token, for_exporter.router_token, "each side has its own");

    for (case, ticket) in [
        ("no ticket", String::new()),
        ("garbage", "garbage".to_owned()),
        ("a client's token", alice.token.clone()),
        ("a cut ticket", for_client.router_token[..for_client.router_token.len() - 4].to_owned()),
    ] {
        refused(case, judged(&alice, &endpoint, &ticket), Code::Unauthenticated);
    }
    let without = alice.block_on(async {
        let queue = ReceiverStream::new(mpsc::channel(1).1);
        alice.router_in_runtime(&endpoint).stream(queue).await.map(|_| ())
    });
    refused("no metadata", without, Code::Unauthenticated);

    // The honest pair: bytes pass both ways, those sent before the partner came among them.
    alice.block_on(async {
        let client = open(&alice, &endpoint, &for_client.router_token);
        let exporter = open(dut.grpc(), &endpoint, &for_exporter.router_token);
        let (mut client, mut exporter) = tokio::try_join!(client, exporter).unwrap();
        for half in [&mut client, &mut exporter] {
            assert_eq!(&half.answers.message().await.unwrap().unwrap().payload[..], b"first");
        }
        client.frames.send(data(b"more")).await.unwrap();
        assert_eq!(&exporter.answers.message().await.unwrap().unwrap().payload[..], b"more");

        // Replayed while the stream lives: by the same side, and by the other.
        for (case, ticket) in [("client's", &for_client.router_token), ("exporter's", &for_exporter.router_token)] {
            let again = async { open(&alice, &endpoint, ticket).await?.answers.message().await.map(|_| ()) };
            let status = tokio::time::timeout(MINUTE, again).await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "the {case} ticket twice: {status:?}");
        }
        client.frames.send(data(b"still here")).await.unwrap();
        assert_eq!(&exporter.answers.message().await.unwrap().unwrap().payload[..], b"still here");

        // The end of one side is the end of the other, soon and in good order.
        drop(client);
        let rest = tokio::time::timeout(MINUTE, exporter.answers.collect::<Vec<_>>()).await.unwrap();
        for message in rest {
            assert_eq!(message.unwrap().frame_type(), FrameType::Goaway);
        }
    });

    // Replayed after the stream ended.
    refused("after the end", judged(&alice, &endpoint, &for_client.router_token), Code::Unauthenticated);
    still_serving(&alice);
}
