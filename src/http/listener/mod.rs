//! The accept loop, with limits on the number of connections and on the time that a client may stall.
//!
//! `axum::serve` limits neither, and hyper has one timer for both heads and idle connections. So both limits are here, in front
//! of hyper's HTTP/1 connections:
//!
//! | a client that | is closed after | file |
//! |---|---|---|
//! | sends nothing, or half a head | [`Limits::head`] | `watch` |
//! | sends half a body | [`Limits::body`], with a 408 | `body` |
//! | does not read the response | [`Limits::write`] | `watch` |
//! | sends no further request | [`Limits::idle`] | `watch` |
//! | trickles | the same times: bytes earn it more, but only at [`LEAST_RATE`] | `patience` |
//!
//! [`seats`] limits the number of connections, and `connection` runs one of them.

mod body;
mod connection;
mod crowded;
mod files;
mod patience;
mod seats;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use files::{connections_within, raise_open_files};
pub use patience::LEAST_RATE;
pub use seats::PerPeer;

pub(super) use body::LateBody;
pub(super) use crowded::refuse_crowded;

use self::seats::{Crowded, Seats};
use crate::problem::Code;
use crate::shutdown;

/// Pause after an accept that failed because of a lack of resources, such as file descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// Bytes of a response that the kernel takes before they can be sent.
const AHEAD: u32 = 64 << 10;

/// Time limit for dropping connections that were cut off.
const CUT: Duration = Duration::from_secs(1);

/// Limits on the number of connections, and on the time that a client may stall.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of connections.
    pub connections: usize,
    /// Maximum number of connections from one address.
    pub per_peer: PerPeer,
    /// Time for the head of a request: from the connection on, or from its first byte.
    pub head: Duration,
    /// Time without a byte of a request's body, while it is being read.
    pub body: Duration,
    /// Time in which the client reads nothing of a response.
    pub write: Duration,
    /// Time between two requests of one connection.
    pub idle: Duration,
    /// Time for requests in flight to finish after the service is asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            per_peer: PerPeer::Usual,
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            drain: shutdown::DRAIN,
        }
    }
}

/// Accepts connections until `stop`, then lets requests in flight finish for [`Limits::drain`]; the rest is cut off.
pub(super) async fn run(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let seats = Arc::new(Seats::new(limits));
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match seats.admit(address.ip()) {
                Some(seat) => {
                    prepare(&stream);
                    let signals = connection::Signals { stop: stop.clone(), cut: cut.clone() };
                    connections.spawn(connection::attend(stream, router.clone(), seat, limits, signals));
                }
                None => connection::farewell(&stream, Code::TooManyConnections, Crowded::Service.detail()),
            },
            Err(error) => recover(&error, &seats).await,
        }
    }
    // No connection is accepted from here on.
    drop(listener);
    drain(&connections, &cut, limits.drain).await;
}

async fn drain(connections: &TaskTracker, cut: &CancellationToken, patience: Duration) {
    connections.close();
    if tokio::time::timeout(patience, connections.wait()).await.is_err() {
        tracing::warn!("{} connections were still in use after {patience:?}: cutting them off", connections.len());
        cut.cancel();
        let _ = tokio::time::timeout(CUT, connections.wait()).await;
    }
}

fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    // Without it, the kernel buffers megabytes, and accepts more only after a third of them was read: a slow reader would look
    // like one that does not read.
    let result = socket.set_tcp_notsent_lowat(AHEAD).and_then(|()| stream.set_nodelay(true));
    if let Err(error) = result {
        tracing::debug!("a socket option cannot be set: {error}");
    }
}

/// Continues after a failed accept. If the client gave up, there is no reason to wait; after a lack of file descriptors or
/// memory, there is.
async fn recover(error: &io::Error, seats: &Seats) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    tracing::error!("cannot accept a connection: {error}");
    seats.make_room();
    tokio::time::sleep(RECOVERY).await;
}
