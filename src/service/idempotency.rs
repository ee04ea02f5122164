//! The same POST twice is one: the answer under an Idempotency-Key commits with what it answers.

use super::{ServiceError, refuse};
use crate::db::keys::{self, AnswerRow};
use crate::db::{CommitPoint, Connection, Db, Transaction, admin, commit};
use crate::ids::Tenant;
use crate::problem::Code;

/// What a POST with an Idempotency-Key carries.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Whose key it is.
    pub tenant: Tenant,
    /// Method and path; a key counts for one of them.
    pub route: &'static str,
    /// The customer's key.
    pub key: String,
    /// Hash of the request, in hex.
    pub request_sha256: String,
}

/// What came of a POST that may carry an Idempotency-Key.
#[derive(Debug)]
pub enum Posted<T> {
    /// It was carried out.
    Done(T),
    /// It was carried out before: this was its answer.
    Before(AnswerRow),
}

/// An answer that a repeated request gets again.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The Location header.
    pub location: String,
    /// The body, JSON as text.
    pub body: String,
}

/// The transaction of a POST: what it changes and the answer under its key commit together.
pub(super) struct Once<'a> {
    tx: Transaction,
    key: Option<&'a Idempotency>,
}

impl<'a> Once<'a> {
    /// The stored answer to this very request, if there is one, before anything is checked: so a repeated request gets its answer
    /// even if what it names is gone. Claims nothing; [`Self::begin`] does.
    ///
    /// # Errors
    /// A refusal if the key belongs to another request; else as [`ServiceError`].
    pub(super) async fn before(db: &Db, key: Option<&Idempotency>) -> Result<Option<AnswerRow>, ServiceError> {
        match key {
            Some(key) => key.stored(&mut *db.connection().await?).await,
            None => Ok(None),
        }
    }

    /// Begins the transaction, to whose end the key is taken. If the request was answered in the meantime, the answer.
    ///
    /// # Errors
    /// A refusal if the key belongs to another request, or to one in flight; else as [`ServiceError`].
    pub(super) async fn begin(db: &Db, key: Option<&'a Idempotency>) -> Result<Posted<Self>, ServiceError> {
        let mut tx = db.begin().await?;
        if let Some(key) = key {
            key.claim(&mut tx).await?;
            if let Some(before) = key.stored(&mut tx).await? {
                return Ok(Posted::Before(before));
            }
        }
        Ok(Posted::Done(Self { tx, key }))
    }

    /// Where the changes are made.
    pub(super) fn conn(&mut self) -> &mut Connection {
        &mut self.tx
    }

    /// Commits the changes with the answer.
    ///
    /// # Errors
    /// As [`ServiceError`].
    pub(super) async fn commit(mut self, point: CommitPoint, answer: Answer) -> Result<(), ServiceError> {
        if let Some(key) = self.key {
            key.remember(&mut self.tx, answer).await?;
        }
        Ok(commit(self.tx, point).await?)
    }
}

impl Idempotency {
    async fn claim(&self, conn: &mut Connection) -> Result<(), ServiceError> {
        if admin::try_lock(conn, &format!("idempotency {} {} {}", self.tenant, self.route, self.key)).await? {
            return Ok(());
        }
        refuse(Code::IdempotencyKeyInFlight, format!("a request with the key {:?} is still in progress", self.key))
    }

    async fn stored(&self, conn: &mut Connection) -> Result<Option<AnswerRow>, ServiceError> {
        match keys::get(conn, &self.tenant, self.route, &self.key).await? {
            Some(answer) if answer.request_sha256 != self.request_sha256 => {
                let detail = format!("the key {:?} was used for a request with another body", self.key);
                refuse(Code::IdempotencyKeyReused, detail)
            }
            found => Ok(found),
        }
    }

    async fn remember(&self, conn: &mut Connection, answer: Answer) -> Result<(), ServiceError> {
        let Answer { status, location, body } = answer;
        let request_sha256 = self.request_sha256.clone();
        let answer = AnswerRow { request_sha256, status: status.into(), location: Some(location), body };
        if keys::put(conn, &self.tenant, self.route, &self.key, &answer).await? {
            return Ok(());
        }
        // The lock of `claim` keeps others out.
        refuse(Code::IdempotencyKeyInFlight, format!("the key {:?} was used meanwhile", self.key))
    }
}
