//! `practised doctor`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::database::{self, Place};
use super::table::Table;
use crate::db::Db;
use crate::queue::doctor::{self, Diagnosis};
use crate::telemetry;

/// Rows of a finding in the text output; JSON has all.
const SHOWN: usize = 10;

/// Arguments of `practised doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Runs `practised doctor`: exit code 0 if everything is consistent, 1 otherwise.
pub fn run(args: Args) -> ExitCode {
    telemetry::init();
    let json = args.place.json;
    super::block_on(database::with(&args.place, false, async |db| examine(db, json).await))
}

async fn examine(db: Db, json: bool) -> anyhow::Result<ExitCode> {
    let diagnosis = doctor::examine(&db).await.context("the database cannot be checked")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&diagnosis)?);
    } else {
        tell(&diagnosis);
    }
    Ok(if diagnosis.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(diagnosis: &Diagnosis) {
    if diagnosis.ended_jobs > 0 {
        println!("{} overdue jobs were ended", diagnosis.ended_jobs);
    }
    if diagnosis.findings.is_empty() {
        println!("all {} invariants hold", diagnosis.invariants);
        return;
    }
    for finding in &diagnosis.findings {
        println!("{}: this does not hold: {}", finding.invariant, finding.sentence);
        let mut table = Table::new(&["  what", "how"]);
        for breach in finding.breaches.iter().take(SHOWN) {
            table.row(vec![format!("  {}", breach.subject), breach.detail.clone()]);
        }
        print!("{table}");
        if finding.breaches.len() > SHOWN {
            println!("  and {} more", finding.breaches.len() - SHOWN);
        }
    }
    println!("{} of {} invariants do not hold", diagnosis.findings.len(), diagnosis.invariants);
}
