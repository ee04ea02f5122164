//! The host names that the service accepts, and the web pages that may use it.
//!
//! Without API keys, every client that reaches the service may do everything, and a browser on this host reaches it on behalf
//! of every web page. Two checks keep such pages out. *DNS rebinding*: a page makes its own name point at this host; its
//! requests then have that name as `Host`, which is not accepted (421). *Cross-site requests*: a page sends requests to our
//! name; they have the page's origin in `Origin`, which is not accepted either (403). `X-Forwarded-Host` is ignored, because
//! any client can set it.
//!
//! If every request needs a key, neither is checked: a page has no key, and a browser does not add one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderName, Method, Version};
use axum::middleware::Next;
use axum::response::Response;

use super::auth::Access;
use super::{App, HttpError};
use crate::problem::{Code, Problem};

/// Header in which a browser says whether the requesting page is of the same site.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Maximum number of characters of a wrong name that a response repeats.
const SHOWN: usize = 100;

/// The name of a host: an address, or a DNS name in lower case without its last dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Dns(String),
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // IPv6 addresses without brackets are accepted too, because operators write them.
        let bare = text.parse().ok().map(Self::Ip);
        let bracketed = || Place::parse(text).filter(|place| place.port.is_none()).map(|place| place.name);
        bare.or_else(bracketed).ok_or_else(|| "write a host name or an address, without scheme, port or `*`".to_owned())
    }
}

/// A name with the port, if one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: Name,
    port: Option<u16>,
}

impl Place {
    /// `name`, `name:port`, `192.0.2.7:port` or `[2001:db8::7]:port`, and nothing else that a URL could contain.
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = if let Some(inner) = text.strip_prefix('[') {
            let (address, rest) = inner.split_once(']')?;
            (Name::Ip(IpAddr::V6(address.parse().ok()?)), rest)
        } else {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return None;
            }
            (name.parse::<Ipv4Addr>().map_or(Name::Dns(name), |address| Name::Ip(address.into())), rest)
        };
        let port = match rest {
            "" | ":" => None,
            port => Some(port.strip_prefix(':').filter(|port| !port.starts_with('+'))?.parse().ok()?),
        };
        Some(Self { name, port })
    }
}

/// The names that the service accepts if requests need no key.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// The loopback names, which are always accepted.
    usual: Arc<[Name]>,
    /// Names that the operator trusts (`--allow-host`), and the address in `--listen`.
    allowed: Arc<[Name]>,
}

impl Hosts {
    /// The loopback names, the listen address, and the operator's additional names.
    pub fn new(listen: IpAddr, allowed: &[Name]) -> Self {
        let localhost = Name::Dns("localhost".to_owned());
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), listen];
        let usual = addresses.map(Name::Ip).into_iter().chain([localhost]);
        Self { usual: usual.collect(), allowed: allowed.into() }
    }

    /// Accepts a request if its host is one of them, and if no other site's page sent it.
    fn admit(&self, request: &Request, places: &[Place]) -> Result<(), HttpError> {
        if let Some(other) =
            places.iter().find(|place| !self.usual.contains(&place.name) && !self.allowed.contains(&place.name))
        {
            return Err(self.misdirected(&other.name));
        }
        // The last one is decisive: that of the request's target, if it has one.
        let Some(place) = places.last() else {
            return Err(Problem::new(Code::BadRequest, "the request names no host; send a Host header").into());
        };
        let origins = request.headers().get_all(ORIGIN);
        for origin in &origins {
            if !origin.to_str().is_ok_and(|origin| self.is_ours(origin, place)) {
                let shown = shown(&String::from_utf8_lossy(origin.as_bytes()));
                return Err(foreign(&format!("the request comes from a page of {shown:?} (header Origin)")));
            }
        }
        let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        for site in request.headers().get_all(SEC_FETCH_SITE) {
            let known = match site.as_bytes() {
                b"same-origin" | b"none" => true,
                // Another port of the same host: then `Origin` was accepted already.
                b"same-site" => origins.iter().next().is_some(),
                _ => false,
            };
            if !looks && !known {
                return Err(foreign("the request comes from a page of another site (header Sec-Fetch-Site)"));
            }
        }
        Ok(())
    }

    /// True if a page of this origin is accepted: it has the host and port of its request, or a host that the operator trusts.
    fn is_ours(&self, origin: &str, place: &Place) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let usual_port = match scheme {
            "http" => 80,
            // A proxy in front of the service can terminate TLS.
            "https" => 443,
            _ => return false,
        };
        let Some(page) = Place::parse(authority) else { return false };
        let same_port = page.port.unwrap_or(usual_port) == place.port.unwrap_or(usual_port);
        (page.name == place.name && same_port) || self.allowed.contains(&page.name)
    }

    fn misdirected(&self, name: &Name) -> HttpError {
        let name = match name {
            Name::Ip(IpAddr::V6(address)) => format!("[{address}]"),
            Name::Ip(address) => address.to_string(),
            Name::Dns(name) => shown(name),
        };
        let detail = format!(
            "this service needs no API key, so it accepts only localhost, 127.0.0.1, [::1] and the names it was started with, \
             not {name:?}; use http://localhost, or start the service with `--allow-host {name}` or --require-keys"
        );
        Problem::new(Code::HostNotAllowed, detail).into()
    }
}

fn foreign(reason: &str) -> HttpError {
    let detail = format!(
        "{reason}; this service needs no API key, so pages of other sites may not use it. Start the service with `--allow-host \
         NAME` if you trust the page's host, or with --require-keys"
    );
    Problem::new(Code::OriginNotAllowed, detail).into()
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// The layer in front of all routes.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Result<Response, HttpError> {
    let places = places(&request)?;
    if app.access == Access::Open {
        app.hosts.admit(&request, &places)?;
    }
    refuse_text(&request)?;
    Ok(next.run(request).await)
}

/// The hosts of the request, in its header and in its target (RFC 9112, 3.2).
fn places(request: &Request) -> Result<Vec<Place>, HttpError> {
    let bad = |detail: &str| HttpError::from(Problem::new(Code::BadRequest, detail));
    let mut headers = request.headers().get_all(HOST).iter();
    let (header, further) = (headers.next(), headers.next());
    if further.is_some() {
        return Err(bad("the request has several Host headers; send one"));
    }
    if header.is_none() && request.version() >= Version::HTTP_11 {
        return Err(bad("the request has no Host header, which HTTP/1.1 requires"));
    }
    // An empty name is valid, but matches no accepted name.
    let header = header.filter(|header| !header.is_empty()).map(|header| header.to_str().unwrap_or_default());
    let target = request.uri().authority().map(Authority::as_str);
    let places = header.into_iter().chain(target).map(Place::parse);
    places
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| bad("the host that the request names is not a name or an address with a port"))
}

/// No endpoint takes plain text, one of the few types that a web page may send to another site without a preflight. (The others
/// are allowed: `curl --data-binary` declares a form.)
fn refuse_text(request: &Request) -> Result<(), HttpError> {
    let is_text = |value: &str| value.split(';').next().unwrap_or(value).trim().eq_ignore_ascii_case("text/plain");
    let mut types = request.headers().get_all(CONTENT_TYPE).iter();
    if types.any(|value| value.to_str().is_ok_and(is_text)) {
        let detail =
            "the content type is text/plain; send JSON as application/json, and files as application/octet-stream";
        return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<(String, Option<u16>)> {
        let Place { name, port } = Place::parse(text)?;
        let name = match name {
            Name::Ip(address) => address.to_string(),
            Name::Dns(name) => format!("dns {name}"),
        };
        Some((name, port))
    }

    #[test]
    fn hosts_are_read_strictly() {
        let named = |name: &str, port| Some((name.to_owned(), port));
        assert_eq!(place("LocalHost.:8080"), named("dns localhost", Some(8080)));
        assert_eq!(place("127.0.0.1"), named("127.0.0.1", None));
        assert_eq!(place("127.0.0.1:"), named("127.0.0.1", None));
        assert_eq!(place("[0:0::1]:9"), named("::1", Some(9)));
        assert_eq!(place("127.1:80"), named("dns 127.1", Some(80)), "no address in its usual form");
        for wrong in [
            "",
            ".",
            "a b",
            "a@b",
            "localhost:8080@evil",
            "a,b",
            "a:b",
            "a:70000",
            "a:+80",
            "a:80:80",
            "[::1",
            "[::1]x",
        ] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
        for wrong in ["::1", "[::1%25lo]", "[127.0.0.1]", "a/b", "http://a", "%6cocalhost", "*"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_that_is_allowed_has_no_port() {
        assert_eq!("Box.Example.".parse(), Ok(Name::Dns("box.example".to_owned())));
        assert_eq!("2001:db8::7".parse(), "[2001:db8::7]".parse::<Name>());
        for wrong in ["box:8080", "http://box", "*", "*.example", "", "[::1]:80"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_ours_if_it_is_of_the_same_host_and_port_or_of_an_allowed_name() {
        let hosts = Hosts::new(Ipv4Addr::UNSPECIFIED.into(), &["box.example".parse().expect("a name")]);
        let ours = |origin: &str, host: &str| hosts.is_ours(origin, &Place::parse(host).expect("a host"));
        assert!(ours("http://localhost:8080", "localhost:8080"));
        assert!(ours("http://LOCALHOST", "localhost:80"));
        assert!(ours("https://localhost", "localhost"), "behind TLS");
        assert!(ours("https://box.example", "127.0.0.1:8080"), "behind a proxy that names us itself");
        for foreign in
            ["http://localhost:3000", "http://127.0.0.1:8080", "https://localhost", "null", "", "http://evil.example"]
        {
            assert!(!ours(foreign, "localhost:8080"), "{foreign}");
        }
        for odd in ["localhost:8080", "file://localhost:8080", "http://localhost:8080/", "http://a@localhost:8080"] {
            assert!(!ours(odd, "localhost:8080"), "{odd}");
        }
    }
}
