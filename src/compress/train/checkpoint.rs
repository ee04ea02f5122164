//! Where a fine-tuning stands, as bytes: another process goes on from there and comes to the same student.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Cursor;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Tensor};

use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::spec::report::GivenUp;

/// Of which program a checkpoint is: another one may have another course.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Event of a recovery that resumes from where an earlier attempt stood.
pub const RESUMED: &str = "resumed";

/// Tensor that holds the JSON.
const HEAD: &str = "head";

/// The finished part of a fine-tuning, without the current set of blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Sets that did not reach the quality asked for.
    pub given_up: Vec<GivenUp>,
    /// Images that the teacher was asked about for them.
    pub teacher_forwards: u64,
}

#[derive(Serialize, Deserialize)]
struct Head<'a, T> {
    version: &'a str,
    course: Course,
    recovery: T,
}

/// Who watches a fine-tuning: keeps where it stands, and tells where an earlier attempt stood.
pub struct Checkpoints<'a> {
    observer: &'a dyn Observer,
    keeps: bool,
    course: Course,
    kept: Cell<Option<Kept>>,
}

/// What an earlier attempt kept of a recovery.
pub struct Kept {
    recovery: serde_json::Value,
    tensors: Tensors,
}

/// Tensors in the order in which they were kept.
pub struct Tensors(VecDeque<Tensor>);

impl<'a> Checkpoints<'a> {
    /// From what the observer kept, or from the start.
    pub fn resume(observer: &'a dyn Observer) -> Self {
        let (course, kept) = observer.kept().and_then(|bytes| read(&bytes)).unzip();
        Self { observer, keeps: true, course: course.unwrap_or_default(), kept: Cell::new(kept) }
    }

    /// From the start, and keeping nothing.
    pub fn none(observer: &'a dyn Observer) -> Self {
        Self { observer, keeps: false, course: Course::default(), kept: Cell::default() }
    }

    /// The observer, which gets the progress and can stop the run.
    pub fn observer(&self) -> &dyn Observer {
        self.observer
    }

    /// What is behind it.
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// Goes on to the next set of blocks.
    pub fn give_up(&mut self, set: GivenUp, teacher_forwards: u64) {
        self.course.given_up.push(set);
        self.course.teacher_forwards += teacher_forwards;
        self.kept.take();
    }

    /// True if a checkpoint is due.
    pub fn due(&self) -> bool {
        self.keeps && self.observer.wants_checkpoint()
    }

    /// Keeps where a recovery stands; no tensor may be empty, which torch-sys would write from a null pointer.
    pub fn keep(&self, recovery: &impl Serialize, tensors: &[Tensor]) -> Result<(), CompressError> {
        let head = Head { version: VERSION, course: self.course.clone(), recovery };
        let head = serde_json::to_vec(&head).expect("plain data");
        let mut named = vec![(HEAD.to_owned(), Tensor::f_from_slice(&head)?)];
        for (at, tensor) in tensors.iter().enumerate() {
            // Not a part of a larger one, which would be kept with it.
            let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?;
            named.push((at.to_string(), tensor.f_to_dtype(tensor.f_kind()?, false, true)?));
        }
        let mut bytes = Vec::new();
        Tensor::save_multi_to_stream(&named, &mut bytes)?;
        self.observer.checkpoint(bytes);
        Ok(())
    }

    /// The checkpoint of an earlier attempt at this recovery; returned once.
    pub fn take<T: DeserializeOwned>(&self) -> Option<(T, Tensors)> {
        let Kept { recovery, tensors } = self.kept.take()?;
        Some((serde_json::from_value(recovery).ok()?, tensors))
    }

    /// Tells that a recovery goes on from a step of an earlier attempt, and gives when it would have begun without a break, where
    /// this attempt `began` and the earlier one took so many seconds.
    pub fn resumed(&self, began: Instant, step: Option<u32>, seconds: f64) -> Instant {
        self.observer.event(RESUMED, json!({ "step": step, "seconds": seconds }));
        began.checked_sub(Duration::from_secs_f64(seconds)).unwrap_or(began)
    }
}

/// `None` if the bytes are not a checkpoint of this version: the work starts again, which only costs time.
fn read(bytes: &[u8]) -> Option<(Course, Kept)> {
    // torch-sys makes a slice of torch's null pointer there.
    if bytes.is_empty() {
        return None;
    }
    let mut named = Tensor::load_multi_from_stream(Cursor::new(bytes)).ok()?;
    let head = named.iter().position(|(name, _)| name == HEAD)?;
    let (_, head) = named.swap_remove(head);
    let head = Vec::<u8>::try_from(head).ok()?;
    let Head { version, course, recovery } = serde_json::from_slice::<Head<serde_json::Value>>(&head).ok()?;
    named.sort_by_key(|(name, _)| name.parse::<usize>().unwrap_or(usize::MAX));
    let tensors = Tensors(named.into_iter().map(|(_, tensor)| tensor).collect());
    (version == VERSION).then_some((course, Kept { recovery, tensors }))
}

impl FromIterator<Tensor> for Tensors {
    fn from_iter<I: IntoIterator<Item = Tensor>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl Tensors {
    /// Copies the next tensor's values into this one. False if its size differs.
    pub fn restore(&mut self, into: &Tensor) -> Result<bool, CompressError> {
        let next = self.0.pop_front().filter(|next| next.size() == into.size());
        let Some(next) = next else { return Ok(false) };
        tch::no_grad(|| into.shallow_clone().f_copy_(&next))?;
        Ok(true)
    }

    /// Copies all of them into these. False if their sizes differ.
    pub fn restore_all<'t>(&mut self, into: impl IntoIterator<Item = &'t Tensor>) -> Result<bool, CompressError> {
        for tensor in into {
            if !self.restore(tensor)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next so many of them.
    pub fn split(&mut self, count: usize) -> Self {
        let rest = self.0.split_off(count.min(self.0.len()));
        Self(std::mem::replace(&mut self.0, rest))
    }
}
