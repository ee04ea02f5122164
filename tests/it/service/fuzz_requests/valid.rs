//! Requests that the API takes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::changes::pick;
use super::request::Request;
use crate::support::uploads;

/// What valid requests name and send.
pub struct Ids {
    pub model: String,
    pub images: String,
    pub job: String,
    /// Body of a job on them.
    pub body: Value,
    /// A network's file.
    pub network: Vec<u8>,
}

/// One of the requests that the API takes.
pub fn valid(ids: &Ids, random: &mut ChaCha8Rng) -> Request {
    let Ids { model, images, job, body, network } = ids;
    let fetched = [
        "/v1/jobs".to_owned(),
        "/v1/models".to_owned(),
        "/v1/image-sets".to_owned(),
        "/v1/api-keys".to_owned(),
        "/v1/tenants".to_owned(),
        "/v1/tenants/local".to_owned(),
        "/v1/limits".to_owned(),
        "/v1/devices".to_owned(),
        "/metrics".to_owned(),
        "/readyz".to_owned(),
        "/healthz".to_owned(),
        "/v1/errors".to_owned(),
        "/v1/errors/internal".to_owned(),
        format!("/v1/models/{model}"),
        format!("/v1/models/{model}/content"),
        format!("/v1/models/{model}/blocks"),
        format!("/v1/image-sets/{images}"),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/events"),
        format!("/v1/jobs/{job}/blocks"),
        format!("/v1/jobs/{job}/report"),
        format!("/v1/jobs/{job}/artifacts"),
        format!("/v1/jobs/{job}/artifacts/student.onnx"),
    ];
    let png = uploads::png(8, random.random_range(0..20));
    let whole = json!({
        "preprocess": {"resize": 8, "crop": [8, 8], "divide_by": 255, "mean": [0.5], "std": [0.5, 0.5, 0.5]},
        "target": {"blocks": 1}, "inputs": {}, "recoverability": {"method": "closed_form", "iterations": 3}, "selection": "iterative",
        "quality_floor": {"agreement": 0.9}, "exclude_blocks": [], "finetune": {"recipe": "practised", "steps": 3, "leave_out": ["start"]},
        "latency": {"engine": "torch", "batch": 1, "threads": 1}, "seed": 7, "deadline_seconds": 100, "device": "cpu", "priority": "low",
        "metadata": {"order": ["42", {"deep": true}]}, "model": model, "images": images,
    });
    match random.random_range(0..14) {
        0..=3 => Request::new("GET", pick(&fetched, random).clone()),
        4..=5 => Request::new("POST", "/v1/jobs").json(body.clone()),
        6..=7 => Request::new("POST", "/v1/jobs").json(whole),
        8 => Request::new("POST", "/v1/models").bytes_of("application/octet-stream", network.clone()),
        9 => Request::new("POST", "/v1/models").form(vec![("file", Some("tiny.onnx"), network.clone())]),
        10 => Request::new("POST", "/v1/image-sets").bytes_of("application/zip", uploads::zip(&[("a.png", png)])),
        11 => {
            let labels = b"file,label\na.png,1\n".to_vec();
            Request::new("POST", "/v1/image-sets")
                .form(vec![("image", Some("a.png"), png), ("labels", Some("l.csv"), labels)])
        }
        12 => {
            let tenant = json!({ "max_running": 2, "max_queued": null });
            let key = json!({ "tenant": "acme", "scopes": ["read"] });
            match random.random_range(0..2) {
                0 => Request::new("PUT", "/v1/tenants/acme").json(tenant),
                _ => Request::new("POST", "/v1/api-keys").json(key),
            }
        }
        _ => {
            let gone = "0190aaaa-0000-7000-8000-000000000000";
            let changing = [
                ("POST", format!("/v1/jobs/{job}/cancel")),
                ("DELETE", format!("/v1/models/{model}")),
                ("DELETE", format!("/v1/image-sets/{images}")),
                ("DELETE", format!("/v1/api-keys/{gone}")),
            ];
            let (method, path) = pick(&changing, random);
            Request::new(method, path.clone())
        }
    }
}
