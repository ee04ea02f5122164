//! A request as it is sent.

use std::fmt;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

/// Method, path, query, headers and body.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    /// Percent-encoded.
    pub path: String,
    pub query: Vec<String>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Body,
}

#[derive(Clone)]
pub enum Body {
    None,
    Json(Value),
    Bytes(Vec<u8>),
    Form(Vec<(String, Option<String>, Vec<u8>)>),
}

const BOUNDARY: &str = "practised-fuzz";

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}?{}", self.method, self.path, self.query.join("&"))?;
        for (name, value) in &self.headers {
            write!(f, "\n{name}: {:?}", String::from_utf8_lossy(value))?;
        }
        let body = String::from_utf8_lossy(&self.bytes()).chars().take(3000).collect::<String>();
        write!(f, "\n\n{body:?}")
    }
}

impl Request {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), query: Vec::new(), headers: Vec::new(), body: Body::None }
    }

    pub fn json(self, body: Value) -> Self {
        let headers = vec![("content-type", b"application/json".to_vec())];
        Self { body: Body::Json(body), headers, ..self }
    }

    pub fn bytes_of(self, kind: &str, body: Vec<u8>) -> Self {
        Self { body: Body::Bytes(body), headers: vec![("content-type", kind.as_bytes().to_vec())], ..self }
    }

    pub fn form(self, parts: Vec<(&str, Option<&str>, Vec<u8>)>) -> Self {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let owned =
            |(name, file, bytes): (&str, Option<&str>, Vec<u8>)| (name.to_owned(), file.map(str::to_owned), bytes);
        let parts = parts.into_iter().map(owned).collect();
        Self { body: Body::Form(parts), headers: vec![("content-type", kind.into_bytes())], ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Json(value) => value.to_string().into_bytes(),
            Body::Bytes(bytes) => bytes.clone(),
            Body::Form(parts) => {
                let mut form = Vec::new();
                for (name, file, bytes) in parts {
                    let file = file.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
                    let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
                    form.extend_from_slice(head.as_bytes());
                    form.extend_from_slice(bytes);
                    form.extend_from_slice(b"\r\n");
                }
                form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
                form
            }
        }
    }

    pub fn built(self, http: &Client, url: &str) -> RequestBuilder {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query.join("&")) };
        let method = self.method.parse().expect("a method");
        let mut request = http.request(method, format!("{url}{}{query}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, reqwest::header::HeaderValue::from_bytes(value).expect("a header's value"));
        }
        match self.body {
            Body::None => request,
            _ => request.body(self.bytes()),
        }
    }
}
