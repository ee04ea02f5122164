//! Notifications from PostgreSQL. They only shorten the wait: without one, a poll follows within [`super::POLL`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::ids::JobId;

/// Channel: there is something to claim.
pub const TASKS: &str = "practised_tasks";

/// Channel: the job in the payload is to stop.
pub const CANCEL: &str = "practised_cancel";

/// Receives the notifications.
#[derive(Debug, Clone)]
pub struct WakeUps {
    /// There is something to claim.
    pub tasks: Arc<Notify>,
    /// A job is to stop.
    pub cancelled: broadcast::Sender<JobId>,
}

/// Listens until `stop`. A lost connection is opened again; polling covers what was missed meanwhile.
pub fn listen(db: Db, stop: CancellationToken) -> WakeUps {
    let wake_ups = WakeUps { tasks: Arc::new(Notify::new()), cancelled: broadcast::channel(64).0 };
    let heard = wake_ups.clone();
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            let lost = tokio::select! {
                lost = hear(&db, &heard) => lost,
                () = stop.cancelled() => return,
            };
            if let Err(error) = lost {
                tracing::debug!("not listening for a moment: {error}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    wake_ups
}

async fn hear(db: &Db, heard: &WakeUps) -> Result<(), crate::db::DbError> {
    let mut listener = db.listen(&[TASKS, CANCEL]).await?;
    // Notifications from before the listener was registered.
    heard.tasks.notify_one();
    loop {
        let told = listener.recv().await?;
        match told.channel() {
            CANCEL => {
                if let Ok(job) = told.payload().parse() {
                    // An error only means that nothing is subscribed at the moment.
                    let _ = heard.cancelled.send(job);
                }
            }
            _ => heard.tasks.notify_one(),
        }
    }
}
