//! Shapes and element types of values: fixed where they can be, named (`N`, `ceil(H/2)`) where a size is free.

pub(crate) mod context;
pub(crate) mod dims;
pub(crate) mod fact;
pub(crate) mod ops;
pub(crate) mod symbol;

/// No tensor of a network has more dimensions; a file that claims more only wants memory.
pub(crate) const MOST_DIMS: usize = 16;
