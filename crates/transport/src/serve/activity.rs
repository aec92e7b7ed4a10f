//! How many calls of a connection are in flight, and since when none is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

/// Shared by a connection and its calls.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    calls: AtomicUsize,
    /// Milliseconds from `opened` to the end of the last call.
    quiet_since: AtomicU64,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { opened: now, calls: AtomicUsize::new(0), quiet_since: AtomicU64::new(0) })
    }

    /// When the last call ended, or the connection was opened; `None` while a call is in flight.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        // The count first: a call that ends in between has stored its time before.
        (self.calls.load(Ordering::Acquire) == 0)
            .then(|| self.opened + Duration::from_millis(self.quiet_since.load(Ordering::Acquire)))
    }

    /// Counts a call until the guard is dropped.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Call(Arc::clone(self))
    }
}

/// One call in flight.
#[derive(Debug)]
pub(super) struct Call(Arc<Activity>);

impl Drop for Call {
    fn drop(&mut self) {
        let at = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.fetch_max(at, Ordering::AcqRel);
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

pin_project! {
    /// A call whose answer is not there yet.
    pub(super) struct Counting<F> {
        #[pin]
        answer: F,
        call: Option<Call>,
    }
}

impl<F> Counting<F> {
    pub(super) fn new(answer: F, call: Call) -> Self {
        Self { answer, call: Some(call) }
    }
}

impl<F, B, E> Future for Counting<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Counted<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let call = this.call.take();
        Poll::Ready(answer.map(|answer| answer.map(|body| Counted { body, _call: call })))
    }
}

pin_project! {
    /// The body of an answer: the call is in flight until it is dropped.
    pub(super) struct Counted<B> {
        #[pin]
        body: B,
        _call: Option<Call>,
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quiet_begins_when_the_last_call_ends() {
        let opened = Instant::now();
        let activity = Activity::new(opened);
        assert_eq!(activity.quiet_since(), Some(opened));
        let (first, second) = (activity.call(), activity.call());
        assert_eq!(activity.quiet_since(), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(second);
        assert_eq!(activity.quiet_since(), None);
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(first);
        assert_eq!(activity.quiet_since(), Some(opened + Duration::from_secs(7)));
    }
}
