//! What is changed about a valid request.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::request::{Body, Request};

impl Request {
    /// The same with one to four changes; one in ten as it is.
    pub fn changed(mut self, random: &mut ChaCha8Rng) -> Self {
        if random.random_ratio(1, 10) {
            return self;
        }
        for _ in 0..random.random_range(1..=4) {
            match random.random_range(0..10) {
                0 => self.method = (*pick(&METHODS, random)).to_owned(),
                1 => self.change_path(random),
                2 => self.change_query(random),
                3 => self.change_header(random),
                _ => self.change_body(random),
            }
        }
        self
    }

    fn change_path(&mut self, random: &mut ChaCha8Rng) {
        let mut segments: Vec<String> = self.path[1..].split('/').map(str::to_owned).collect();
        let at = random.random_range(0..segments.len());
        match random.random_range(0..4) {
            0 => segments[at] = odd_segment(random),
            1 => segments[at] += &odd_segment(random),
            2 => segments.push(odd_segment(random)),
            _ => drop(segments.remove(at)),
        }
        self.path = format!("/{}", segments.join("/"));
    }

    fn change_query(&mut self, random: &mut ChaCha8Rng) {
        let name = pick(&["name", "after", "limit", "order", "status", "model", "nothing", "%00", ""], random);
        self.query.push(format!("{name}={}", odd_segment(random)));
    }

    fn change_header(&mut self, random: &mut ChaCha8Rng) {
        let (name, values) = pick(HEADERS, random);
        let value = match random.random_range(0..4) {
            0 => pick(ODD_VALUES, random).to_vec(),
            _ => pick(values, random).as_bytes().to_vec(),
        };
        if random.random() {
            self.headers.retain(|(other, _)| other != name);
        }
        self.headers.push((name, value));
    }

    fn change_body(&mut self, random: &mut ChaCha8Rng) {
        if random.random_ratio(1, 5) {
            let mut bytes = self.bytes();
            spoil(&mut bytes, random);
            self.body = Body::Bytes(bytes);
            return;
        }
        match &mut self.body {
            Body::Json(value) => change_json(value, random),
            Body::Bytes(bytes) => spoil(bytes, random),
            Body::Form(parts) => change_form(parts, random),
            Body::None => self.body = Body::Json(odd(random)),
        }
    }
}

pub fn pick<'a, T>(from: &'a [T], random: &mut ChaCha8Rng) -> &'a T {
    from.choose(random).expect("not empty")
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"];

const HEADERS: &[(&str, &[&str])] = &[
    (
        "content-type",
        &[
            "application/json",
            "text/plain",
            "APPLICATION/JSON; charset=utf-16",
            "multipart/form-data",
            "application/zip",
            "a",
            "",
        ],
    ),
    (
        "accept",
        &["text/event-stream", "TEXT/EVENT-STREAM;q=0.5", "application/json;q=0.9, */*", "text/html", "nothing", ""],
    ),
    ("idempotency-key", &["one", "two", "three", "", "a b", "\"quoted\"", "{}"]),
    ("content-encoding", &["gzip", "identity", "br, gzip", "x", ""]),
    ("range", &["bytes=0-0", "bytes=-1", "bytes=5-2", "bytes=99999999999999999999-", "lines=1", "bytes=0-1,3-4"]),
    ("if-none-match", &["*", "\"x\"", "W/\"x\", \"y\"", ""]),
    ("last-event-id", &["0", "3", "-1", "9223372036854775807", "99999999999999999999", "x", ""]),
    ("authorization", &["Bearer practised_0", "Bearer ", "Basic eDp5", "Bearer", ""]),
    ("x-request-id", &["mine", "", "a\tb"]),
    ("accept-encoding", &["gzip", "identity;q=0", "*;q=0"]),
];

const ODD_VALUES: &[&[u8]] = &[b"\xff\xfe", b"\xc3\xa4", b"%00", b"'; drop table job; --", &[b'x'; 3000], b"\t"];

fn odd_segment(random: &mut ChaCha8Rng) -> String {
    let long = "x".repeat(3000);
    let segments = [
        "%00",
        "a%00b",
        "%FF",
        "%C3%28",
        "%2F",
        "%2e%2e",
        "%20",
        "%0A",
        "0",
        "-1",
        "1",
        "200",
        "201",
        "99999999999999999999",
        "0190aaaa-0000-7000-8000-000000000000",
        "asc",
        "queued",
        "succeeded",
        "%F0%9F%98%80",
        "%E2%80%AE",
        "local",
        "",
        "%25",
        "'",
        "student.onnx",
        "{}",
        long.as_str(),
    ];
    pick(&segments, random).to_string()
}

/// A value that does not belong.
fn odd(random: &mut ChaCha8Rng) -> Value {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(-0.0),
        json!(1e-320),
        json!(i32::MAX),
        json!(1_u64 << 31),
        json!(1_u64 << 32),
        json!((1_u64 << 53) + 1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\0"),
        json!("x\0y"),
        json!("\u{FFFF}\u{202E}"),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!([1]),
        json!({"": null}),
        json!({"\0": 1}),
        json!({"a": {"b\0": ["\0"]}}),
        json!(vec![0; 1000]),
        json!(vec!["start"; 300]),
        json!("cuda:0"),
        json!("NaN"),
        json!("0190aaaa-0000-7000-8000-000000000000"),
        deep,
    ];
    pick(&values, random).clone()
}

/// Changes a random place of a value.
fn change_json(value: &mut Value, random: &mut ChaCha8Rng) {
    let down = random.random_ratio(3, 4);
    match value {
        Value::Object(fields) if down && !fields.is_empty() => {
            let key = fields.keys().nth(random.random_range(0..fields.len())).cloned().expect("a key");
            match random.random_range(0..8) {
                0 => drop(fields.shift_remove(&key)),
                1 => drop(fields.insert(format!("{key}x"), odd(random))),
                2 => drop(fields.insert("\0".to_owned(), odd(random))),
                _ => change_json(&mut fields[&key], random),
            }
        }
        Value::Array(items) if down && !items.is_empty() => {
            let at = random.random_range(0..items.len());
            change_json(&mut items[at], random);
        }
        other if random.random_ratio(1, 6) => *other = json!([other.clone()]),
        other => *other = odd(random),
    }
}

/// Changes bytes: flips one, cuts the end, puts something in, repeats a part.
fn spoil(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..4) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes.truncate(at),
        2 => {
            let tokens: [&[u8]; 8] = [b"\0", b"\\u0000", b"\\ud800", b"1e999", b"\xff", b"}", b"[[[[", b"\"model\":1,"];
            bytes.splice(at..at, pick(&tokens, random).iter().copied());
        }
        _ => {
            let part = bytes[at..bytes.len().min(at + 50)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

fn change_form(parts: &mut Vec<(String, Option<String>, Vec<u8>)>, random: &mut ChaCha8Rng) {
    let names = ["", "a\0b", "../../x", "C:\\x.png", "x\u{FFFF}", "file", "labels", "image", "archive", "%00"];
    if parts.is_empty() {
        return parts.push((pick(&names, random).to_string(), None, Vec::new()));
    }
    let at = random.random_range(0..parts.len());
    match random.random_range(0..6) {
        0 => parts[at].0 = pick(&names, random).to_string(),
        1 => parts[at].1 = Some(pick(&names, random).to_string()),
        2 => parts[at].1 = None,
        3 => parts[at].2.clear(),
        4 => parts.push(parts[at].clone()),
        _ => spoil(&mut parts[at].2, random),
    }
}
