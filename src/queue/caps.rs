//! Limits of a tenant, enforced exactly: a caller that adds to a tenant's tasks or jobs waits for a lock of that tenant, and
//! counts while it holds the lock. Without a limit, no lock is taken.

use std::time::Duration;

use super::QueueError;
use crate::db::{Connection, DbError, admin, tenants};
use crate::ids::Tenant;

/// Interval between two attempts to get the lock.
const LOOK: Duration = Duration::from_millis(20);

/// Maximum number of attempts: the lock is held for milliseconds, so a longer wait means that a holder has stalled.
const LOOKS: u32 = 50;

/// Whether a task that was just claimed may start: including it, the tenant is within its limit. It is counted after the claim,
/// which takes no lock and can be one of many at the same moment. Also false if the lock was not available.
///
/// # Errors
/// As [`QueueError`].
pub(super) async fn may_begin(conn: &mut Connection, tenant: &Tenant) -> Result<bool, QueueError> {
    let Some(cap) = tenants::caps(conn, tenant).await?.max_running else { return Ok(true) };
    Ok(turn(conn, "running", tenant).await? && tenants::running(conn, tenant).await? <= i64::from(cap))
}

/// The limit on queued jobs, if one more would exceed it. Otherwise the caller holds the lock until its transaction ends.
///
/// # Errors
/// As [`QueueError`]; [`DbError::Unavailable`] if the lock was not available.
pub async fn queue_is_full(conn: &mut Connection, tenant: &Tenant) -> Result<Option<i32>, QueueError> {
    let Some(cap) = tenants::caps(conn, tenant).await?.max_queued else { return Ok(None) };
    if !turn(conn, "queued", tenant).await? {
        return Err(DbError::Unavailable(format!("another submission of tenant {tenant} does not finish")).into());
    }
    Ok((tenants::queued(conn, tenant).await? >= i64::from(cap)).then_some(cap))
}

/// Waits for its turn, which lasts until the transaction ends. A statement that follows sees what those before have committed.
async fn turn(conn: &mut Connection, what: &str, tenant: &Tenant) -> Result<bool, QueueError> {
    let name = format!("{what} of {tenant}");
    for _ in 0..LOOKS {
        if admin::try_lock(conn, &name).await? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}
