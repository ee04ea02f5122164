//! `practised`: drops whole residual blocks of a trained CNN until a latency target is met, and recovers on a tiny set
//! of unlabelled images (PRACTISE, CVPR 2023), as an HTTP service and as a command line.

pub mod children;
pub mod hash;
pub mod ids;
pub mod json;
pub mod nearest;
pub mod problem;
pub mod shutdown;
pub mod statistics;
pub mod telemetry;

pub mod images;

pub mod graph;
pub mod spec;

pub mod exec;
pub mod onnx;
pub mod onnxruntime;

pub mod conformance;
pub mod latency;

pub mod network;

pub mod compress;

pub mod db;

pub mod jobs;

pub mod service;

pub mod http;
pub mod worker;

pub mod cli;
