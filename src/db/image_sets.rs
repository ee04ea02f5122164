//! Tiny sets: the set, its images, and what was refused.

use sqlx::FromRow;
use time::OffsetDateTime;

use super::page::page;
use super::{Connection, DbError, Page};
use crate::ids::{ImageSetId, Tenant};

/// A row of `image_set`, with its counts.
#[derive(Debug, Clone, FromRow)]
pub struct ImageSetRow {
    /// Id of the image set.
    pub id: ImageSetId,
    /// Hash of the archive, in hex.
    pub sha256: String,
    /// Hash of labels that were given apart.
    pub labels_sha256: Option<String>,
    /// Bytes of the archive.
    pub size: i64,
    /// When it came.
    pub created_at: OffsetDateTime,
    /// Accepted images.
    pub images: i32,
    /// Of those, with a label.
    pub labelled: i32,
    /// Refused files.
    pub refused: i32,
}

/// All columns of [`ImageSetRow`].
macro_rules! select_image_set {
    () => {
        "select id, sha256, labels_sha256, size, created_at, images, labelled, refused from image_set"
    };
}

/// A row of `image_set_image`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ImageRow {
    /// Path in the archive.
    pub name: String,
    /// Pixels.
    pub width: i32,
    /// Pixels.
    pub height: i32,
    /// Class number from 0, if labels were given.
    pub label: Option<i32>,
}

/// A row of `image_set_refusal`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct RefusalRow {
    /// Path in the archive.
    pub name: String,
    /// Why it is not used.
    pub reason: String,
}

/// Inserts a set whose blobs already exist.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(
    conn: &mut Connection,
    tenant: &Tenant,
    id: ImageSetId,
    sha256: &str,
    labels_sha256: Option<&str>,
    size: i64,
) -> Result<(), DbError> {
    let insert =
        sqlx::query("insert into image_set (id, sha256, labels_sha256, size, tenant) values ($1, $2, $3, $4, $5)");
    insert.bind(id).bind(sha256).bind(labels_sha256).bind(size).bind(tenant).execute(conn).await?;
    Ok(())
}

/// Inserts a set's images in their order, and counts them.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_images(conn: &mut Connection, id: ImageSetId, images: &[ImageRow]) -> Result<(), DbError> {
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    let widths: Vec<i32> = images.iter().map(|image| image.width).collect();
    let heights: Vec<i32> = images.iter().map(|image| image.height).collect();
    let labels: Vec<Option<i32>> = images.iter().map(|image| image.label).collect();
    let insert = sqlx::query(
        "with counted as (update image_set set images = cardinality($2::text[]), labelled = $6 where id = $1)
         insert into image_set_image (image_set, position, name, width, height, label)
         select $1, ordinality::integer - 1, name, width, height, label
         from unnest($2::text[], $3::integer[], $4::integer[], $5::integer[]) with ordinality
              as given (name, width, height, label, ordinality)",
    );
    let labelled = labels.iter().flatten().count() as i32;
    let insert = insert.bind(id).bind(names).bind(widths).bind(heights).bind(labels).bind(labelled);
    insert.execute(conn).await?;
    Ok(())
}

/// Inserts a set's refused files in their order, and counts them.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_refusals(conn: &mut Connection, id: ImageSetId, refused: &[RefusalRow]) -> Result<(), DbError> {
    let names: Vec<&str> = refused.iter().map(|file| file.name.as_str()).collect();
    let reasons: Vec<&str> = refused.iter().map(|file| file.reason.as_str()).collect();
    let insert = sqlx::query(
        "with counted as (update image_set set refused = cardinality($2::text[]) where id = $1)
         insert into image_set_refusal (image_set, position, name, reason)
         select $1, ordinality::integer - 1, name, reason
         from unnest($2::text[], $3::text[]) with ordinality as given (name, reason, ordinality)",
    );
    insert.bind(id).bind(names).bind(reasons).execute(conn).await?;
    Ok(())
}

/// One set of a tenant.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, tenant: &Tenant, id: ImageSetId) -> Result<Option<ImageSetRow>, DbError> {
    let get = sqlx::query_as(concat!(select_image_set!(), " where id = $1 and tenant = $2"));
    Ok(get.bind(id).bind(tenant).fetch_optional(conn).await?)
}

/// A page of a tenant's sets.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, tenant: &Tenant, page: Page) -> Result<Vec<ImageSetRow>, DbError> {
    Ok(page.query(page!(select_image_set!(), "true", "tenant", "$3")).bind(tenant).fetch_all(conn).await?)
}

/// A set's images in their order.
///
/// # Errors
/// As [`DbError`].
pub async fn images(conn: &mut Connection, id: ImageSetId) -> Result<Vec<ImageRow>, DbError> {
    let images =
        sqlx::query_as("select name, width, height, label from image_set_image where image_set = $1 order by position");
    Ok(images.bind(id).fetch_all(conn).await?)
}

/// A set's refused files in their order.
///
/// # Errors
/// As [`DbError`].
pub async fn refusals(conn: &mut Connection, id: ImageSetId) -> Result<Vec<RefusalRow>, DbError> {
    let refused = sqlx::query_as("select name, reason from image_set_refusal where image_set = $1 order by position");
    Ok(refused.bind(id).fetch_all(conn).await?)
}

/// The different sizes (width, height) among a set's images, smallest first.
///
/// # Errors
/// As [`DbError`].
pub async fn sizes(conn: &mut Connection, id: ImageSetId) -> Result<Vec<(i32, i32)>, DbError> {
    let sizes = sqlx::query_as(
        "select distinct width, height from image_set_image where image_set = $1 order by width, height",
    );
    Ok(sizes.bind(id).fetch_all(conn).await?)
}

/// Deletes a set; false if it does not exist. The constraint `live_job_has_its_inputs` refuses while a job uses it.
///
/// # Errors
/// As [`DbError`].
pub async fn delete(conn: &mut Connection, tenant: &Tenant, id: ImageSetId) -> Result<bool, DbError> {
    let delete = sqlx::query("delete from image_set where id = $1 and tenant = $2");
    Ok(delete.bind(id).bind(tenant).execute(conn).await?.rows_affected() == 1)
}
