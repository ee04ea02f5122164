//! The state of a connection, and since when it waits.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use super::patience::Patience;

/// Time limit for the rest of a head that was arriving when the service was asked to stop.
const HURRY: Duration = Duration::from_secs(1);

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No byte arrived since the connection was opened, or since its last response.
    Silent,
    /// The head of a request was not completed.
    Head,
    /// The client does not read the response.
    Unread,
}

/// What a connection waits for. Written by its socket and its requests, read by the [`Alarm`] and when another connection
/// needs the place.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Since when the client has read nothing.
    blocked: Option<Instant>,
    /// Time budget for reading.
    patience: Patience,
    /// When the service was asked to stop.
    leaving: Option<Instant>,
    /// Some of the last request's body was not read.
    unread: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// No byte has arrived yet.
    New { since: Instant },
    /// A head is arriving.
    Head { since: Instant },
    /// A request is being handled.
    Busy,
    /// A response was sent, and no byte has arrived since.
    Idle { since: Instant },
}

impl Watch {
    pub(super) fn new(limits: Limits) -> Self {
        let stage = Stage::New { since: Instant::now() };
        let state = State { stage, blocked: None, patience: Patience::new(limits.write), leaving: None, unread: false };
        Self { limits, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has arrived.
    pub(super) fn requested(&self) {
        self.state().stage = Stage::Busy;
    }

    /// Its response was handed over to the socket.
    pub(super) fn answered(&self) {
        self.state().stage = Stage::Idle { since: Instant::now() };
    }

    /// Records whether some of the request's body is unread.
    pub(super) fn left_unread(&self, unread: bool) {
        self.state().unread = unread;
    }

    /// True if some of the last request's body is unread.
    pub(super) fn has_unread(&self) -> bool {
        self.state().unread
    }

    /// The service was asked to stop.
    pub(super) fn hurry(&self) {
        self.state().leaving.get_or_insert_with(Instant::now);
    }

    /// Since when it waits for a request, if it does.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let state = self.state();
        match state.stage {
            Stage::New { since } | Stage::Head { since } | Stage::Idle { since } if state.blocked.is_none() => {
                Some(since)
            }
            _ => None,
        }
    }

    /// True if a part of a head has arrived.
    pub(super) fn has_half_a_head(&self) -> bool {
        matches!(self.state().stage, Stage::Head { .. })
    }

    fn read(&self) {
        let mut state = self.state();
        state.stage = match state.stage {
            // Measured from the connection: one that was silent for long has less time left.
            Stage::New { since } => Stage::Head { since },
            Stage::Idle { .. } => Stage::Head { since: Instant::now() },
            stage => stage,
        };
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let (mut state, now) = (self.state(), Instant::now());
        match written {
            Poll::Pending => {
                state.blocked.get_or_insert(now);
            }
            Poll::Ready(Ok(bytes)) => {
                let waited = state.blocked.take().map_or(Duration::ZERO, |since| now - since);
                state.patience.moved(*bytes, waited);
                // The end of a long response can still be in transfer after the request is done.
                if let Stage::Idle { since } = &mut state.stage {
                    *since = now;
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// When it will be closed, and why, if nothing happens until then.
    fn deadline(&self) -> Option<(Instant, Overdue)> {
        let state = self.state();
        if let Some(since) = state.blocked {
            return Some((since + state.patience.left(), Overdue::Unread));
        }
        let (deadline, why) = match state.stage {
            Stage::Busy => return None,
            Stage::New { since } => (since + self.limits.head, Overdue::Silent),
            Stage::Head { since } => (since + self.limits.head, Overdue::Head),
            Stage::Idle { since } => (since + self.limits.idle, Overdue::Silent),
        };
        Some((state.leaving.map_or(deadline, |asked| deadline.min(asked + HURRY)), why))
    }
}

/// Completes when a connection must be closed. It is polled after its connection by the same task, so it sees every change.
#[derive(Debug)]
pub(super) struct Alarm {
    watch: Arc<Watch>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, sleep: Box::pin(sleep_until(Instant::now())) }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, why)) = self.watch.deadline() else { return Poll::Pending };
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        ready!(self.sleep.as_mut().poll(context));
        Poll::Ready(why)
    }
}

/// A socket that reports its traffic to its [`Watch`].
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.watch.read();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
