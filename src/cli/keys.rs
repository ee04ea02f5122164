//! `practised keys`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::database::{self, Place};
use super::table::Table;
use super::usage;
use crate::db::api_keys::KeyRow;
use crate::db::{Db, Order, Page, Scope};
use crate::ids::{KeyId, Tenant};
use crate::service::{ServiceError, api_keys};
use crate::telemetry;

/// Keys fetched at once.
const PAGE: i64 = 1000;

/// Arguments of `practised keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key and show it, only this once.
    Create(Create),
    /// List all keys by id; the keys themselves are not stored.
    List(Place),
    /// Revoke a key, from the next request on.
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Tenant whose models, image sets and jobs the key gives access to; created with its first key.
    #[arg(long, default_value = "local", value_name = "NAME")]
    tenant: Tenant,
    /// Scopes of the key: read, write, admin.
    #[arg(long, value_delimiter = ',', default_values = ["read", "write"], value_parser = scope)]
    scopes: Vec<Scope>,
    /// Give the key all scopes; it can then create and revoke keys.
    #[arg(long, conflicts_with = "scopes")]
    admin: bool,
    #[command(flatten)]
    database: Place,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The key's id, as `list` shows it.
    id: KeyId,
    #[command(flatten)]
    database: Place,
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    known.ok_or_else(|| "unknown scope; give read, write or admin".to_owned())
}

/// Runs `practised keys`.
pub fn run(args: Args) -> ExitCode {
    telemetry::init();
    super::block_on(async {
        let database = match &args.action {
            Action::Create(Create { database, .. }) | Action::Revoke(Revoke { database, .. }) => database,
            Action::List(database) => database,
        };
        // A key can be created before the service has ever started: then this creates its database.
        database::with(database, true, async |db| {
            db.migrate().await?;
            act(&args.action, &db).await
        })
        .await
    })
}

async fn act(action: &Action, db: &Db) -> anyhow::Result<ExitCode> {
    match action {
        Action::Create(args) => create(args, db).await,
        Action::List(args) => list(args, db).await,
        Action::Revoke(args) => revoke(args, db).await,
    }
}

/// Prints only the key on stdout, so that a script can read it; the rest goes to stderr.
async fn create(args: &Create, db: &Db) -> anyhow::Result<ExitCode> {
    let scopes = if args.admin { Scope::ALL.to_vec() } else { args.scopes.clone() };
    let (row, secret) = api_keys::create(db, &args.tenant, &scopes).await?;
    if args.database.json {
        let mut told = as_json(&row);
        told["key"] = secret.reveal().into();
        println!("{told}");
    } else {
        let KeyRow { id, tenant, .. } = &row;
        eprintln!("key {id} of tenant {tenant} ({}), shown only once:", names(&row.scopes));
        println!("{}", secret.reveal());
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &Place, db: &Db) -> anyhow::Result<ExitCode> {
    let keys = all(db).await?;
    if args.json {
        println!("{}", serde_json::Value::from_iter(keys.iter().map(as_json)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["id", "tenant", "scopes", "created", "revoked"]);
    for key in &keys {
        let revoked = key.revoked_at.map(|at| at.format(&Rfc3339)).transpose()?.unwrap_or_default();
        let created = key.created_at.format(&Rfc3339)?;
        table.row(vec![key.id.to_string(), key.tenant.to_string(), names(&key.scopes), created, revoked]);
    }
    print!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn all(db: &Db) -> Result<Vec<KeyRow>, ServiceError> {
    let mut keys: Vec<KeyRow> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.id.uuid());
        let page = api_keys::list(db, Page { after, limit: PAGE, order: Order::Ascending }).await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page);
    }
}

async fn revoke(args: &Revoke, db: &Db) -> anyhow::Result<ExitCode> {
    match api_keys::revoke(db, args.id).await {
        Ok(()) => {
            eprintln!("key {} is revoked", args.id);
            Ok(ExitCode::SUCCESS)
        }
        Err(ServiceError::Refused(problem)) => {
            Ok(usage(&format!("{}; `practised keys list` lists them", problem.detail)))
        }
        Err(error) => Err(error.into()),
    }
}

fn names(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn as_json(key: &KeyRow) -> serde_json::Value {
    let at = |time: time::OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
    json!({
        "id": key.id, "tenant": key.tenant, "scopes": key.scopes,
        "created_at": at(key.created_at), "revoked_at": key.revoked_at.map(at),
    })
}
