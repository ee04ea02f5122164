//! What a connection waits for, and since when.

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

/// How long the rest of a head may take that was on its way when the service was asked to stop.
const HURRY: Duration = Duration::from_secs(1);

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing came since the connection was made, or since its last response.
    Silent,
    /// The head of a request did not become whole.
    Head,
    /// The response is not read.
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
    /// Since when the client takes nothing of what is to be sent.
    blocked: Option<Instant>,
    /// How long it may go on with that.
    patience: Patience,
    /// When the service was asked to stop.
    leaving: Option<Instant>,
    /// Some of the last request's body was not read.
    unread: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nothing has come yet.
    New { since: Instant },
    /// A head is coming.
    Head { since: Instant },
    /// A request is being answered.
    Busy,
    /// A response has gone, and nothing has come since.
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

    /// A request is there.
    pub(super) fn requested(&self) {
        self.state().stage = Stage::Busy;
    }

    /// Its response is handed over to the socket.
    pub(super) fn answered(&self) {
        self.state().stage = Stage::Idle { since: Instant::now() };
    }

    /// Whether some of the request's body is still to be read.
    pub(super) fn left_unread(&self, unread: bool) {
        self.state().unread = unread;
    }

    /// Is some of the last request's body unread?
    pub(super) fn has_unread(&self) -> bool {
        self.state().unread
    }

    /// The service was asked to stop.
    pub(super) fn hurry(&self) {
        self.state().leaving.get_or_insert_with(Instant::now);
    }

    /// Since when it waits for a request, if that is what it does.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let state = self.state();
        match state.stage {
            Stage::New { since } | Stage::Head { since } | Stage::Idle { since } if state.blocked.is_none() => {
                Some(since)
            }
            _ => None,
        }
    }

    /// Has a part of a head come?
    pub(super) fn has_half_a_head(&self) -> bool {
        matches!(self.state().stage, Stage::Head { .. })
    }

    fn read(&self) {
        let mut state = self.state();
        state.stage = match state.stage {
            // From the connection on: one that was silent for long has less time left.
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
                // The end of a long response may still be on its way after the request is done with.
                if let Stage::Idle { since } = &mut state.stage {
                    *since = now;
                }
            }
            Poll::Ready(Err(_)) => {}
        }
    }

    /// When it is to be closed, and why, if nothing happens until then.
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

/// Rings when a connection is to be closed. Polled after its connection and by the same task, so it sees every change.
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

/// A socket that tells its [`Watch`] what moves.
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
