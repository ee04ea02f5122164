//! A private PostgreSQL for one test, and rows to start from.

use std::sync::LazyLock;

use practised::blobs;
use practised::db::jobs::NewJob;
use practised::db::{Db, JobPriority, Scope, image_sets, models};
use practised::ids::{ImageSetId, JobId, ModelId, Tenant, WorkerId};
use practised::private_postgres::{self, PrivatePostgres};
use practised::queue::submit;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster;

/// Who asks where no key is needed.
pub static LOCAL: LazyLock<Tenant> = LazyLock::new(Tenant::local);

/// A migrated database that ends with the test.
pub struct Database {
    pub db: Db,
    pub dir: TempDir,
    postgres: Option<PrivatePostgres>,
}

impl Database {
    pub async fn start() -> Self {
        let dir = cluster::data_dir("").await;
        let postgres = private_postgres::start(dir.path()).await.expect("a private PostgreSQL starts");
        let db = Db::connect(&postgres.url(), 20).await.expect("it takes connections");
        db.migrate().await.expect("the migrations run");
        Self { db, dir, postgres: Some(postgres) }
    }

    /// For another process.
    pub fn url(&self) -> String {
        self.postgres.as_ref().map(PrivatePostgres::url).unwrap_or_default()
    }

    pub async fn stop(mut self) {
        self.db.close().await;
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await;
        }
    }

    /// A model with these bytes; nothing looks into them here.
    pub async fn model(&self, bytes: &[u8]) -> ModelId {
        self.model_of(&LOCAL, bytes).await
    }

    pub async fn model_of(&self, tenant: &Tenant, bytes: &[u8]) -> ModelId {
        let mut tx = self.db.begin().await.expect("begins");
        let sha256 = blobs::put_bytes(&mut tx, tenant, bytes).await.expect("stored");
        let id = ModelId::new();
        let row = models::insert(&mut tx, tenant, id, &sha256, Some("tiny.onnx"), bytes.len() as i64, &json!({})).await;
        row.expect("inserted").expect("new");
        tx.commit().await.expect("committed");
        id
    }

    pub async fn image_set(&self, bytes: &[u8]) -> ImageSetId {
        self.image_set_of(&LOCAL, bytes).await
    }

    pub async fn image_set_of(&self, tenant: &Tenant, bytes: &[u8]) -> ImageSetId {
        let mut tx = self.db.begin().await.expect("begins");
        let sha256 = blobs::put_bytes(&mut tx, tenant, bytes).await.expect("stored");
        let id = ImageSetId::new();
        image_sets::insert(&mut tx, tenant, id, &sha256, None, bytes.len() as i64).await.expect("inserted");
        tx.commit().await.expect("committed");
        id
    }

    /// A job on a model and an image set of its own that scores `blocks`.
    pub async fn job(&self, config: Value, blocks: &[&str]) -> JobId {
        self.job_with_deadline(config, blocks, 3600.0).await
    }

    pub async fn job_with_deadline(&self, config: Value, blocks: &[&str], deadline_seconds: f64) -> JobId {
        let id = JobId::new();
        let model = self.model(id.to_string().as_bytes()).await;
        let images = Some(self.image_set(format!("images of {id}").as_bytes()).await);
        self.submit(NewJob { images, deadline_seconds, ..new_job(id, model, &config, &json!({})) }, blocks).await
    }

    /// A job on what is there.
    pub async fn job_on(&self, model: ModelId, images: Option<ImageSetId>, config: Value, blocks: &[&str]) -> JobId {
        self.submit(NewJob { images, ..new_job(JobId::new(), model, &config, &json!({})) }, blocks).await
    }

    /// A job of this priority, on a model of its own.
    pub async fn job_of(&self, priority: JobPriority, blocks: &[&str]) -> JobId {
        let (id, config) = (JobId::new(), json!({ "finetune": null }));
        let model = self.model(id.to_string().as_bytes()).await;
        self.submit(NewJob { priority, ..new_job(id, model, &config, &json!({})) }, blocks).await
    }

    pub async fn submit(&self, job: NewJob<'_>, blocks: &[&str]) -> JobId {
        let mut tx = self.db.begin().await.expect("begins");
        submit::submit(&mut tx, &job, blocks).await.expect("submitted");
        tx.commit().await.expect("committed");
        job.id
    }

    /// A tenant of this name.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let tenant = name.parse().expect("a name");
        practised::service::api_keys::create(&self.db, &tenant, &[Scope::Read]).await.expect("made with its key");
        tenant
    }

    /// A job of this tenant, on a model of its own.
    pub async fn job_for(&self, tenant: &Tenant, blocks: &[&str]) -> JobId {
        let (id, config) = (JobId::new(), json!({ "finetune": null }));
        let model = self.model_of(tenant, id.to_string().as_bytes()).await;
        self.submit(NewJob { tenant, ..new_job(id, model, &config, &json!({})) }, blocks).await
    }

    /// Makes a job as old as that.
    pub async fn age(&self, job: JobId, seconds: f64) {
        let age = sqlx::query("update job set created_at = now() - make_interval(secs => $2) where id = $1");
        age.bind(job).bind(seconds).execute(self.db.pool()).await.expect("aged");
    }

    /// A registered worker on the CPU.
    pub async fn worker(&self) -> WorkerId {
        self.worker_on("cpu", None).await
    }

    pub async fn worker_on(&self, device: &str, name: Option<&str>) -> WorkerId {
        let id = WorkerId::new();
        let mut conn = self.db.connection().await.expect("a connection");
        practised::db::workers::register(&mut conn, id, "host", 1, device, name, "0").await.expect("registered");
        id
    }
}

/// A job on this model that asks for nothing special.
pub fn new_job<'a>(id: JobId, model: ModelId, config: &'a Value, metadata: &'a Value) -> NewJob<'a> {
    let priority = JobPriority::Normal;
    NewJob {
        id,
        tenant: &LOCAL,
        model,
        images: None,
        config,
        metadata,
        deadline_seconds: 3600.0,
        device: None,
        priority,
    }
}
