//! `/v1/errors/{code}`: the page that a problem document's `type` refers to.

use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::extract::{Name, accepts};
use super::list::List;
use super::{App, HttpError};
use crate::problem::{Code, Problem};

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/errors", get(list)).route("/v1/errors/{code}", get(show))
}

#[derive(Debug, Serialize)]
struct Page {
    object: &'static str,
    code: &'static str,
    status: u16,
    retryable: bool,
    title: &'static str,
    way_out: &'static str,
}

impl From<Code> for Page {
    fn from(code: Code) -> Self {
        Self {
            object: "error",
            code: code.as_str(),
            status: code.status(),
            retryable: code.retryable(),
            title: code.title(),
            way_out: code.way_out(),
        }
    }
}

async fn list() -> Json<List<Page>> {
    Json(List::whole(Code::ALL.iter().copied().map(Page::from).collect()))
}

async fn show(Name(code): Name, headers: HeaderMap) -> Result<Response, HttpError> {
    let Some(known) = Code::from_code(&code) else {
        return Err(Problem::new(Code::ErrorPageNotFound, format!("there is no problem code {code:?}")).into());
    };
    let page = Page::from(known);
    Ok(if accepts(&headers, "text/html") > 0.0 {
        Html(html(&page)).into_response()
    } else {
        Json(page).into_response()
    })
}

fn html(page: &Page) -> String {
    let Page { code, status, title, way_out, .. } = page;
    let (title, way_out) = (escaped(title), escaped(way_out));
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>\
         <p><code>{code}</code>, HTTP status {status}</p><p>{way_out}</p>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
