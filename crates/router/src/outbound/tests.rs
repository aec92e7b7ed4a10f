//! Both responses of a stream, driven without sockets. A response is polled only after it was woken,
//! so that a forgotten wake-up shows as bytes that never come.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use axum::body::Body;
use http_body::Body as _;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::{Config, Refusal, Router, Side, StreamId, StreamTicket, TicketCheck};

/// Events in one case; the channels hold as many.
const EVENTS: usize = 40;

struct NoTickets;

impl TicketCheck for NoTickets {
    fn check(&self, _: &str) -> Result<StreamTicket, Refusal> {
        Err(Refusal::NoTicket)
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One half: what it sent, and what it got.
struct Half {
    requests: Option<mpsc::Sender<Result<Bytes, io::Error>>>,
    outbound: Option<Outbound>,
    woken: Arc<Flag>,
    sent: Vec<u8>,
    received: Vec<u8>,
    status: Option<i32>,
    hung_up: bool,
}

impl Half {
    fn arrive(router: &Router, side: Side) -> Self {
        let (requests, body) = mpsc::channel(EVENTS + 1);
        let ticket = StreamTicket {
            stream_id: StreamId::new("s"),
            side: Some(side),
            one_use_id: String::new(),
            expires_at: Timestamp::now() + SignedDuration::from_mins(30),
        };
        let body = Body::from_stream(ReceiverStream::new(body));
        let outbound = router.core().open(ticket, None, body).expect("let in");
        Self {
            requests: Some(requests),
            outbound: Some(outbound),
            woken: Arc::new(Flag(AtomicBool::new(true))),
            sent: Vec::new(),
            received: Vec::new(),
            status: None,
            hung_up: false,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(requests) = &self.requests {
            // Nobody may be listening any more; then nothing counts as sent.
            if requests.try_send(Ok(Bytes::copy_from_slice(bytes))).is_ok() {
                self.sent.extend_from_slice(bytes);
            }
        }
    }

    fn finish(&mut self) {
        self.requests = None;
    }

    fn hang_up(&mut self) {
        if let Some(requests) = self.requests.take() {
            drop(requests.try_send(Err(io::ErrorKind::ConnectionReset.into())));
        }
        self.outbound = None;
        self.hung_up = true;
    }

    /// Polls if woken; whether it was.
    fn run(&mut self) -> bool {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(self.woken.clone());
        let mut cx = Context::from_waker(&waker);
        while let Some(outbound) = &mut self.outbound {
            match Pin::new(outbound).poll_frame(&mut cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.outbound = None,
                Poll::Ready(Some(Ok(frame))) => {
                    assert!(self.status.is_none(), "trailers are the last");
                    match frame.into_data() {
                        Ok(bytes) => {
                            assert!(!bytes.is_empty());
                            self.received.extend_from_slice(&bytes);
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().expect("data or trailers");
                            let status = trailers["grpc-status"].to_str().expect("digits");
                            self.status = Some(status.parse().expect("digits"));
                        }
                    }
                }
                Poll::Ready(Some(Err(never))) => match never {},
            }
        }
        true
    }
}

fn settle(halves: &mut [Option<Half>; 2]) {
    while halves.iter_mut().flatten().any(Half::run) {}
}

#[derive(Debug, Clone)]
enum Event {
    Arrive,
    Send(usize),
    SendGoaway,
    Finish,
    HangUp,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event, bool)>> {
    let event = prop_oneof![
        4 => Just(Event::Arrive),
        // Far more than is merged or read ahead, and the smallest there is.
        8 => prop_oneof![0usize..80, 10_000usize..40_000].prop_map(Event::Send),
        1 => Just(Event::SendGoaway),
        1 => Just(Event::Finish),
        1 => Just(Event::HangUp),
    ];
    // Who does it, what, and whether the responses are polled before the next event.
    proptest::collection::vec((0usize..2, event, any::<bool>()), 0..EVENTS)
}

/// Whether it was told nothing yet.
fn half_is_quiet(half: Option<&Half>) -> bool {
    half.is_none_or(|half| half.hung_up || (half.received.is_empty() && half.status.is_none()))
}

/// What the other side should have got of `sent`, and with which status.
fn expected(sent: &[u8]) -> (Vec<u8>, i32) {
    let mut scanner = crate::scanner::Scanner::new(u32::MAX);
    scanner.scan(sent).expect("sound");
    let mut bytes = sent.to_vec();
    match (scanner.at_border(), scanner.saw_goaway()) {
        (false, _) => return (bytes, Code::Unavailable as i32),
        (true, true) => {}
        (true, false) => bytes.extend_from_slice(GOAWAY),
    }
    (bytes, 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn bytes_arrive_once_in_order_and_every_end_is_told(events in events(), cut in 0usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let router = Router::new(Config::default(), Arc::new(NoTickets));
        let sides = [Side::Client, Side::Exporter];
        let mut halves = [None, None];
        for (who, event, poll) in events {
            match (event, &mut halves[who]) {
                (Event::Arrive, half @ None) => *half = Some(Half::arrive(&router, sides[who])),
                (Event::Arrive, Some(_)) | (_, None) => {}
                (Event::Send(length), Some(half)) => {
                    let mut message = vec![0];
                    message.extend(u32::try_from(length).expect("small").to_be_bytes());
                    message.extend(std::iter::repeat_n(u8::try_from(half.sent.len() % 251).expect("small"), length));
                    half.send(&message);
                }
                (Event::SendGoaway, Some(half)) => half.send(GOAWAY),
                (Event::Finish, Some(half)) => half.finish(),
                (Event::HangUp, Some(half)) => half.hang_up(),
            }
            if poll {
                settle(&mut halves);
            }
        }
        settle(&mut halves);
        // One side breaks off, perhaps in the middle of a message; then all is over by itself, but for
        // a half that waits.
        if let Some(half) = &mut halves[0] {
            if cut > 0 {
                half.send(&[0, 0, 0, 0, 9, 1, 2, 3, 4][..cut]);
            }
            settle(&mut halves);
        }
        if let Some(half) = &mut halves[0] {
            half.hang_up();
        }
        settle(&mut halves);
        if router.stats().joined == 0 {
            // A half that ended its requests still waits for its partner; nothing but its time or this ends that.
            if let Some(half) = &mut halves[1] {
                half.finish();
                settle(&mut halves);
                prop_assert!(half_is_quiet(halves[1].as_ref()));
            }
            router.drain();
            settle(&mut halves);
        }
        if router.stats().joined == 1 {
            let [Some(one), Some(other)] = &halves else { panic!("both were there") };
            for (sender, receiver) in [(one, other), (other, one)] {
                let (bytes, status) = expected(&sender.sent);
                if receiver.hung_up {
                    prop_assert!(bytes.starts_with(&receiver.received));
                } else {
                    prop_assert_eq!(&receiver.received, &bytes);
                    prop_assert_eq!(receiver.status, Some(status));
                }
            }
        } else {
            for half in halves.iter().flatten() {
                prop_assert!(half.hung_up || (half.received == GOAWAY && half.status == Some(14)));
            }
        }
        drop(halves);
        let stats = router.stats();
        prop_assert_eq!((stats.open, stats.waiting), (0, 0));
        prop_assert!(router.core().is_empty());
    }
}
