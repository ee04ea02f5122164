//! `/v1/image-sets`: uploads of images; refused files are listed with the reasons.

use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use time::OffsetDateTime;

use super::auth::Caller;
use super::extract::{Id, check_coding};
use super::idempotency;
use super::list::{List, ListParams};
use super::query::Params;
use super::upload::{Part, check_length, form, is_form, next_field, read_part, spool_body, spool_part, unexpected};
use super::{App, HttpError};
use crate::db::image_sets as rows;
use crate::db::image_sets::{ImageRow, ImageSetRow, RefusalRow};
use crate::ids::ImageSetId;
use crate::problem::{Code, Problem};
use crate::service::idempotency::Posted;
use crate::service::image_sets::{self, Upload};
use crate::service::spool::{Spooled, too_large};

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/image-sets", get(list).post(upload)).route("/v1/image-sets/{id}", get(show).delete(delete))
}

#[derive(Debug, Serialize)]
struct ImageSet {
    object: &'static str,
    id: ImageSetId,
    sha256: String,
    bytes: i64,
    images: i32,
    labelled: i32,
    refused: i32,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<&ImageSetRow> for ImageSet {
    fn from(row: &ImageSetRow) -> Self {
        Self {
            object: "image_set",
            id: row.id,
            sha256: row.sha256.clone(),
            bytes: row.size,
            images: row.images,
            labelled: row.labelled,
            refused: row.refused,
            created_at: row.created_at,
        }
    }
}

/// An image set with all its files.
#[derive(Debug, Serialize)]
struct Detailed {
    #[serde(flatten)]
    set: ImageSet,
    image_list: Vec<ImageFile>,
    refused_list: Vec<RefusedFile>,
}

#[derive(Debug, Serialize)]
struct ImageFile {
    name: String,
    width: i32,
    height: i32,
    label: Option<i32>,
}

#[derive(Debug, Serialize)]
struct RefusedFile {
    name: String,
    reason: String,
}

impl From<&image_sets::Detailed> for Detailed {
    fn from(set: &image_sets::Detailed) -> Self {
        let image = |image: &ImageRow| {
            let ImageRow { name, width, height, label } = image.clone();
            ImageFile { name, width, height, label }
        };
        let refused =
            |RefusalRow { name, reason }: &RefusalRow| RefusedFile { name: name.clone(), reason: reason.clone() };
        Self {
            set: (&set.row).into(),
            image_list: set.images.iter().map(image).collect(),
            refused_list: set.refused.iter().map(refused).collect(),
        }
    }
}

async fn upload(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, HttpError> {
    check_coding(&headers)?;
    let limit = app.context.limits.images.archive_bytes;
    let upload = if is_form(&request) {
        upload_of_form(request, &app, limit).await?
    } else {
        check_length(&request, limit, "image set")?;
        Upload { archive: spool_body(request.into_body(), &app, limit, "image set").await?, labels: None }
    };
    let key = idempotency::key(&headers, &caller, "POST /v1/image-sets", upload.fingerprint())?;
    let answer = |set: &image_sets::Detailed| idempotency::text(&Detailed::from(set));
    match image_sets::register(&app.context, &caller.tenant, upload, key.as_ref(), answer).await? {
        Posted::Before(before) => Ok(idempotency::replay(&before)),
        Posted::Done(set) => {
            let location = [(LOCATION, format!("/v1/image-sets/{}", set.row.id))];
            Ok((StatusCode::CREATED, location, idempotency::json(answer(&set)?)).into_response())
        }
    }
}

async fn upload_of_form(request: Request, app: &App, limit: u64) -> Result<Upload, HttpError> {
    let mut form = form(request, app).await?;
    let mut parts = Parts::default();
    while let Some(field) = next_field(&mut form).await? {
        if let Some(part) = Part::of(field).await? {
            parts.take(part, app, limit).await?;
        }
    }
    parts.into_upload(app, limit).await
}

/// `archive=@` with an optional `labels=@`, or repeated `image=@` with an optional `labels=@`.
#[derive(Debug, Default)]
struct Parts {
    archive: Option<Spooled>,
    labels: Option<Vec<u8>>,
    images: Vec<(String, Spooled)>,
    image_bytes: u64,
}

impl Parts {
    async fn take(&mut self, part: Part<'_>, app: &App, limit: u64) -> Result<(), HttpError> {
        let limits = &app.context.limits.images;
        match part.name() {
            "archive" if self.archive.is_none() => {
                self.archive = Some(spool_part(part, app, limit, "image archive").await?);
            }
            "labels" if self.labels.is_none() => {
                self.labels = Some(read_part(part, limits.labels_bytes, "labels file").await?);
            }
            "image" => {
                let name = image_name(part.file_name(), self.images.len())?;
                let image = spool_part(part, app, limits.entry_bytes, "image").await?;
                self.image_bytes += image.size;
                if self.image_bytes > limit || self.images.len() >= limits.entries {
                    return Err(too_large("image set", limit).into());
                }
                self.images.push((name, image));
            }
            other => return Err(unexpected(other, "one \"archive\" or several \"image\", and at most one \"labels\"")),
        }
        Ok(())
    }

    async fn into_upload(self, app: &App, limit: u64) -> Result<Upload, HttpError> {
        let Self { archive, labels, images, .. } = self;
        let archive = match (archive, images.is_empty()) {
            (Some(archive), true) => archive,
            (None, false) => image_sets::pack(&app.context, images, limit).await?,
            _ => {
                let detail = "the form needs one \"archive\" or at least one \"image\", and not both";
                return Err(Problem::new(Code::InvalidMultipart, detail).into());
            }
        };
        Ok(Upload { archive, labels })
    }
}

/// Maximum length of an image's file name, in bytes: the names in a zip are limited too.
const LONGEST_NAME: usize = 512;

/// The name of a single image, or a number if it has none.
fn image_name(given: Option<&str>, before: usize) -> Result<String, HttpError> {
    match given.filter(|name| !name.ends_with(['/', '\\'])) {
        None => Ok(format!("image-{:05}", before + 1)),
        Some(name) if name.len() <= LONGEST_NAME => Ok(name.to_owned()),
        Some(name) => {
            let detail = format!("the file name of an image has {} bytes; the limit is {LONGEST_NAME}", name.len());
            Err(Problem::new(Code::InvalidName, detail).into())
        }
    }
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<List<ImageSet>>, HttpError> {
    let page = params.page()?;
    let mut conn = app.context.db.connection().await?;
    let sets = rows::list(&mut conn, &caller.tenant, page).await?.iter().map(ImageSet::from).collect();
    Ok(Json(List::new(sets, page.limit - 1, |set: &ImageSet| set.id.to_string())))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id<ImageSetId>) -> Result<Json<Detailed>, HttpError> {
    Ok(Json(Detailed::from(&image_sets::get(&app.context, &caller.tenant, id).await?)))
}

async fn delete(State(app): State<App>, caller: Caller, Id(id): Id<ImageSetId>) -> Result<StatusCode, HttpError> {
    image_sets::delete(&app.context, &caller.tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
