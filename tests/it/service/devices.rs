//! Fine-tunings that are gone on from, and devices that fail: without memory, or for good.

use std::time::Duration;

use serde_json::{Value, json};

use super::zombies::{essence, report};
use crate::support::service::{OtherWorker, TestApp};

/// Some seconds of fine-tuning.
const STEPS: u64 = 500;

const LONG: Duration = Duration::from_secs(300);

/// A job whose fine-tuning takes a good part of its time.
async fn job(app: &TestApp, seed: u64) -> Value {
    let mut job = app.quick_job().await;
    job["seed"] = seed.into();
    job["recoverability"] = json!({"method": "closed_form"});
    job["finetune"] = json!({"recipe": "practised", "steps": STEPS});
    job
}

async fn of_kind(app: &TestApp, id: &str, kind: &str) -> Vec<Value> {
    app.events(id).await.into_iter().filter(|event| event["kind"] == kind).collect()
}

/// Killed, it leaves what it kept on the way; asked to end, it keeps a last checkpoint.
#[tokio::test]
async fn a_finetuning_whose_worker_dies_is_gone_on_from_its_last_checkpoint() {
    let app = TestApp::without_workers().await;
    let mut worker = OtherWorker::start(&app, &["--checkpoint-every", "0"], &[]).await;
    let whole = app.submit(&job(&app, 7).await).await;
    assert_eq!(app.finished(&whole, LONG).await["status"], "succeeded");
    assert_eq!(of_kind(&app, &whole, "resumed").await, Vec::<Value>::new());
    let expected = report(&app, &whole).await;
    let db = app.database().await;
    for killed in [true, false] {
        let id = app.submit(&job(&app, 7).await).await;
        app.until("it is half-way", LONG, async || {
            let job = app.job(&id).await;
            job["phase"] == "finetune" && job["progress"]["done"].as_u64() > Some(STEPS / 2)
        })
        .await;
        if killed {
            worker.kill();
            // Its lease runs out in 45 seconds by itself; here at once.
            let expired = "update task set lease_until = now() - interval '1 second' where state = 'running'";
            sqlx::query(expired).execute(db.pool()).await.expect("time passes");
        } else {
            worker.terminate();
            assert!(worker.ended(Duration::from_secs(30)).await.success());
        }
        worker = OtherWorker::start(&app, &[], &[]).await;
        assert_eq!(app.finished(&id, LONG).await["status"], "succeeded");
        let resumed = of_kind(&app, &id, "resumed").await;
        assert_eq!(resumed.len(), 1, "{resumed:?}");
        let least = if killed { STEPS / 10 } else { STEPS / 2 };
        assert!(resumed[0]["detail"]["step"].as_u64() > Some(least), "{resumed:?}");
        assert_eq!(essence(&report(&app, &id).await), essence(&expected));
    }
    app.examine().await;
}

#[tokio::test]
async fn memory_that_runs_out_halves_the_batch_and_costs_no_attempt() {
    let app = TestApp::without_workers().await;
    let mut job = job(&app, 8).await;
    job["finetune"]["steps"] = 20.into();
    let mut worker = OtherWorker::start(&app, &[], &[]).await;
    let roomy = app.submit(&job).await;
    assert_eq!(app.finished(&roomy, LONG).await["status"], "succeeded");
    worker.kill();
    let db = app.database().await;
    sqlx::query("delete from score").execute(db.pool()).await.expect("forgotten");

    let _narrow = OtherWorker::start(&app, &[], &[("FAILPOINTS", "memory=return(5)")]).await;
    let id = app.submit(&job).await;
    let ended = app.finished(&id, LONG).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let halved = of_kind(&app, &id, "batch_halved").await;
    assert!(halved.iter().all(|event| event["detail"]["error"] == "the device is out of memory"), "{halved:?}");
    let log = std::fs::read_to_string(app.dir.path().join("worker.log")).expect("a log");
    assert!(!halved.is_empty() && log.contains("12 images"), "what the allocator said is in the log: {log}");
    assert!(of_kind(&app, &id, "task_failed").await.is_empty());
    // The gradients of the parts are the whole's, but for the order in which they are summed.
    let loss = async |id| report(&app, id).await["quality"]["feature_loss"].as_f64().expect("a number");
    let (of_halves, of_wholes) = (loss(&id).await, loss(&roomy).await);
    assert!((of_halves - of_wholes).abs() < 0.05 * of_wholes, "{of_halves} and {of_wholes}");
    app.examine().await;
}

#[tokio::test]
async fn a_device_that_is_lost_costs_its_task_an_attempt_and_its_worker_the_process() {
    let app = TestApp::without_workers().await;
    let mut job = job(&app, 9).await;
    job["finetune"]["steps"] = 20.into();
    let id = app.submit(&job).await;
    let mut worker = OtherWorker::start(&app, &[], &[("FAILPOINTS", "device=return")]).await;
    assert_eq!(worker.ended(Duration::from_secs(60)).await.code(), Some(1));
    let failed = of_kind(&app, &id, "task_failed").await;
    assert_eq!(failed.len(), 1, "no other task is tried on it: {failed:?}");
    let detail = &failed[0]["detail"];
    assert_eq!(detail["attempt"], 1);
    assert!(detail["error"].as_str().is_some_and(|error| error.contains("the device failed")), "{detail}");
    let log = std::fs::read_to_string(app.dir.path().join("worker.log")).expect("a log");
    assert!(log.contains("illegal memory access"), "what CUDA said is in the log: {log}");
    let _sound = OtherWorker::start(&app, &[], &[]).await;
    assert_eq!(app.finished(&id, LONG).await["status"], "succeeded");
    app.examine().await;
}
