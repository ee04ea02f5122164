//! Reads that many requests make at the same moment, done with one statement for all of them.
//!
//! A caller that arrives while a statement runs waits for the next one, so every result comes from a snapshot taken after its
//! request. Under
//! load a statement answers many questions, so one costs less than a statement of its own; without load nothing waits.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Connection, Db, DbError};

/// Statements of one kind that run at once: one that stalls does not hold up all.
const READERS: usize = 2;

/// Most questions that a statement answers.
const MOST: usize = 256;

/// What can be read by key, many keys at once.
pub(super) trait SharedRead: Clone + Eq + Hash + Send + Sync + 'static {
    /// The result for a key.
    type Row: Clone + Send + 'static;

    /// Reads the rows of these keys. It must only read: after a lost connection it runs again on another one.
    fn fetch(
        conn: &mut Connection,
        keys: &[Self],
    ) -> impl Future<Output = Result<HashMap<Self, Self::Row>, DbError>> + Send;
}

type Answer<K> = Result<Option<<K as SharedRead>::Row>, DbError>;

/// A question that waits for its statement.
struct Question<K: SharedRead> {
    key: K,
    answer: oneshot::Sender<Answer<K>>,
}

struct Queue<K: SharedRead> {
    questions: Vec<Question<K>>,
    readers: usize,
}

/// The questions of one kind.
pub(super) struct SharedReads<K: SharedRead> {
    queue: Arc<Mutex<Queue<K>>>,
}

impl<K: SharedRead> Default for SharedReads<K> {
    fn default() -> Self {
        Self { queue: Arc::new(Mutex::new(Queue { questions: Vec::new(), readers: 0 })) }
    }
}

impl<K: SharedRead> Clone for SharedReads<K> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue) }
    }
}

impl<K: SharedRead> std::fmt::Debug for SharedReads<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedReads(…)")
    }
}

impl<K: SharedRead> SharedReads<K> {
    /// The row under this key; `None` if there is none.
    ///
    /// # Errors
    /// As [`DbError`]; all whose questions shared a statement get its error.
    pub(super) async fn get(&self, db: &Db, key: K) -> Answer<K> {
        let (answer, answered) = oneshot::channel();
        let is_busy = {
            let mut queue = self.lock();
            queue.questions.push(Question { key, answer });
            let is_busy = queue.readers >= READERS;
            queue.readers += usize::from(!is_busy);
            is_busy
        };
        if !is_busy {
            // A separate task: it continues if the request that started it is dropped.
            tokio::spawn(Reader { of: self.clone(), is_counted: true }.run(db.clone()));
        }
        answered.await.unwrap_or_else(|_| Err(DbError::Unavailable("a shared read ended early".to_owned())))
    }

    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers questions until none is left.
struct Reader<K: SharedRead> {
    of: SharedReads<K>,
    is_counted: bool,
}

impl<K: SharedRead> Reader<K> {
    async fn run(mut self, db: Db) {
        while let Some(questions) = self.take() {
            answer_all(&db, questions).await;
        }
    }

    fn take(&mut self) -> Option<Vec<Question<K>>> {
        let mut queue = self.of.lock();
        let count = queue.questions.len().min(MOST);
        if count == 0 {
            // Under the same lock as the check: a caller that arrives from now on starts a reader.
            queue.readers -= 1;
            self.is_counted = false;
            return None;
        }
        Some(queue.questions.drain(..count).collect())
    }
}

impl<K: SharedRead> Drop for Reader<K> {
    fn drop(&mut self) {
        // It panicked, or its runtime ends.
        if self.is_counted {
            self.of.lock().readers -= 1;
        }
    }
}

async fn answer_all<K: SharedRead>(db: &Db, questions: Vec<Question<K>>) {
    let keys: HashSet<&K> = questions.iter().map(|question| &question.key).collect();
    let keys: Vec<K> = keys.into_iter().cloned().collect();
    let found = fetch(db, &keys).await;
    for Question { key, answer } in questions {
        let row = match &found {
            Ok(rows) => Ok(rows.get(&key).cloned()),
            Err(error) => Err(error.repeated()),
        };
        // The caller may be gone.
        let _ = answer.send(row);
    }
}

async fn fetch<K: SharedRead>(db: &Db, keys: &[K]) -> Result<HashMap<K, K::Row>, DbError> {
    let mut conn = db.connection().await?;
    let found = K::fetch(&mut conn, keys).await;
    if !matches!(found, Err(DbError::Unavailable(_))) {
        return found;
    }
    // The connection may have been broken since it was last used, and so may others of the pool.
    drop(conn);
    K::fetch(&mut db.outside_the_pool().await?, keys).await
}
