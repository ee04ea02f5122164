//! Tenants, what each may have at once, and what each has.

use sqlx::FromRow;
use time::OffsetDateTime;

use super::{Connection, DbError};
use crate::ids::Tenant;

/// How much a tenant may have at once; `None` is as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Caps {
    /// Tasks that run.
    pub max_running: Option<i32>,
    /// Number of queued jobs.
    pub max_queued: Option<i32>,
}

/// A tenant with its caps and what it has.
#[derive(Debug, Clone, FromRow)]
pub struct TenantRow {
    /// Name of the tenant, unique.
    pub name: Tenant,
    /// Its own limits; `None` if the limits of all tenants apply.
    #[sqlx(flatten)]
    pub own: Caps,
    /// The cap on running tasks that counts.
    pub running_cap: Option<i32>,
    /// The cap on queued jobs that counts.
    pub queued_cap: Option<i32>,
    /// Tasks that run.
    pub running_tasks: i64,
    /// Number of queued jobs.
    pub queued_jobs: i64,
    /// When it came.
    pub created_at: OffsetDateTime,
}

/// All columns of [`TenantRow`].
macro_rules! select_tenant {
    () => {
        "select name, tenant.max_running, tenant.max_queued, created_at,
                tenant_caps.max_running as running_cap, tenant_caps.max_queued as queued_cap,
                (select count(*) from task join job on job.id = task.job
                 where job.tenant = name and task.state = 'running' and task.lease_until >= now()) as running_tasks,
                (select count(*) from job where job.tenant = name and status = 'queued') as queued_jobs
         from tenant join tenant_caps on tenant_caps.tenant = name"
    };
}

/// One tenant.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, tenant: &Tenant) -> Result<Option<TenantRow>, DbError> {
    let get = sqlx::query_as(concat!(select_tenant!(), " where name = $1"));
    Ok(get.bind(tenant).fetch_optional(conn).await?)
}

/// All of them by name.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection) -> Result<Vec<TenantRow>, DbError> {
    Ok(sqlx::query_as(concat!(select_tenant!(), " order by name")).fetch_all(conn).await?)
}

/// Sets a tenant's own limits; creates the tenant if it does not exist.
///
/// # Errors
/// As [`DbError`].
pub async fn set_caps(conn: &mut Connection, tenant: &Tenant, own: Caps) -> Result<(), DbError> {
    let set = sqlx::query(
        "insert into tenant (name, max_running, max_queued) values ($1, $2, $3)
         on conflict (name) do update set (max_running, max_queued) = (excluded.max_running, excluded.max_queued)",
    );
    set.bind(tenant).bind(own.max_running).bind(own.max_queued).execute(conn).await?;
    Ok(())
}

/// Sets the cap on running tasks of tenants without one of their own.
///
/// # Errors
/// As [`DbError`].
pub async fn set_usual_running(conn: &mut Connection, cap: Option<i32>) -> Result<(), DbError> {
    sqlx::query("update usual_caps set max_running = $1").bind(cap).execute(conn).await?;
    Ok(())
}

/// Sets the cap on queued jobs of tenants without one of their own.
///
/// # Errors
/// As [`DbError`].
pub async fn set_usual_queued(conn: &mut Connection, cap: Option<i32>) -> Result<(), DbError> {
    sqlx::query("update usual_caps set max_queued = $1").bind(cap).execute(conn).await?;
    Ok(())
}

/// The caps that count for a tenant.
///
/// # Errors
/// As [`DbError`].
pub async fn caps(conn: &mut Connection, tenant: &Tenant) -> Result<Caps, DbError> {
    let caps = sqlx::query_as("select max_running, max_queued from tenant_caps where tenant = $1");
    Ok(caps.bind(tenant).fetch_optional(conn).await?.unwrap_or_default())
}

/// How many tasks of a tenant run.
///
/// # Errors
/// As [`DbError`].
pub async fn running(conn: &mut Connection, tenant: &Tenant) -> Result<i64, DbError> {
    let running = sqlx::query_scalar(
        "select count(*) from task join job on job.id = task.job
         where job.tenant = $1 and task.state = 'running' and task.lease_until >= now()",
    );
    Ok(running.bind(tenant).fetch_one(conn).await?)
}

/// How many jobs of a tenant wait.
///
/// # Errors
/// As [`DbError`].
pub async fn queued(conn: &mut Connection, tenant: &Tenant) -> Result<i64, DbError> {
    let queued = sqlx::query_scalar("select count(*) from job where tenant = $1 and status = 'queued'");
    Ok(queued.bind(tenant).fetch_one(conn).await?)
}
