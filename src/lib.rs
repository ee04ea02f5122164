//! `practised` makes a trained residual CNN faster. It drops whole residual blocks until a latency target is met, and the
//! rest recovers on a few unlabelled images (PRACTISE, CVPR 2023). The same core serves an HTTP service and a command line.
//!
//! This page is the map. [docs/method.md](../../../docs/method.md) describes the method,
//! [ARCHITECTURE.md](../../../ARCHITECTURE.md) the design, and [docs/reliability.md](../../../docs/reliability.md) what the queue
//! guarantees.
//!
//! # Floors
//!
//! A module uses only modules on the floors below its own, or earlier in its row. `tests/it/layering` checks this against
//! the imports.
//!
//! | floor | modules | must not know |
//! |---|---|---|
//! | leaves | [`children`], [`hash`], [`ids`], [`json`], [`nearest`], [`problem`], [`shutdown`], [`statistics`], [`telemetry`] | each other |
//! | data | [`images`]: decoded images; [`graph`]: nodes, shapes, folding, patches; [`spec`]: a job's settings and its report | ONNX files, tensors that compute |
//! | files and engines | [`onnx`]: ONNX files; [`exec`]: a graph on a torch device; [`onnxruntime`]: a file in ONNX Runtime | jobs, the method |
//! | measuring | [`conformance`]: operators against ONNX's own tests; [`latency`]: time, in a child process | the method |
//! | networks | [`network`]: an uploaded file with its inputs, outputs, blocks and tap | the method |
//! | the method | [`compress`]: recoverability, selection, recovery, export | tokio, SQL, HTTP |
//! | storage | [`db`]: all SQL; [`blobs`]: bytes in and out of it; [`private_postgres`]: a PostgreSQL of the service's own | the method |
//! | queue | [`queue`]: claim, lease, retry, rescue | the method, HTTP |
//! | service | [`service`]: models, image sets, jobs and keys | HTTP |
//! | processes | [`http`]: requests and responses; [`worker`]: one process per device | each other |
//! | commands | [`cli`]: arguments, wiring, output | |
//!
//! Everything up to [`compress`] is synchronous. Only [`onnx`] uses protobuf, only [`db`] SQL, only [`http`] axum.
//!
//! # One job
//!
//! 1. `POST /v1/models`: `http::models` → [`service::models`] → [`onnx::decode()`] → [`graph::fold()`] →
//!    [`network::analyse`]. The bytes and a row are stored by [`db`].
//! 2. `POST /v1/image-sets`: `http::image_sets` → [`service::decoding`], a child process that decodes hostile bytes with
//!    [`images`].
//! 3. `POST /v1/jobs`: `http::jobs` → [`service::jobs`] checks the body against [`spec::config`] → [`queue::submit`] inserts
//!    the job and its tasks in one transaction.
//! 4. [`worker`] claims one task at a time ([`queue::claim`]) and runs a step of [`compress::pipeline`]: measure, score,
//!    select, finetune, export. Each result is one transaction ([`queue::complete`]), guarded by the lease.
//! 5. `GET /v1/jobs/{id}/report` and `/artifacts` read what [`db`] holds.
//!
//! `practised compress` runs step 4 in one process, without the database ([`cli`]).

pub mod children;
pub mod hash;
pub mod ids;
pub mod json;
pub mod nearest;
pub mod problem;
pub mod shutdown;
pub mod statistics;
pub mod telemetry;

pub mod graph;
pub mod images;
pub mod spec;

pub mod exec;
pub mod onnx;
pub mod onnxruntime;

pub mod conformance;
pub mod latency;

pub mod network;

pub mod compress;

pub mod blobs;
pub mod db;

pub mod private_postgres;
pub mod queue;

pub mod service;

pub mod http;
pub mod worker;

pub mod cli;
