//! Tiny sets: unpacked and looked at once, kept as one archive.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::decoding::{self, FoundImage, FoundRefusal};
use super::idempotency::{Answer, Idempotency, Once, Posted};
use super::spool::{Spool, Spooled};
use super::{Context, ServiceError, refuse};
use crate::blobs;
use crate::db::image_sets::{self, ImageRow, ImageSetRow, RefusalRow};
use crate::db::{CommitPoint, Connection};
use crate::hash::sha256_hex;
use crate::ids::{ImageSetId, Tenant};
use crate::problem::Code;

/// What a customer sent.
#[derive(Debug)]
pub struct Upload {
    /// A zip.
    pub archive: Spooled,
    /// Labels that came apart from it, as csv.
    pub labels: Option<Vec<u8>>,
}

impl Upload {
    /// What tells this upload from another one.
    pub fn fingerprint(&self) -> String {
        let labels = self.labels.as_deref().unwrap_or_default();
        sha256_hex([self.archive.sha256.as_bytes(), labels].concat().as_slice())
    }
}

/// An image set with every file of it.
#[derive(Debug)]
pub struct Detailed {
    /// The set.
    pub row: ImageSetRow,
    /// Its images.
    pub images: Vec<ImageRow>,
    /// Files of the archive that are no usable images.
    pub refused: Vec<RefusalRow>,
}

/// Registers an upload as an image set. `answer` writes the response's body, which is kept under the Idempotency-Key.
///
/// # Errors
/// What is wrong with the archive, as a refusal; else as [`ServiceError`].
pub async fn register(
    context: &Context,
    tenant: &Tenant,
    upload: Upload,
    key: Option<&Idempotency>,
    answer: impl Fn(&Detailed) -> Result<String, ServiceError> + Send,
) -> Result<Posted<Detailed>, ServiceError> {
    if let Some(before) = Once::before(&context.db, key).await? {
        return Ok(Posted::Before(before));
    }
    let (images, refused) = look_into(context, tenant, &upload).await?;
    let mut once = match Once::begin(&context.db, key).await? {
        Posted::Before(before) => return Ok(Posted::Before(before)),
        Posted::Done(once) => once,
    };
    let row = insert(once.conn(), tenant, &upload, &images, &refused).await?;
    let set = Detailed { row, images, refused };
    let answer = Answer { status: 201, location: format!("/v1/image-sets/{}", set.row.id), body: answer(&set)? };
    once.commit(CommitPoint::ImageSet, answer).await?;
    Ok(Posted::Done(set))
}

async fn look_into(
    context: &Context,
    tenant: &Tenant,
    upload: &Upload,
) -> Result<(Vec<ImageRow>, Vec<RefusalRow>), ServiceError> {
    let _turn = context.decoders.image_sets.wait(tenant).await?;
    let (spool, limits) = (context.spool.path(), &context.limits.images);
    let Upload { archive, labels } = upload;
    let found = decoding::look_into(spool, archive.path(), archive.size, labels.as_deref(), limits).await?;
    Ok((images(found.images), refused(found.refused)))
}

async fn insert(
    conn: &mut Connection,
    tenant: &Tenant,
    upload: &Upload,
    images: &[ImageRow],
    refused: &[RefusalRow],
) -> Result<ImageSetRow, ServiceError> {
    let Upload { archive, labels } = upload;
    blobs::put_file(conn, tenant, archive.path(), &archive.sha256, archive.size).await?;
    let labels = match labels {
        Some(csv) => Some(blobs::put_bytes(conn, tenant, csv).await?),
        None => None,
    };
    let id = ImageSetId::new();
    image_sets::insert(conn, tenant, id, &archive.sha256, labels.as_deref(), archive.size as i64).await?;
    image_sets::insert_images(conn, id, images).await?;
    image_sets::insert_refusals(conn, id, refused).await?;
    match image_sets::get(conn, tenant, id).await? {
        Some(row) => Ok(row),
        None => refuse(Code::Internal, "the image set that was just stored is not there"),
    }
}

/// One image set with every file of it.
///
/// # Errors
/// A refusal if it is not there; else as [`ServiceError`].
pub async fn get(context: &Context, tenant: &Tenant, id: ImageSetId) -> Result<Detailed, ServiceError> {
    let mut conn = context.db.connection().await?;
    let Some(row) = image_sets::get(&mut conn, tenant, id).await? else {
        return refuse(Code::ImageSetNotFound, format!("there is no image set {id}"));
    };
    let images = image_sets::images(&mut conn, id).await?;
    Ok(Detailed { row, images, refused: image_sets::refusals(&mut conn, id).await? })
}

fn images(found: Vec<FoundImage>) -> Vec<ImageRow> {
    let row = |FoundImage { name, width, height, label }| ImageRow {
        name,
        width: width.cast_signed(),
        height: height.cast_signed(),
        label: label.map(u32::cast_signed),
    };
    found.into_iter().map(row).collect()
}

fn refused(found: Vec<FoundRefusal>) -> Vec<RefusalRow> {
    found.into_iter().map(|FoundRefusal { name, reason }| RefusalRow { name, reason }).collect()
}

/// Packs single images into an archive like the one the customer could have sent: by their base names, uncompressed,
/// without times, so that the same images give the same bytes.
///
/// # Errors
/// A refusal if two have one name; else as [`ServiceError`].
pub async fn pack(context: &Context, files: Vec<(String, Spooled)>, limit: u64) -> Result<Spooled, ServiceError> {
    let spool = Arc::clone(&context.spool);
    tokio::task::spawn_blocking(move || packed(spool.path(), &files, limit)).await?
}

fn packed(dir: &Path, files: &[(String, Spooled)], limit: u64) -> Result<Spooled, ServiceError> {
    let mut names = std::collections::BTreeSet::new();
    let mut packed = tempfile::NamedTempFile::new_in(dir)?;
    let mut zip = ZipWriter::new(BufWriter::new(packed.as_file_mut()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, file) in files {
        let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
        if !names.insert(base.to_owned()) {
            return refuse(
                Code::DuplicateImageName,
                format!("two images are named {base:?}; every image needs a unique name"),
            );
        }
        zip.start_file(base, options).map_err(std::io::Error::other)?;
        std::io::copy(&mut File::open(file.path())?, &mut zip)?;
    }
    zip.finish().map_err(std::io::Error::other)?.flush()?;
    respool(dir, packed.path(), limit)
}

/// Hashes the archive as an upload would have been.
fn respool(dir: &Path, path: &Path, limit: u64) -> Result<Spooled, ServiceError> {
    let mut spool = Spool::begin(dir, limit, "image set")?;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return spool.finish(),
            read => spool.write(&buffer[..read])?,
        }
    }
}

/// Deletes a set.
///
/// # Errors
/// A refusal where it is not there, or a job uses it; else as [`ServiceError`].
pub async fn delete(context: &Context, tenant: &Tenant, id: ImageSetId) -> Result<(), ServiceError> {
    let mut conn = context.db.connection().await?;
    match image_sets::delete(&mut conn, tenant, id).await {
        Ok(true) => Ok(()),
        Ok(false) => refuse(Code::ImageSetNotFound, format!("there is no image set {id}")),
        Err(error) if error.is_constraint("live_job_has_its_inputs") => {
            refuse(Code::ImageSetInUse, format!("a job that is not done uses image set {id}"))
        }
        Err(error) => Err(error.into()),
    }
}
