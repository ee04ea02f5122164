//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Limits;
use super::body::{Answered, Awaited};
use super::seats::{Crowded, Seat};
use super::watch::{Alarm, Overdue, Socket, Watch};
use crate::problem::{Code, Problem};

/// Maximum bytes of a request's head; hyper responds to more with 431.
const HEAD: usize = 64 << 10;

/// How long a client may continue to send after its last response, and the pause that ends this earlier.
const LINGER: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_secs(1);

/// Signals to all connections.
pub(super) struct Signals {
    /// Finish what is in flight.
    pub(super) stop: CancellationToken,
    /// Finish at once.
    pub(super) cut: CancellationToken,
}

/// How a connection ended, if not by itself.
enum End {
    Overdue(Overdue),
    /// Another connection needs its place.
    SentAway,
    Cut,
}

/// Serves the requests of a connection until it ends.
pub(super) async fn attend(stream: TcpStream, router: Router, seat: Seat, limits: Limits, signals: Signals) {
    let watch = Arc::clone(&seat.watch);
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&watch)));
    let crowded = seat.crowded;
    let service = service_fn({
        let watch = Arc::clone(&watch);
        move |request| Box::pin(respond(router.clone(), Arc::clone(&watch), crowded, limits, request))
    });
    let mut connection =
        http1::Builder::new().keep_alive(crowded.is_none()).max_header_size(HEAD).serve_connection(socket, service);
    let mut alarm = Alarm::new(Arc::clone(&watch));
    let (mut stopping, mut leaving) = (false, false);
    let end = loop {
        // The connection is polled first: the alarm depends on what it has just done.
        tokio::select! {
            biased;
            result = poll_fn(|context| connection.poll_without_shutdown(context)) => {
                return match result {
                    Ok(()) if watch.has_unread() => hang_up(connection.into_parts().io.into_inner(), &signals.cut).await,
                    Ok(()) => {}
                    Err(error) => tracing::debug!("a connection broke: {error}"),
                };
            }
            why = poll_fn(|context| alarm.poll(context)) => break End::Overdue(why),
            () = signals.cut.cancelled() => break End::Cut,
            () = signals.stop.cancelled(), if !stopping => stopping = true,
            () = seat.leave.cancelled(), if !leaving => {
                if watch.waits_since().is_some() {
                    break End::SentAway;
                }
                leaving = true;
            }
        }
        watch.hurry();
        // Ends it at once if it is idle, else after the response.
        Pin::new(&mut connection).graceful_shutdown();
    };
    let half_a_head = watch.has_half_a_head();
    let stream = connection.into_parts().io.into_inner().into_stream();
    close(&stream, &end, half_a_head);
}

async fn respond(
    router: Router,
    watch: Arc<Watch>,
    crowded: Option<Crowded>,
    limits: Limits,
    request: Request<Incoming>,
) -> Result<Response<Answered>, Infallible> {
    watch.requested();
    let mut request = Awaited::wrap(request, limits.body, Arc::clone(&watch));
    if let Some(crowded) = crowded {
        request.extensions_mut().insert(crowded);
    }
    let mut response = router.oneshot(request).await?;
    if watch.has_unread() {
        // The rest of the body is at the position of the next request, so no further request is possible on this connection. A
        // client that is not told so sends one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answered::new(body, watch)))
}

/// Closes a connection whose response was sent before the whole request had arrived. It is read for a while first: a socket
/// that is closed with
/// bytes unread is reset, and the reset takes the response away from the client that has not read it yet.
async fn hang_up(mut socket: Socket, cut: &CancellationToken) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let read = async {
        let mut dropped = vec![0; 64 << 10];
        while let Ok(Ok(1..)) = tokio::time::timeout(QUIET, socket.read(&mut dropped)).await {}
    };
    tokio::select! {
        () = cut.cancelled() => {}
        _ = tokio::time::timeout(LINGER, read) => {}
    }
}

/// The last response to a client whose connection the service ends. A client that has sent nothing gets none: it would take it
/// for the response to the request that it is about to send.
fn close(stream: &TcpStream, end: &End, half_a_head: bool) {
    match end {
        End::Overdue(Overdue::Head) => {
            farewell(stream, Code::RequestTimeout, "the head of the request did not arrive in time");
        }
        End::SentAway if half_a_head => farewell(stream, Code::TooManyConnections, Crowded::Service.detail()),
        // Unread bytes would stay in the kernel's memory for minutes.
        End::Overdue(Overdue::Unread) | End::Cut => drop(stream.set_zero_linger()),
        End::Overdue(Overdue::Silent) | End::SentAway => {}
    }
}

/// Sends a problem to a client without a request, as much as is possible without waiting.
pub(super) fn farewell(stream: &TcpStream, code: Code, detail: &str) {
    let problem = Problem::new(code, detail);
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let reason = StatusCode::from_u16(problem.status).ok().and_then(|status| status.canonical_reason());
    let response = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
         connection: close\r\n\r\n{body}",
        problem.status,
        reason.unwrap_or_default(),
        body.len()
    );
    // The client may be gone, or its buffer full: then the problem is not sent.
    let _ = stream.try_write(response.as_bytes());
}
