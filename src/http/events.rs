//! `/v1/jobs/{id}/events`: events of a job, as a list or as a stream (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::auth::Caller;
use super::extract::{Id, accepts};
use super::list::{self, List};
use super::query::{FromQuery, Parameters, Params};
use super::{App, HttpError};
use crate::db::events as rows;
use crate::db::events::EventRow;
use crate::db::{DbError, jobs as job_rows};
use crate::ids::JobId;
use crate::service::jobs;

/// Poll interval of a stream.
const LOOK: Duration = Duration::from_millis(500);

/// Delay after which a client should reconnect.
const RECONNECT: Duration = Duration::from_secs(2);

/// Number of events that a stream fetches at once.
const BATCH: i64 = 200;

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/jobs/{id}/events", get(events))
}

#[derive(Debug, Serialize)]
struct JobEvent {
    object: &'static str,
    seq: i64,
    kind: String,
    detail: Value,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<EventRow> for JobEvent {
    fn from(EventRow { seq, kind, detail, created_at }: EventRow) -> Self {
        Self { object: "event", seq, kind, detail, created_at }
    }
}

#[derive(Debug)]
struct EventParams {
    after: Option<i64>,
    limit: Option<i64>,
}

impl FromQuery for EventParams {
    fn read(query: &mut Parameters) -> Self {
        Self {
            after: query.take("after", "the number of the last event that was seen"),
            limit: query.take("limit", "a number from 1 to 200"),
        }
    }
}

async fn events(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<JobId>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let job = jobs::get(&app.context, &caller.tenant, id).await?;
    if wants_stream(&headers) {
        // A browser that reconnects sends its last event.
        let seen = headers.get("last-event-id").and_then(|seen| seen.to_str().ok()?.trim().parse().ok());
        let after = seen.or(params.after).unwrap_or(0);
        if job.status.is_done() && after >= job.last_event {
            // In the EventSource standard, 204 is the only response after which a browser does not reconnect.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        return Ok(Sse::new(stream(app, id, after)).keep_alive(KeepAlive::default()).into_response());
    }
    let limit = list::limit(params.limit)?;
    let mut conn = app.context.db.connection().await?;
    let rows = rows::list(&mut conn, id, params.after.unwrap_or(0), limit + 1).await?;
    let events = rows.into_iter().map(JobEvent::from).collect();
    Ok(Json(List::new(events, limit, |event: &JobEvent| event.seq.to_string())).into_response())
}

/// True if the client accepts `text/event-stream` and does not prefer JSON.
fn wants_stream(headers: &HeaderMap) -> bool {
    let stream = accepts(headers, "text/event-stream");
    stream > 0.0 && stream >= accepts(headers, "application/json")
}

/// State of a stream.
struct Reader {
    app: App,
    job: JobId,
    after: i64,
    fetched: std::vec::IntoIter<EventRow>,
}

/// The job's events after `after`, as they occur; ends with the last event of a finished job. It starts with the delay after
/// which a client should reconnect.
fn stream(app: App, job: JobId, after: i64) -> impl Stream<Item = Result<Event, Infallible>> {
    let reader = Reader { app, job, after, fetched: Vec::new().into_iter() };
    let events = futures::stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    futures::stream::iter([Ok(Event::default().retry(RECONNECT))]).chain(events)
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(row) = self.fetched.next() {
                self.after = row.seq;
                let event = JobEvent::from(row);
                let named = Event::default().id(event.seq.to_string()).event(&event.kind);
                return named.json_data(&event).ok();
            }
            // Checked even if there are always new events.
            if self.app.stop.is_cancelled() {
                return None;
            }
            match self.fetch().await {
                Ok(Some(rows)) if !rows.is_empty() => self.fetched = rows.into_iter(),
                Ok(None) => return None,
                // No new events, or a short failure of the database: the stream stays open.
                Ok(Some(_)) | Err(_) => tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.app.stop.cancelled() => return None,
                },
            }
        }
    }

    /// The next events; `None` if the stream is complete.
    async fn fetch(&self) -> Result<Option<Vec<EventRow>>, DbError> {
        let mut conn = self.app.context.db.connection().await?;
        let Some(job) = job_rows::find(&mut conn, self.job).await? else { return Ok(None) };
        if job.status.is_done() && self.after >= job.last_event {
            return Ok(None);
        }
        rows::list(&mut conn, self.job, self.after, BATCH).await.map(Some)
    }
}
