//! What a tenant may have at once, held exactly: whoever is to add to it stands in line with the others of that tenant, and counts
//! when it is its turn. Where no cap is set, nobody stands in line.

use std::time::Duration;

use super::JobsError;
use crate::db::{Connection, DbError, admin, tenants};
use crate::ids::Tenant;

/// How often somebody in line looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(20);

/// How often before it gives up: turns take milliseconds, so somebody has stalled in the middle of his, and the others must not.
const LOOKS: u32 = 50;

/// Whether a task that was just claimed may begin: with it, the tenant has no more than it may. Counted behind the claim, which
/// waits for nobody and may have been one of many at the same moment. False too where it never was its turn.
///
/// # Errors
/// As [`JobsError`].
pub(super) async fn may_begin(conn: &mut Connection, tenant: &Tenant) -> Result<bool, JobsError> {
    let Some(cap) = tenants::caps(conn, tenant).await?.max_running else { return Ok(true) };
    Ok(turn(conn, "running", tenant).await? && tenants::running(conn, tenant).await? <= i64::from(cap))
}

/// The cap on queued jobs, where one more would break it. Otherwise the place is the caller's until its transaction ends.
///
/// # Errors
/// As [`JobsError`]; [`DbError::Unavailable`] where it never was the caller's turn.
pub async fn queue_is_full(conn: &mut Connection, tenant: &Tenant) -> Result<Option<i32>, JobsError> {
    let Some(cap) = tenants::caps(conn, tenant).await?.max_queued else { return Ok(None) };
    if !turn(conn, "queued", tenant).await? {
        return Err(DbError::Unavailable(format!("another submission of tenant {tenant} does not finish")).into());
    }
    Ok((tenants::queued(conn, tenant).await? >= i64::from(cap)).then_some(cap))
}

/// Waits for its turn, which lasts until the transaction ends. A statement that follows sees what those before have committed.
async fn turn(conn: &mut Connection, what: &str, tenant: &Tenant) -> Result<bool, JobsError> {
    let name = format!("{what} of {tenant}");
    for _ in 0..LOOKS {
        if admin::try_lock(conn, &name).await? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}
