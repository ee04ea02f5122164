//! Sizes of values.

/// A shape, outermost dimension first: (N, C, H, W) for images.
pub type Shape = Vec<Dim>;

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Known(usize),
    /// A named free size, such as the batch `N`.
    Symbol(String),
    /// Nothing is known.
    Unknown,
}

impl Dim {
    /// The size, where it is fixed.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(size) => Some(*size),
            _ => None,
        }
    }
}

/// A dimension as written in answers: its size, its name, or `?`.
pub(crate) fn dim_text(dim: &Dim) -> String {
    match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Symbol(name) => name.clone(),
        Dim::Unknown => "?".into(),
    }
}
