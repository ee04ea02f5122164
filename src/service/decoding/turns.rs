//! Limits concurrent decoding: a few uploads at once, fewer per tenant.
//!
//! A tenant's uploads wait for each other first, and only as many of them as the tenant's limit wait for a common place, in
//! order of arrival. So a tenant that sends many delays another one by at most these few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::ids::Tenant;
use crate::problem::{Code, Problem};

/// Places of one kind of upload.
#[derive(Debug)]
pub struct Turns {
    places: Arc<Semaphore>,
    of_one: usize,
    patience: Duration,
    tenants: Mutex<HashMap<Tenant, Weak<Semaphore>>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _place: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

impl Turns {
    /// Creates places: the total number, the number per tenant, and the maximum wait.
    pub fn new(places: usize, of_one: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), of_one, patience, tenants: Mutex::default() }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`Code::TooManyUploads`] if the tenant's own uploads took all the time, [`Code::DecodersBusy`] if others did.
    pub async fn wait(&self, tenant: &Tenant) -> Result<Turn, Problem> {
        let until = Instant::now() + self.patience;
        let seconds = self.patience.as_secs();
        let own = timeout_at(until, self.of(tenant).acquire_owned()).await;
        let Ok(Ok(of_tenant)) = own else {
            let detail = format!(
                "{} uploads of this tenant are already being decoded, and none finished within {seconds} s; this one was not \
                 stored",
                self.of_one
            );
            return Err(Problem::new(Code::TooManyUploads, detail));
        };
        match timeout_at(until, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Turn { _place: place, _of_tenant: of_tenant }),
            _ => {
                let detail = format!("no decoder became free within {seconds} s; the upload was not stored");
                Err(Problem::new(Code::DecodersBusy, detail))
            }
        }
    }

    /// The places of a tenant, which exist while they are held or waited for.
    fn of(&self, tenant: &Tenant) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant).and_then(Weak::upgrade) {
            return known;
        }
        tenants.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.of_one));
        tenants.insert(tenant.clone(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn one_tenant_cannot_hold_every_place() {
        let turns = Turns::new(3, 2, Duration::from_millis(100));
        let (many, other) = (tenant("many"), tenant("other"));
        let _held = [turns.wait(&many).await.expect("free"), turns.wait(&many).await.expect("free")];
        assert_eq!(turns.wait(&many).await.expect_err("its own are taken").code, Code::TooManyUploads);
        let one = turns.wait(&other).await.expect("a place of its own");
        assert_eq!(turns.wait(&other).await.expect_err("none is left").code, Code::DecodersBusy);
        drop(one);
        turns.wait(&other).await.expect("free again");
    }

    #[tokio::test]
    async fn a_place_is_given_back_by_whoever_stops_waiting() {
        let turns = Turns::new(1, 1, Duration::from_secs(60));
        let held = turns.wait(&tenant("a")).await.expect("free");
        // It waits for a common place while it holds its tenant's, and is dropped.
        let waiting = timeout_at(Instant::now() + Duration::from_millis(50), turns.wait(&tenant("b"))).await;
        assert!(waiting.is_err());
        drop(held);
        turns.wait(&tenant("b")).await.expect("free");
        assert!(turns.tenants.lock().expect("no panic").len() <= 2, "tenants without uploads are forgotten");
    }
}
