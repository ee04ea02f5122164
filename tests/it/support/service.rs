//! A real `practised serve` for one test: its own port, data directory, PostgreSQL and workers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use practised::db::Db;
use practised::private_postgres;
use practised::queue::doctor;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::networks::TinyResNet;
use super::{cluster, uploads};

/// Set in every process that a test's service starts, so that none can hide.
const MARK: &str = "PRACTISED_TEST_MARK";

pub struct TestApp {
    pub url: String,
    pub http: reqwest::Client,
    pub dir: TempDir,
    mark: String,
    serve: Child,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

impl TestApp {
    /// A service without workers: what is submitted stays queued.
    pub async fn without_workers() -> Self {
        Self::start(&["--workers", "0"]).await
    }

    /// A service with one worker on the CPU.
    pub async fn with_worker() -> Self {
        let app = Self::start(&["--workers", "cpu"]).await;
        app.until("a worker is ready", Duration::from_secs(30), async || app.get("/readyz").await.status == 200).await;
        app
    }

    /// A service without workers that asks for a key, and the key that opens everything.
    pub async fn with_keys() -> (Self, String) {
        let dir = cluster::data_dir("data").await;
        let made = Self::keys(&dir.path().join("data"), &["create", "--admin"]);
        let key = made.lines().next().expect("a key").to_owned();
        (Self::start_in(dir, &["--workers", "0", "--require-keys"]), key)
    }

    /// What `practised keys` says about the database of a data directory.
    pub fn keys(data: &Path, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
        command.arg("keys").args(args).arg("--data-dir").arg(data).env_remove("DATABASE_URL");
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// From now on this key is shown with every request, or none.
    pub fn show(&mut self, key: Option<&str>) {
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(key) = key {
            headers.insert("authorization", format!("Bearer {key}").parse().expect("a header"));
        }
        self.http = reqwest::Client::builder().no_proxy().default_headers(headers).build().expect("a client");
    }

    pub async fn start(args: &[&str]) -> Self {
        Self::start_in(cluster::data_dir("data").await, args)
    }

    /// A service without workers that a shell starts, after it has done something: set a limit, or a signal to be ignored.
    pub async fn start_from_shell(preparation: &str, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{preparation}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_practised")]);
        Self::start_as(shell, cluster::data_dir("data").await, &[&["--workers", "0"], args].concat(), environment)
    }

    pub fn start_in(dir: TempDir, args: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_practised")), dir, args, &[])
    }

    fn start_as(program: Command, dir: TempDir, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mark = uuid::Uuid::now_v7().to_string();
        let (serve, url) = launch(program, dir.path(), &mark, args, environment);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url, http, dir, mark, serve }
    }

    /// Asks everything on a connection of its own from here on: where places are scarce, the service may close one that is kept
    /// at the moment it is used again.
    pub fn keeping_no_connections(mut self) -> Self {
        self.http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        self
    }

    /// Starts the service again, on the same data.
    pub fn restart(&mut self, args: &[&str]) {
        self.restart_with(args, &[]);
    }

    /// The same with variables in its environment.
    pub fn restart_with(&mut self, args: &[&str], environment: &[(&str, &str)]) {
        let program = Command::new(env!("CARGO_BIN_EXE_practised"));
        (self.serve, self.url) = launch(program, self.dir.path(), &self.mark, args, environment);
    }

    /// The service's own database.
    pub async fn database(&self) -> Db {
        let url = private_postgres::running(&self.data()).await.expect("the database runs");
        Db::connect(&url, 4).await.expect("it takes connections")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Uploads on their way in, of all services that use the data directory.
    pub fn spooled(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.data().join("spool")).expect("the spool").flatten();
        let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.map(|file| file.path()).filter(|path| !path.ends_with("lock")).collect()
    }

    /// Process ids of what decodes image sets for this service.
    pub fn decoders(&self) -> Vec<Pid> {
        self.running("decode-child")
    }

    /// Asserts that `practised doctor` finds nothing.
    pub async fn examine(&self) {
        let found = doctor::examine(&self.database().await).await.expect("looked over");
        assert!(found.findings.is_empty(), "{found:?}");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("serve.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.serve.id().cast_signed())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.path(path))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.http.delete(self.path(path))).await
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.path(path))
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send(self.post(path).json(body)).await
    }

    pub async fn post_bytes(&self, path: &str, media_type: &str, bytes: Vec<u8>) -> Answer {
        self.send(self.post(path).header("content-type", media_type).body(bytes)).await
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap_or_else(|error| panic!("no answer: {error}; {}", self.log()))).await
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Uploads a tiny network; its id.
    pub async fn upload_model(&self, net: &TinyResNet) -> String {
        let answer = self.post_bytes("/v1/models", "application/octet-stream", net.bytes()).await;
        assert!(answer.status == 201 || answer.status == 200, "{answer:?}");
        answer.id()
    }

    /// Uploads a few images of this many pixels; the set's id.
    pub async fn upload_images(&self, count: usize, side: u32) -> String {
        let answer = self.post_bytes("/v1/image-sets", "application/zip", uploads::image_zip(count, side)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// A job that drops the one block it may drop, with so few steps that it takes seconds.
    pub async fn quick_job(&self) -> Value {
        let net = TinyResNet::default();
        let model = self.upload_model(&net).await;
        let images = self.upload_images(12, 8).await;
        json!({
            "model": model, "images": images, "target": {"blocks": 1}, "seed": 7,
            "exclude_blocks": net.droppable()[1..],
            "recoverability": {"method": "adapters", "iterations": 2}, "finetune": {"recipe": "paper", "steps": 3},
            "latency": {"rounds": 4},
        })
    }

    /// A job whose scores take minutes: for being interrupted.
    pub async fn long_job(&self) -> Value {
        let mut job = self.quick_job().await;
        job["recoverability"]["iterations"] = 100_000.into();
        job
    }

    /// Submits a job; its id.
    pub async fn submit(&self, job: &Value) -> String {
        let answer = self.post_json("/v1/jobs", job).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.id()
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.json()
    }

    /// Waits until a job is done.
    pub async fn finished(&self, id: &str, patience: Duration) -> Value {
        self.until("the job is done", patience, async || self.job(id).await["done"] == true).await;
        self.job(id).await
    }

    /// All events of a job, checked to be numbered without a gap.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        let list = self.get(&format!("/v1/jobs/{id}/events?limit=200")).await.json();
        let events = list["data"].as_array().expect("a list").clone();
        let seqs: Vec<i64> = events.iter().filter_map(|event| event["seq"].as_i64()).collect();
        assert_eq!(seqs, (1..=events.len() as i64).collect::<Vec<_>>(), "{list}");
        events
    }

    pub async fn event_kinds(&self, id: &str) -> Vec<String> {
        self.events(id).await.iter().map(|event| event["kind"].as_str().expect("a kind").to_owned()).collect()
    }

    /// Asks again and again until it holds.
    pub async fn until(&self, what: &str, patience: Duration, holds: impl AsyncFn() -> bool) {
        let since = Instant::now();
        while !holds().await {
            assert!(since.elapsed() < patience, "not within {patience:?}: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Process ids of this service's workers.
    pub fn workers(&self) -> Vec<Pid> {
        self.running("worker")
    }

    /// Process ids of what runs a subcommand.
    fn running(&self, subcommand: &str) -> Vec<Pid> {
        let runs_it = |pid: &Pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == subcommand.as_bytes())
        };
        self.processes().into_iter().filter(runs_it).collect()
    }

    /// Process ids of everything this service started, itself included: by the inherited mark, or, as PostgreSQL gets an
    /// environment of its own, by a working directory in the data directory.
    pub fn processes(&self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.mark);
        let data = self.dir.path().canonicalize().expect("the folder is there");
        let ours = |process: &Path| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            marked || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&data))
        };
        let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        let number = |path: PathBuf| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw);
        processes.filter(|path| ours(path)).filter_map(number).collect()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        self.wait(Duration::from_secs(35))
    }

    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.serve.try_wait().expect("it is our child") {
                return status;
            }
            assert!(since.elapsed() < patience, "still running after {patience:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the service ---\n{}", self.log());
        }
        if self.serve.try_wait().is_ok_and(|status| status.is_none()) {
            // By SIGKILL, everything it started gets its parent-death signal.
            let _ = self.serve.kill();
            let _ = self.serve.wait();
        }
        let since = Instant::now();
        while !self.processes().is_empty() && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A running `practised serve` and where it listens.
fn launch(mut serve: Command, dir: &Path, mark: &str, args: &[&str], environment: &[(&str, &str)]) -> (Child, String) {
    let log = File::options().create(true).append(true).open(dir.join("serve.log")).expect("a log");
    // A temporary folder of its own: the lock on the host for measuring is there, and tests do not wait for each other.
    let temporary = dir.join("tmp");
    fs::create_dir_all(&temporary).expect("made");
    let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    let mut serve = serve
        .env("TMPDIR", temporary)
        .args(["serve", "--data-dir"])
        .arg(dir.join("data"))
        .args(listen)
        .args(args)
        .env(MARK, mark)
        .env_remove("DATABASE_URL")
        .env("PRACTISED_LOG", "info,sqlx=warn")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("practised serve starts");
    let mut line = String::new();
    BufReader::new(serve.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
    match line.trim().strip_prefix("practised listens on ") {
        Some(url) => (serve, url.to_owned()),
        None => panic!("it says {line:?}; {}", fs::read_to_string(dir.join("serve.log")).unwrap_or_default()),
    }
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, bytes: response.bytes().await.expect("a whole body").to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer as a problem document, checked to be a whole one of this kind.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?} {}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/v1/errors/{code}"));
        for field in ["title", "detail", "instance", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
        }
        problem
    }
}

/// A worker as on another host, which has a lock for measuring of its own. Ends with its test.
pub struct OtherWorker(Child);

impl OtherWorker {
    /// With these arguments, and these variables in its environment.
    pub async fn start(app: &TestApp, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let url = private_postgres::running(&app.data()).await.expect("the database runs");
        let temporary = app.dir.path().join("other-host");
        fs::create_dir_all(&temporary).expect("made");
        let log = File::options().append(true).create(true).open(app.dir.path().join("worker.log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_practised"));
        command.arg("worker").args(args).env("DATABASE_URL", url).env("TMPDIR", temporary).stderr(log);
        Self(command.envs(environment.iter().copied()).spawn().expect("starts"))
    }

    /// Ends it as the kernel would.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end, as a rolling restart does.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("it runs");
    }

    /// How it ended by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(began.elapsed() < within, "the worker still runs");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for OtherWorker {
    fn drop(&mut self) {
        self.kill();
    }
}
