//! Lists by cursor: `?after=ID&limit=N&order=asc|desc`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::HttpError;
use super::query::{FromQuery, Parameters};
use crate::db::{Order, Page};
use crate::problem::{Code, Problem};

/// Default number of rows per page.
const LIMIT: i64 = 50;

/// Maximum number of rows per page.
const MOST: i64 = 200;

/// Query parameters that every list supports.
#[derive(Debug, Default)]
pub(super) struct ListParams {
    after: Option<Uuid>,
    limit: Option<i64>,
    order: Option<Direction>,
}

impl FromQuery for ListParams {
    fn read(query: &mut Parameters) -> Self {
        Self {
            after: query.take("after", "the `next` of the page before"),
            limit: query.take("limit", "a number from 1 to 200"),
            order: query.take_name("order", "asc or desc"),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    Asc,
    Desc,
}

impl ListParams {
    /// The page, with one row more than shown, which tells whether there is a next one.
    pub(super) fn page(&self) -> Result<Page, HttpError> {
        let limit = limit(self.limit)?;
        let order = match self.order {
            Some(Direction::Asc) => Order::Ascending,
            Some(Direction::Desc) | None => Order::Descending,
        };
        Ok(Page { after: self.after, limit: limit + 1, order })
    }
}

/// A list's limit, checked.
pub(super) fn limit(asked: Option<i64>) -> Result<i64, HttpError> {
    match asked.unwrap_or(LIMIT) {
        limit if (1..=MOST).contains(&limit) => Ok(limit),
        limit => Err(Problem::new(Code::InvalidQuery, format!("limit={limit}: give a number from 1 to {MOST}")).into()),
    }
}

/// A page in a response.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
    /// Value of `after` for the next page.
    next: Option<String>,
}

impl<T> List<T> {
    /// Builds the page from one row more than is shown; `cursor` returns a row's position.
    pub(super) fn new(mut rows: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let shown = usize::try_from(limit).unwrap_or(0);
        let has_more = rows.len() > shown;
        rows.truncate(shown);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Self { object: "list", data: rows, has_more, next }
    }

    /// A list without pages.
    pub(super) fn whole(data: Vec<T>) -> Self {
        Self { object: "list", data, has_more: false, next: None }
    }
}
