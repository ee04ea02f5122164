//! The queue, with the faults it must bear.

mod caps;
mod commit_points;
mod costs;
mod crashes;
pub mod doctor;
mod elsewhere;
mod ends;
mod leases;
mod model;
mod storage;
mod turns;

use practised::db::{Db, JobOutcome, TaskKind, events, jobs};
use practised::ids::{JobId, WorkerId};
use practised::problem::{Code, Problem};
use practised::queue::claim::claim;
use practised::queue::claimed::Claim;
use practised::queue::complete::{Done, File, Finished};
use practised::queue::{AGEING, rescue};
use practised::spec::config::RecoverabilityMethod;
use practised::spec::report::{Loss, Recoverability};
use practised::spec::task::BlockScore;
use serde_json::{Value, json};

use crate::support::database::Database;

/// What a task of this kind might bring.
pub fn brings(kind: TaskKind) -> Done {
    let last = (kind == TaskKind::Export).then(|| Finished {
        outcome: JobOutcome::TargetMet,
        report: r#"{"zebra": 1, "ant": 2.50}"#.to_owned(),
        artifacts: vec![File { name: "student.onnx".into(), media_type: "text/x".into(), bytes: b"student".to_vec() }],
    });
    let blobs = if kind == TaskKind::Finetune { vec![("student", vec![7; 3 << 20])] } else { Vec::new() };
    let result = if kind == TaskKind::Score { score() } else { json!({ "of": kind }) };
    Done { result, blobs, last }
}

/// What the score of a block brings, as the queue keeps it for other jobs.
fn score() -> Value {
    let loss = Loss { fit: 0.5, held_out: None, interval: None, share: None };
    let recoverability = Recoverability { loss, plain: loss, method: RecoverabilityMethod::ClosedForm };
    json!(BlockScore { block: "a".into(), recoverability, adapters: 2, teacher_forwards: 8, seconds: 1.5 })
}

pub async fn take(db: &Db, worker: WorkerId) -> Claim {
    claim(db, worker).await.expect("claims").expect("there is something to claim")
}

pub async fn nothing_to_take(db: &Db, worker: WorkerId) -> bool {
    claim(db, worker).await.expect("claims").is_none()
}

pub async fn job(db: &Db, id: JobId) -> jobs::JobRow {
    let mut conn = db.connection().await.expect("a connection");
    jobs::find(&mut conn, id).await.expect("read").expect("there")
}

/// How many jobs of its tenant go before a queued job.
pub async fn position(base: &Database, id: JobId) -> Option<i64> {
    let tenant = job(&base.db, id).await.tenant;
    base.db.poll(&tenant, id, AGEING.as_secs() as u32).await.expect("read").expect("there").queue_position
}

/// Kinds of a job's events, checked to be numbered without a gap up to the job's last one.
pub async fn event_kinds(db: &Db, id: JobId) -> Vec<String> {
    let mut conn = db.connection().await.expect("a connection");
    let events = events::list(&mut conn, id, 0, 1000).await.expect("listed");
    let last = jobs::find(&mut conn, id).await.expect("read").expect("there").last_event;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    events.into_iter().map(|event| event.kind).collect()
}

/// Lets waits after failures and crashes be over.
pub async fn let_waits_end(db: &Db) {
    let over = "update task set run_after = now() - interval '1 hour',
                       lease_until = case when lease_until < now() then lease_until - interval '1 hour' else lease_until end
                where state in ('ready', 'running')";
    sqlx::query(over).execute(db.pool()).await.expect("time passes");
}

/// Ends a worker's lease as time would.
pub async fn let_leases_run_out(db: &Db, worker: WorkerId) {
    rescue::worker_died(db, worker).await.expect("expired");
}

pub fn our_fault() -> Problem {
    Problem::new(Code::Internal, "the moon is in the wrong house")
}
