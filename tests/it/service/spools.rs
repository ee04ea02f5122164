//! Several services on one data directory: each has uploads of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use practised::private_postgres;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::service::TestApp;
use crate::support::uploads::image_zip;

/// Another `practised serve` on an app's data directory and database; it is killed when dropped.
struct Sibling {
    process: Child,
    url: String,
}

impl Sibling {
    async fn start(app: &TestApp) -> Self {
        let database = private_postgres::running(&app.data()).await.expect("the database runs");
        let log = std::fs::File::options().create(true).append(true).open(app.dir.path().join("sibling.log"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_practised"))
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "0", "--data-dir"])
            .arg(app.data())
            .env("DATABASE_URL", database)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().strip_prefix("practised listens on ").expect("an address").to_owned();
        Self { process, url }
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An upload that has begun; the rest of its bytes goes into the channel.
type Upload = (mpsc::Sender<Result<Vec<u8>, std::io::Error>>, tokio::task::JoinHandle<u16>);

fn begin(app: &TestApp, url: &str, first: &[u8]) -> Upload {
    let (rest, bytes) = mpsc::channel(2);
    rest.try_send(Ok(first.to_vec())).expect("room");
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(bytes));
    let request = app.http.post(format!("{url}/v1/image-sets")).header("content-type", "application/zip").body(body);
    let answer = tokio::spawn(async { request.send().await.map_or(0, |answer| answer.status().as_u16()) });
    (rest, answer)
}

/// The upload that came since `known`.
async fn arriving(app: &TestApp, known: &[PathBuf]) -> PathBuf {
    app.until("it arrives", Duration::from_secs(20), async || app.spooled().len() > known.len()).await;
    app.spooled().into_iter().find(|path| !known.contains(path)).expect("a new one")
}

fn folder(upload: &Path) -> &Path {
    upload.parent().expect("a folder")
}

#[tokio::test]
async fn a_service_that_starts_leaves_running_uploads_alone_and_removes_what_the_dead_left() {
    let app = TestApp::without_workers().await;
    let archive = image_zip(6, 16);
    let (first, second) = archive.split_at(archive.len() / 2);
    let (rest, answer) = begin(&app, &app.url, first);
    let running = arriving(&app, &[]).await;

    let sibling = Sibling::start(&app).await;
    let (_never, _given_up) = begin(&app, &sibling.url, first);
    let of_sibling = arriving(&app, std::slice::from_ref(&running)).await;
    assert_ne!(folder(&running), folder(&of_sibling));
    drop(sibling);
    assert!(of_sibling.exists(), "it was killed");

    let _next = Sibling::start(&app).await;
    assert!(!folder(&of_sibling).exists(), "what the dead left goes");
    assert!(running.exists(), "what the living have stays");
    rest.send(Ok(second.to_vec())).await.expect("it still reads");
    drop(rest);
    assert_eq!(answer.await.expect("runs"), 201);
    assert_eq!(app.spooled(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_service_that_is_asked_to_end_leaves_no_folder() {
    let mut app = TestApp::without_workers().await;
    let folders = |app: &TestApp| {
        let entries = std::fs::read_dir(app.data().join("spool")).expect("the spool").flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    };
    assert_eq!(folders(&app), 1);
    app.terminate();
    assert_eq!(folders(&app), 0);
}
