//! Reading the rest of a body that a refusal left unread.
//!
//! A server that answers and closes while the client still sends makes the client see a broken connection instead of the
//! answer. So the body of every request is lent to its handler, and what comes back unread with a refusal is read and
//! dropped, up to a bound.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, BodyDataStream, Bytes};
use futures::{Stream, StreamExt};

/// Most bytes that are read for a client's sake. Those who send more see the connection break.
const MOST: usize = 64 << 20;

/// Longest time that is spent on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that is lent out.
struct Lent {
    /// Taken only on drop.
    body: Option<BodyDataStream>,
    begun: bool,
    lender: Arc<Mutex<Option<Rest>>>,
}

struct Rest {
    body: BodyDataStream,
    begun: bool,
}

/// Who lent the body.
pub(super) struct Lender(Arc<Mutex<Option<Rest>>>);

/// Lends a body out.
pub(super) fn lend(body: Body) -> (Body, Lender) {
    let slot = Arc::new(Mutex::new(None));
    let lent = Lent { body: Some(body.into_data_stream()), begun: false, lender: Arc::clone(&slot) };
    (Body::from_stream(lent), Lender(slot))
}

impl Lender {
    /// Reads what came back unread. A client that waits for our word before it sends anything (`Expect: 100-continue`)
    /// has its word by the refusal, unless reading had begun.
    pub(super) async fn drain(self, waits_for_our_word: bool) {
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Rest { mut body, begun }) = rest else { return };
        if waits_for_our_word && !begun {
            return;
        }
        let reading = async {
            let mut read = 0;
            while let Some(Ok(bytes)) = body.next().await {
                read += bytes.len();
                if read > MOST {
                    break;
                }
            }
        };
        // Too slow a client sees the connection break, too.
        let _ = tokio::time::timeout(PATIENCE, reading).await;
    }
}

impl Stream for Lent {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begun = true;
        match &mut self.body {
            Some(body) => body.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            let rest = Rest { body, begun: self.begun };
            *self.lender.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}
