//! Lists by cursor: ids sort by time, so the next page starts after the last id of the previous one.

use sqlx::FromRow;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::QueryAs;
use uuid::Uuid;

type PageQuery<'q, T> = QueryAs<'q, Postgres, T, PgArguments>;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only rows behind this id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: i64,
    /// From which end.
    pub order: Order,
}

/// From which end a list starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// The statements of a list, one for each order: rows of `$select` that meet `$equal` and have `$value` in `$column`, behind the id
/// `$1`, `$2` at most. They are a range of the index on the columns in `$equal`, `$column` and `id`.
///
/// That `$column` is constant is told as a range, and the order names it, because PostgreSQL would otherwise be free to read
/// another index in the order of `id` and to filter. It expects to find a page early there, and reads the whole table for a status
/// that no job has. The two bounds are not one comparison of rows, because a scan does not stop at the end of such a range.
/// `nulls`, for an index that has them, tells it from another one that would give the same order.
macro_rules! page {
    ($select:expr, $equal:literal, $column:literal, $value:literal) => {
        page!($select, $equal, $column, $value, "", "")
    };
    ($select:expr, $equal:literal, $column:literal, $value:literal, nulls) => {
        page!($select, $equal, $column, $value, " nulls first", " nulls last")
    };
    ($select:expr, $equal:literal, $column:literal, $value:literal, $ascending:literal, $descending:literal) => {
        $crate::db::page::Statements {
            ascending: concat!(
                $select,
                " where ",
                $equal,
                " and (",
                $column,
                ", id) > (",
                $value,
                ", coalesce($1, '00000000-0000-0000-0000-000000000000'))
                  and ",
                $column,
                " <= ",
                $value,
                " order by ",
                $column,
                ", id",
                $ascending,
                " limit $2"
            ),
            descending: concat!(
                $select,
                " where ",
                $equal,
                " and (",
                $column,
                ", id) < (",
                $value,
                ", coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
                  and ",
                $column,
                " >= ",
                $value,
                " order by ",
                $column,
                " desc, id desc",
                $descending,
                " limit $2"
            ),
        }
    };
}
pub(super) use page;

/// What `page!` yields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statements {
    pub(super) ascending: &'static str,
    pub(super) descending: &'static str,
}

impl Page {
    /// The statement of this page, with `$1` and `$2` bound.
    pub(super) fn query<'q, T>(&self, statements: Statements) -> PageQuery<'q, T>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        let statement = match self.order {
            Order::Ascending => statements.ascending,
            Order::Descending => statements.descending,
        };
        sqlx::query_as(statement).bind(self.after).bind(self.limit)
    }
}
