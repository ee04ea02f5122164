//! Downloads of stored files: chunk by chunk, with ETag, Range and conditional requests (RFC 9110).

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::Stream;

use super::HttpError;
use crate::db::blobs::{self, CHUNK};
use crate::db::{Db, DbError};
use crate::ids::Tenant;
use crate::problem::{Code, Problem};

/// A stored file.
#[derive(Debug)]
pub(super) struct File {
    /// The tenant that owns the file.
    pub(super) tenant: Tenant,
    pub(super) sha256: String,
    pub(super) size: i64,
    pub(super) media_type: String,
    pub(super) name: String,
}

/// The file, the requested range, or 304 if the client already has it.
pub(super) fn answer(db: Db, file: File, headers: &HeaderMap) -> Result<Response, HttpError> {
    let etag = format!("\"{}\"", file.sha256);
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if header(IF_NONE_MATCH).is_some_and(|known| matches_etag(known, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let size = file.size.cast_unsigned();
    let range = header(RANGE).filter(|_| header(IF_RANGE).is_none_or(|known| known == etag));
    let (status, part) = match range.map_or(Wanted::All, |range| parse(range, size)) {
        Wanted::All => (StatusCode::OK, Part { start: 0, end: size }),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Nothing => {
            let problem = Problem::new(Code::RangeNotSatisfiable, format!("the file has {size} bytes"));
            return Err(HttpError::from(problem).with_header(CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let mut response = (status, Body::from_stream(stream(db, file.tenant, file.sha256, part))).into_response();
    let quoted =
        file.name.chars().filter(|c| c.is_ascii() && !c.is_ascii_control() && !"\"\\".contains(*c)).collect::<String>();
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(CONTENT_TYPE, file.media_type);
    set(CONTENT_LENGTH, (part.end - part.start).to_string());
    set(CONTENT_DISPOSITION, format!("attachment; filename=\"{quoted}\""));
    set(ETAG, etag);
    set(ACCEPT_RANGES, "bytes".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        set(CONTENT_RANGE, format!("bytes {}-{}/{size}", part.start, part.end - 1));
    }
    Ok(response)
}

fn matches_etag(known: &str, etag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// Bytes from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Part),
    Nothing,
}

/// One range of bytes. For several ranges, other units and invalid headers, the whole file is sent, as the standard allows.
fn parse(range: &str, size: u64) -> Wanted {
    let Some((first, last)) =
        range.strip_prefix("bytes=").filter(|set| !set.contains(',')).and_then(|set| set.split_once('-'))
    else {
        return Wanted::All;
    };
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(length) => (size.saturating_sub(length), size),
            Err(_) => return Wanted::All,
        },
        (first, "") => match first.parse::<u64>() {
            Ok(start) => (start, size),
            Err(_) => return Wanted::All,
        },
        (first, last) => match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(start), Ok(last)) if start <= last => (start, last.saturating_add(1).min(size)),
            _ => return Wanted::All,
        },
    };
    if start < end { Wanted::Part(Part { start, end }) } else { Wanted::Nothing }
}

/// The part's bytes, one stored chunk at a time. A blob never changes, so no transaction is held while a slow customer reads.
fn stream(db: Db, tenant: Tenant, sha256: String, part: Part) -> impl Stream<Item = Result<Bytes, DbError>> {
    futures::stream::try_unfold((db, tenant, sha256, part), |(db, tenant, sha256, part)| async move {
        if part.start >= part.end {
            return Ok(None);
        }
        let position = part.start / CHUNK as u64;
        let mut conn = db.connection().await?;
        let chunk = blobs::chunk(&mut conn, &tenant, &sha256, i32::try_from(position).unwrap_or(i32::MAX)).await?;
        drop(conn);
        // Deleted during the download: the response ends early, which the client sees from Content-Length.
        let chunk = chunk.ok_or_else(|| DbError::Unavailable(format!("blob {sha256} is gone")))?;
        let offset = position * CHUNK as u64;
        let (from, to) = (part.start - offset, (part.end - offset).min(chunk.len() as u64));
        let bytes = Bytes::from(chunk).slice(from as usize..to as usize);
        let rest = Part { start: offset + to, end: part.end };
        Ok(Some((bytes, (db, tenant, sha256, rest))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, end: u64) -> Wanted {
        Wanted::Part(Part { start, end })
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(parse("bytes=0-3", 10), part(0, 4));
        assert_eq!(parse("bytes=4-", 10), part(4, 10));
        assert_eq!(parse("bytes=-3", 10), part(7, 10));
        assert_eq!(parse("bytes=-30", 10), part(0, 10));
        assert_eq!(parse("bytes=8-99", 10), part(8, 10));
        assert_eq!(parse("bytes=10-", 10), Wanted::Nothing);
        assert_eq!(parse("bytes=-0", 10), Wanted::Nothing);
        for whole in ["bytes=0-1,3-4", "lines=1-2", "bytes=5-4", "bytes=x-", "bytes"] {
            assert_eq!(parse(whole, 10), Wanted::All, "{whole}");
        }
    }

    #[test]
    fn a_known_etag_is_recognised_among_others() {
        assert!(matches_etag("\"a\", W/\"b\"", "\"b\""));
        assert!(matches_etag("*", "\"b\""));
        assert!(!matches_etag("\"a\"", "\"b\""));
    }
}
