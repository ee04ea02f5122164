//! The model's view of the real rows, and time as it passes for them.

use practised::db::{Db, TaskKind};
use practised::ids::{JobId, TaskId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::action::Answer;
use super::state::{EXPORT, FINETUNE, Job, SELECT, Status, TASKS, Task, TaskState};

/// A job and its tasks as the model has them.
pub async fn read(db: &Db, id: JobId) -> (Job, [Task; TASKS]) {
    let mut conn = db.connection().await.expect("a connection");
    let job = sqlx::query(
        "select status::text, cancel_requested_at is not null as cancel_requested, deadline <= now() as late,
                (select count(*) from report where report.job = job.id) as reports
         from job where id = $1",
    );
    let job = job.bind(id.uuid()).fetch_one(&mut *conn).await.expect("read");
    let rows = sqlx::query(
        "select kind, state::text, attempt, crashes, lease, coalesce(lease_until < now(), false) as ran_out,
                state = 'running' and progressed as progressed,
                case state when 'ready' then run_after > now()
                     when 'running' then lease_until < now() and crashes > 0 and not progressed
                                         and lease_until + make_interval(secs => 3600.0 * 2 ^ (crashes - 1)) > now()
                     else false end as waits
         from task where job = $1 order by kind, id",
    );
    let rows = rows.bind(id.uuid()).fetch_all(&mut *conn).await.expect("read");
    let mut tasks = [Task::ABSENT; TASKS];
    for (row, place) in rows.iter().zip(places(rows.iter().map(|row| row.get("kind")))) {
        tasks[place] = task(row);
    }
    (self::job(&job), tasks)
}

fn job(row: &PgRow) -> Job {
    Job {
        status: Status::ALL.into_iter().find(|status| status.name() == row.get::<&str, _>("status")).expect("known"),
        cancel_requested: row.get("cancel_requested"),
        late: row.get("late"),
        reports: row.get::<i64, _>("reports") as u8,
        half_cancelled: false,
    }
}

fn task(row: &PgRow) -> Task {
    Task {
        state: match row.get("state") {
            "ready" => TaskState::Ready,
            "running" => TaskState::Running,
            "done" => TaskState::Done,
            "failed" => TaskState::Failed,
            "cancelled" => TaskState::Cancelled,
            other => panic!("no state is called {other}"),
        },
        attempt: row.get::<i32, _>("attempt") as u8,
        crashes: row.get::<i32, _>("crashes") as u8,
        lease: row.get::<i64, _>("lease") as u8,
        ran_out: row.get("ran_out"),
        waits: row.get("waits"),
        progressed: row.get("progressed"),
    }
}

/// Where the model keeps tasks of these kinds, in the order of the database.
pub fn places(kinds: impl Iterator<Item = TaskKind>) -> impl Iterator<Item = usize> {
    kinds.enumerate().map(|(number, kind)| match kind {
        TaskKind::Measure | TaskKind::Score => number,
        TaskKind::Select => SELECT,
        TaskKind::Finetune => FINETUNE,
        TaskKind::Export => EXPORT,
    })
}

/// The database's clock, in seconds.
pub async fn now(db: &Db) -> f64 {
    let mut conn = db.connection().await.expect("a connection");
    sqlx::query_scalar("select extract(epoch from now())::float8").fetch_one(&mut *conn).await.expect("read")
}

pub async fn let_lease_run_out(db: &Db, task: TaskId) -> Answer {
    pass(db, "update task set lease_until = now() - interval '1 microsecond' where id = $1", task.uuid()).await
}

pub async fn end_wait(db: &Db, task: TaskId) -> Answer {
    // As a lease that ran out long ago, for a task that waits after a crash.
    let over = "update task set run_after = now(), lease_until = lease_until - interval '30 days' where id = $1";
    pass(db, over, task.uuid()).await
}

pub async fn pass_deadline(db: &Db, job: JobId) -> Answer {
    pass(db, "update job set deadline = now() where id = $1", job.uuid()).await
}

pub async fn end_patience(db: &Db, job: JobId) {
    let past = "update job set cancel_requested_at = cancel_requested_at - interval '1 hour' where id = $1";
    pass(db, past, job.uuid()).await;
}

async fn pass(db: &Db, sql: &'static str, id: uuid::Uuid) -> Answer {
    let mut conn = db.connection().await.expect("a connection");
    let touched = sqlx::query(sql).bind(id).execute(&mut *conn).await.expect("time passes").rows_affected();
    assert_eq!(touched, 1, "{sql}");
    Answer::Silence
}

/// A task that failed waits a second at least; this makes it wait until it is told, however slow the machine is.
pub async fn stretch_wait(db: &Db, task: TaskId, failed_after: f64) {
    let mut conn = db.connection().await.expect("a connection");
    let stretch = sqlx::query(
        "update task set run_after = now() + interval '1 hour'
         where id = $1 and run_after >= to_timestamp($2) + interval '0.9 seconds'",
    );
    let touched =
        stretch.bind(task.uuid()).bind(failed_after).execute(&mut *conn).await.expect("asked").rows_affected();
    assert_eq!(touched, 1, "a task that failed waits before it is claimed again");
}
