//! Bodies in transfer: a request's, with a time limit on the wait for its bytes, and a response's, whose end is the end of the
//! request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::patience::Patience;
use super::watch::Watch;

/// Extension of a request: whether its body arrived too slowly.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct LateBody(Arc<AtomicBool>);

impl LateBody {
    pub(in crate::http) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The body of a request. Only the time in which the service waits for bytes counts, not its own processing.
#[derive(Debug)]
pub(super) struct Awaited {
    body: Incoming,
    patience: Patience,
    /// Start of the wait for the next bytes.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    late: LateBody,
    watch: Arc<Watch>,
}

impl Awaited {
    /// The request with a watched body.
    pub(super) fn wrap(request: Request<Incoming>, patience: Duration, watch: Arc<Watch>) -> Request<Self> {
        let late = LateBody::default();
        watch.left_unread(!request.body().is_end_stream());
        let mut request = request.map(|body| Self {
            body,
            patience: Patience::new(patience),
            since: None,
            alarm: None,
            late: late.clone(),
            watch,
        });
        request.extensions_mut().insert(late);
        request
    }

    /// True if the wait for the next bytes was too long. If not, the task is woken when it will be.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + self.patience.left();
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(context).is_ready()
    }
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.late.get() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let waited = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
                self.patience.moved(bytes.unwrap_or(0), waited);
                self.watch.left_unread(frame.is_some() && !self.body.is_end_stream());
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending if self.is_overdue(context) => {
                self.late.set();
                Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. When it is dropped, it has been handed to the socket and the connection waits for the next request.
#[derive(Debug)]
pub(super) struct Answered {
    body: Body,
    watch: Arc<Watch>,
}

impl Answered {
    pub(super) fn new(body: Body, watch: Arc<Watch>) -> Self {
        Self { body, watch }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.watch.answered();
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
