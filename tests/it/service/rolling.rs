//! A new version is rolled out while customers send jobs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::RwLock;

use super::soak::{SecondService, quick};
use crate::support::service::{OtherWorker, TestApp};

/// Where the load balancer sends requests.
type Addresses = RwLock<Vec<String>>;

/// Sends jobs one after the other until told to stop, to the next address where one does not answer; their ids.
async fn customer(app: &TestApp, addresses: &Addresses, job: Value, done: &AtomicBool) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let mut job = job.clone();
        job["seed"] = number.into();
        for address in addresses.read().await.iter().cycle().skip(number).take(4) {
            let key = format!("customer-{number}");
            let sent =
                app.http.post(format!("{address}/v1/jobs")).header("Idempotency-Key", key).json(&job).send().await;
            // A connection that is refused is the load balancer's to try elsewhere; an answer has to be the right one.
            let Ok(answer) = sent else { continue };
            assert_eq!(answer.status(), 202);
            ids.push(answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned());
            break;
        }
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    ids
}

#[tokio::test]
async fn a_rolling_restart_of_services_and_workers_fails_no_job_and_spends_no_attempt() {
    // It holds the database and takes no requests.
    let app = TestApp::without_workers().await;
    let mut job = quick(&app).await;
    job["exclude_blocks"] = crate::support::networks::TinyResNet::default().droppable()[1..].into();
    let mut services = [SecondService::start(&app).await, SecondService::start(&app).await];
    let mut workers = [OtherWorker::start(&app, &[], &[]).await, OtherWorker::start(&app, &[], &[]).await];
    let addresses = RwLock::new(services.iter().map(|service| service.url.clone()).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    let roll = async {
        for (at, service) in services.iter_mut().enumerate() {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let new = SecondService::start(&app).await;
            addresses.write().await[at] = new.url.clone();
            let old = std::mem::replace(service, new);
            assert!(tokio::task::spawn_blocking(|| old.stop()).await.expect("waits").success());
        }
        for worker in &mut workers {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let new = OtherWorker::start(&app, &[], &[]).await;
            let mut old = std::mem::replace(worker, new);
            old.terminate();
            assert!(old.ended(Duration::from_secs(60)).await.success());
        }
        done.store(true, Ordering::Relaxed);
    };
    let (ids, ()) = tokio::join!(customer(&app, &addresses, job, &done), roll);
    assert!(ids.len() >= 3, "{ids:?}");
    for id in &ids {
        let ended = app.finished(id, Duration::from_secs(300)).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    let db = app.database().await;
    let most: i32 = sqlx::query_scalar("select max(attempt) from task").fetch_one(db.pool()).await.expect("read");
    assert_eq!(most, 1, "no attempt is spent");
    let bad: i64 =
        sqlx::query_scalar("select count(*) from event where kind in ('task_failed', 'task_rescued', 'failed')")
            .fetch_one(db.pool())
            .await
            .expect("read");
    assert_eq!(bad, 0);
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(db.pool()).await.expect("read");
    assert_eq!(jobs, ids.len() as i64, "each is there once");
    app.examine().await;
}
