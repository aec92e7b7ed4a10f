//! From a client to an exporter without a router.

use std::time::Duration;

use jumpstarter_transport::direct::{Digest, DirectError, DirectServer, Ticket, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::kit::LONG;

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A port at which nobody listens any more.
async fn closed() -> String {
    listener().await.1
}

#[tokio::test]
async fn the_owner_of_the_certificate_gets_the_ticket_and_the_bytes() {
    let (listener, address) = listener().await;
    // A listener that accepts and then says nothing, and a closed port, hold nobody up.
    let (mute, silent) = self::listener().await;
    let server = DirectServer::generate().unwrap();
    let (fingerprint, ticket) = (server.fingerprint(), Ticket::generate().unwrap());
    let exporter = async {
        let (stream, _) = listener.accept().await.unwrap();
        let arrival = server.receive(stream).await.unwrap();
        let shown = arrival.ticket().digest();
        let mut stream = arrival.let_in().await.unwrap();
        let mut text = [0; 5];
        stream.read_exact(&mut text).await.unwrap();
        stream.write_all(&text).await.unwrap();
        stream.shutdown().await.unwrap();
        shown
    };
    let client = async {
        let endpoints = [closed().await, silent, "no-such-host.invalid:1".to_owned(), address.clone()];
        let (mut stream, found) = connect(&endpoints, fingerprint, &ticket, LONG).await.unwrap();
        assert_eq!(found.to_string(), address);
        stream.write_all(b"hello").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let (shown, text) = tokio::join!(exporter, client);
    assert_eq!((shown, text.as_str()), (ticket.digest(), "hello"));
    drop(mute);
}

#[tokio::test]
async fn nobody_else_sees_the_ticket() {
    let (listener, address) = listener().await;
    let (impostor, ticket) = (DirectServer::generate().unwrap(), Ticket::generate().unwrap());
    let fingerprint = DirectServer::generate().unwrap().fingerprint();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        impostor.receive(stream).await.map(|arrival| arrival.ticket().digest())
    };
    let endpoints = [address];
    let (served, refused) = tokio::join!(server, connect(&endpoints, fingerprint, &ticket, LONG));
    assert!(served.is_err(), "the impostor got {served:?}");
    assert!(matches!(refused, Err(DirectError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn what_can_go_wrong_is_told_apart_and_never_takes_longer_than_it_may() {
    let (listener, address) = listener().await;
    let server = DirectServer::generate().unwrap();
    let (fingerprint, ticket) = (server.fingerprint(), Ticket::generate().unwrap());
    let refuse = async {
        let (stream, _) = listener.accept().await.unwrap();
        server.receive(stream).await.unwrap().refuse().await;
    };
    let endpoints = [address.clone()];
    let ((), refused) = tokio::join!(refuse, connect(&endpoints, fingerprint, &ticket, LONG));
    assert!(matches!(refused, Err(DirectError::Refused)), "{refused:?}");

    // The listener's queue takes the connection, and nobody answers: as behind a firewall that drops packets.
    let short = Duration::from_millis(100);
    let late = connect(&endpoints, fingerprint, &ticket, short).await;
    assert!(matches!(late, Err(DirectError::Late(limit)) if limit == short), "{late:?}");
    for nowhere in [vec![], vec![closed().await], vec!["not an address".to_owned()]] {
        let away = connect(&nowhere, fingerprint, &ticket, LONG).await;
        assert!(matches!(away, Err(DirectError::Unreachable(_))), "{away:?}");
    }
}

#[tokio::test]
async fn a_client_that_gave_up_was_never_let_in() {
    let (listener, address) = listener().await;
    let server = DirectServer::generate().unwrap();
    let (fingerprint, ticket) = (server.fingerprint(), Ticket::generate().unwrap());
    let endpoints = [address];
    let client = connect(&endpoints, fingerprint, &ticket, Duration::from_secs(5));
    let arrival = {
        let mut client = std::pin::pin!(client);
        let receive = async {
            let (stream, _) = listener.accept().await.unwrap();
            server.receive(stream).await.unwrap()
        };
        // The ticket has arrived, and the client goes before it hears of it.
        tokio::select! {
            arrival = receive => arrival,
            early = &mut client => panic!("nobody has answered, but {early:?}"),
        }
    };
    assert!(arrival.let_in().await.is_err());
}

#[tokio::test]
async fn peers_that_speak_something_else_are_sent_away() {
    let (listener, address) = listener().await;
    let server = DirectServer::generate().unwrap();
    let receive = async {
        let (stream, _) = listener.accept().await.unwrap();
        server.receive(stream).await
    };
    let browser = async {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // Whatever TLS says to that, it is no session.
        let _ = stream.read_to_end(&mut answer).await;
    };
    let (received, ()) = tokio::join!(receive, browser);
    assert!(received.is_err());
    assert_ne!(Digest::of(b"a"), server.fingerprint());
}
