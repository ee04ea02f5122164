//! Memory that runs out: the work is done once more with half the batch, before anybody calls it failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde_json::json;

use crate::compress::CompressError;
use crate::compress::observer::Observer;
use crate::exec::memory::{self, Trouble};

/// Parts of a batch, at most. Where not even a sixty-fourth of one fits, it is not the batch that takes the room.
const MOST_PARTS: usize = 64;

/// How much of a batch has been found to fit.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    parts: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { parts: 1 }
    }
}

impl Room {
    /// Does the work, with half the batch each time that memory runs out; `cleared` lets go of what can be computed again.
    ///
    /// # Errors
    /// Those of the work; that memory ran out only where the smallest batch does not fit.
    pub fn fit<T>(
        &mut self,
        observer: &dyn Observer,
        cleared: impl Fn(),
        work: impl Fn() -> Result<T, CompressError>,
    ) -> Result<T, CompressError> {
        loop {
            match memory::in_parts(self.parts, || caught(&work)) {
                Err(error) if error.trouble() == Some(Trouble::OutOfMemory) && self.parts < MOST_PARTS => {
                    self.parts *= 2;
                    // What the allocator said is about this host.
                    tracing::warn!(parts = self.parts, "the batch is halved: {error}");
                    observer
                        .event("batch_halved", json!({ "parts": self.parts, "error": "the device is out of memory" }));
                    cleared();
                }
                done => return done,
            }
        }
    }
}

/// The work; a panic for want of memory is an error too, as not every operation of tch has a form that returns one.
fn caught<T>(work: impl Fn() -> Result<T, CompressError>) -> Result<T, CompressError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        match said.filter(|said| memory::trouble(said) == Some(Trouble::OutOfMemory)) {
            Some(said) => Err(CompressError::OutOfMemory(said.to_owned())),
            None => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::compress::observer::Unobserved;

    fn full() -> CompressError {
        CompressError::OutOfMemory("CUDA out of memory. Tried to allocate 2.00 GiB".into())
    }

    #[test]
    fn half_the_batch_is_tried_until_it_fits_and_remembered() {
        let (mut room, clearings) = (Room::default(), Cell::new(0));
        let work = || if memory::parts() >= 4 { Ok(memory::part_of(64)) } else { Err(full()) };
        let fitted = room.fit(&Unobserved, || clearings.set(clearings.get() + 1), work);
        assert_eq!((fitted.expect("fits"), clearings.get()), (16, 2));
        assert_eq!(room.fit(&Unobserved, || unreachable!(), work).expect("fits at once"), 16);
        assert_eq!(memory::parts(), 1);
    }

    #[test]
    fn a_panic_for_want_of_memory_counts_and_any_other_goes_on() {
        let panics = |text: &'static str| {
            move || -> Result<(), CompressError> { if memory::parts() == 1 { panic!("{text}") } else { Ok(()) } }
        };
        Room::default().fit(&Unobserved, || (), panics("Torch(\"CUDA out of memory.\")")).expect("fits in halves");
        let other = catch_unwind(|| Room::default().fit(&Unobserved, || (), panics("index out of bounds")));
        assert!(other.is_err());
    }

    #[test]
    fn what_does_not_fit_at_all_fails_with_the_reason() {
        let tries = Cell::new(0);
        let failed = Room::default().fit(
            &Unobserved,
            || (),
            || -> Result<(), _> {
                tries.set(tries.get() + 1);
                Err(full())
            },
        );
        assert!(failed.expect_err("never fits").to_string().contains("out of memory"));
        assert_eq!(tries.get(), 7);
        let other =
            Room::default().fit(&Unobserved, || unreachable!(), || -> Result<(), _> { Err(CompressError::Cancelled) });
        assert!(matches!(other, Err(CompressError::Cancelled)));
    }
}
