//! Workers killed again and again, as on machines that are taken away without a word.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::soak::asked;
use crate::support::service::TestApp;

/// Kills in each run, and the seconds that they are spread over.
const KILLS: usize = 5;

/// One run in `make test`, in a third of the time; `PRACTISED_KILL_RUNS=20 PRACTISED_KILL_SECONDS=55` for what the promise says.
#[tokio::test]
async fn five_kills_of_the_workers_within_a_minute_fail_no_job() {
    let (runs, seconds) = (asked("PRACTISED_KILL_RUNS", 1.0) as u64, asked("PRACTISED_KILL_SECONDS", 18.0));
    let app = TestApp::with_worker().await;
    let mut job = app.quick_job().await;
    // Some ten seconds of scoring in a task without checkpoints, and a fine-tuning.
    job["recoverability"]["iterations"] = 150.into();
    let mut hits = Vec::new();
    for run in 0..runs {
        let mut random = ChaCha8Rng::seed_from_u64(500 + run);
        job["seed"] = run.into();
        let id = app.submit(&job).await;
        let mut moments: Vec<f64> = (0..KILLS).map(|_| random.random_range(0.5..seconds)).collect();
        moments.sort_by(f64::total_cmp);
        let (began, mut killed) = (Instant::now(), 0);
        for moment in moments {
            tokio::time::sleep(Duration::from_secs_f64(moment).saturating_sub(began.elapsed())).await;
            // Whenever there is one: a kill that meets nobody is none.
            app.until("there is a worker", Duration::from_secs(60), async || !app.workers().is_empty()).await;
            for worker in app.workers() {
                killed += usize::from(kill(worker, Signal::SIGKILL).is_ok());
            }
        }
        let ended = app.finished(&id, Duration::from_secs(400)).await;
        assert_eq!(ended["status"], "succeeded", "run {run}: {ended}");
        assert!(killed >= KILLS, "run {run}: {killed}");
        let kinds = app.event_kinds(&id).await;
        hits.push(kinds.iter().filter(|kind| *kind == "task_rescued").count());
    }
    println!(
        "{runs} runs of {KILLS} kills within {seconds} s: all succeeded; kills that hit a task, run by run: {hits:?}"
    );
    app.examine().await;
}
