//! Web pages that try to use a service which asks for no key: under a name of their own, or from another site.

use crate::support::raw::{Raw, Response};
use crate::support::service::TestApp;

/// Sends a request with these header lines (separated by `|`) and an empty JSON object.
async fn ask(app: &TestApp, request: &str, headers: &str) -> Response {
    let mut connection = Raw::connect(app).await;
    let headers: String =
        headers.split('|').filter(|line| !line.is_empty()).map(|line| format!("{}\r\n", line.trim())).collect();
    connection.send(format!("{request}\r\n{headers}content-length: 2\r\n\r\n{{}}")).await;
    connection.response().await
}

/// Asserts what each of these is answered with: status, and code if it is refused for what it names.
async fn check(app: &TestApp, request: &str, cases: &[(&str, u16, &str)]) {
    for (headers, status, code) in cases {
        let response = ask(app, request, headers).await;
        assert_eq!(response.status, *status, "{request}, {headers}: {response:?}");
        if !code.is_empty() {
            assert_eq!(response.code(), *code, "{request}, {headers}");
        }
    }
}

const OTHER: &str = "host_not_allowed";

#[tokio::test]
async fn without_keys_only_names_of_this_host_are_answered() {
    let app = TestApp::start(&["--workers", "0", "--allow-host", "Box.Example", "--allow-host", "192.0.2.7"]).await;
    let cases = [
        ("host: localhost", 200, ""),
        ("host: localhost:8080", 200, ""),
        ("host: LocalHost.:1", 200, ""),
        ("host: 127.0.0.1", 200, ""),
        ("host: [::1]:8080", 200, ""),
        ("host: [0:0:0:0:0:0:0:1]", 200, ""),
        ("host: box.example:443", 200, ""),
        ("host: BOX.example.", 200, ""),
        ("host: 192.0.2.7:80", 200, ""),
        ("host: evil.example", 421, OTHER),
        ("host: evil.example.:8080", 421, OTHER),
        ("host: localhost.evil.example", 421, OTHER),
        ("host: 127.0.0.1.evil.example", 421, OTHER),
        ("host: sub.box.example", 421, OTHER),
        ("host: notlocalhost", 421, OTHER),
        ("host: 127.0.0.2", 421, OTHER),
        ("host: 0.0.0.0", 421, OTHER),
        ("host: [::ffff:127.0.0.1]", 421, OTHER),
        ("host: 2130706433", 421, OTHER),
        ("host: evil.example|x-forwarded-host: localhost", 421, OTHER),
        ("host: evil.example|forwarded: host=localhost", 421, OTHER),
        ("host: localhost|x-forwarded-host: evil.example", 200, ""),
        ("", 400, "bad_request"),
        ("host:", 400, "bad_request"),
        ("host: localhost|host: localhost", 400, "bad_request"),
        ("host: localhost|host: evil.example", 400, "bad_request"),
        ("host: evil.example|host: localhost", 400, "bad_request"),
        ("host: localhost, evil.example", 400, "bad_request"),
        ("host: localhost@evil.example", 400, "bad_request"),
        ("host: localhost:port", 400, "bad_request"),
        ("host: http://localhost", 400, "bad_request"),
    ];
    check(&app, "GET /v1/models HTTP/1.1", &cases).await;
    check(&app, "GET /healthz HTTP/1.1", &[("host: evil.example", 421, OTHER)]).await;
    check(&app, "GET /nothing HTTP/1.1", &[("host: evil.example", 421, OTHER)]).await;
    check(&app, "GET /v1/models HTTP/1.0", &[("", 400, "bad_request"), ("host: localhost", 200, "")]).await;
    // The target's host counts before the header's; neither may be another's.
    let absolute = "GET http://evil.example/v1/models HTTP/1.1";
    check(&app, absolute, &[("host: localhost", 421, OTHER), ("host: evil.example", 421, OTHER)]).await;
    let absolute = "GET http://localhost:8080/v1/models HTTP/1.1";
    check(&app, absolute, &[("host: localhost", 200, ""), ("host: evil.example", 421, OTHER)]).await;

    let refused = ask(&app, "POST /v1/api-keys HTTP/1.1", "host: evil.example|content-type: application/json").await;
    let detail = String::from_utf8(refused.body).expect("text");
    assert_eq!(refused.status, 421);
    assert!(detail.contains("--allow-host evil.example") && detail.contains("--require-keys"), "{detail}");
    assert_eq!(app.get("/v1/api-keys").await.json()["data"].as_array().map(Vec::len), Some(0), "no key was made");
}

#[tokio::test]
async fn without_keys_pages_of_other_sites_are_refused() {
    let app = TestApp::start(&["--workers", "0", "--allow-host", "box.example"]).await;
    let foreign = "origin_not_allowed";
    let reads = [
        ("origin: http://localhost:8080", 200, ""),
        ("origin: https://box.example", 200, ""),
        ("origin: http://localhost", 403, foreign),
        ("origin: http://localhost:3000", 403, foreign),
        ("origin: http://127.0.0.1:8080", 403, foreign),
        ("origin: https://localhost:8443", 403, foreign),
        ("origin: http://evil.example", 403, foreign),
        ("origin: http://localhost.evil.example:8080", 403, foreign),
        ("origin: http://evil.example:8080", 403, foreign),
        ("origin: null", 403, foreign),
        ("origin:", 403, foreign),
        ("origin: file://", 403, foreign),
        ("origin: chrome-extension://localhost:8080", 403, foreign),
        ("origin: http://localhost:8080|origin: http://evil.example", 403, foreign),
        ("sec-fetch-site: cross-site", 200, ""),
    ];
    let with_host = |cases: &[(&str, u16, &'static str)]| -> Vec<(String, u16, &'static str)> {
        cases
            .iter()
            .map(|(headers, status, code)| (format!("host: localhost:8080|{headers}"), *status, *code))
            .collect()
    };
    let check_all = async |request: &str, cases: &[(&str, u16, &'static str)]| {
        let cases = with_host(cases);
        let cases: Vec<_> = cases.iter().map(|(headers, status, code)| (headers.as_str(), *status, *code)).collect();
        check(&app, request, &cases).await;
    };
    check_all("GET /v1/models HTTP/1.1", &reads).await;
    let changes = [
        ("content-type: application/json", 201, ""),
        ("content-type: application/json|origin: http://localhost:8080|sec-fetch-site: same-origin", 201, ""),
        ("content-type: application/json|sec-fetch-site: none", 201, ""),
        ("content-type: application/json|origin: http://evil.example", 403, foreign),
        ("content-type: application/json|origin: null", 403, foreign),
        ("content-type: application/json|sec-fetch-site: cross-site", 403, foreign),
        ("content-type: application/json|sec-fetch-site: Cross-Site", 403, foreign),
        ("content-type: application/json|sec-fetch-site: same-site", 403, foreign),
        ("content-type: application/json|origin: http://localhost:8080|sec-fetch-site: cross-site", 403, foreign),
        ("content-type: text/plain|origin: http://evil.example", 403, foreign),
        ("content-type: text/plain", 415, "unsupported_media_type"),
        ("content-type: application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        ("content-type: multipart/form-data; boundary=x", 415, "unsupported_media_type"),
        ("", 415, "unsupported_media_type"),
    ];
    check_all("POST /v1/api-keys HTTP/1.1", &changes).await;
    let preflight = [("origin: http://evil.example|access-control-request-method: DELETE", 403, foreign)];
    check_all("OPTIONS /v1/models HTTP/1.1", &preflight).await;
}

#[tokio::test]
async fn uploads_and_cancels_of_other_sites_change_nothing() {
    let app = TestApp::without_workers().await;
    let job = app.submit(&app.quick_job().await).await;
    let host = app.url.strip_prefix("http://").expect("a host");
    let cancel = format!("POST /v1/jobs/{job}/cancel HTTP/1.1");
    for target in ["POST /v1/models HTTP/1.1", "POST /v1/image-sets HTTP/1.1", "POST /v1/jobs HTTP/1.1", &cancel] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            for site in ["origin: http://evil.example", "origin: null", "sec-fetch-site: cross-site"] {
                let refused = ask(&app, target, &format!("host: {host}|content-type: {kind}|{site}")).await;
                assert_eq!(refused.code(), "origin_not_allowed", "{target} {kind} {site}");
            }
        }
        for kind in ["text/plain", "TEXT/PLAIN; charset=utf-8"] {
            let refused = ask(&app, target, &format!("host: {host}|content-type: {kind}")).await;
            assert_eq!(refused.code(), "unsupported_media_type", "{target} {kind}");
        }
    }
    assert_eq!(app.job(&job).await["status"], "queued");
    // `curl --data-binary @model.onnx` says that it sends a form, and from no page.
    let curl = format!("host: {host}|content-type: application/x-www-form-urlencoded");
    assert_eq!(ask(&app, "POST /v1/models HTTP/1.1", &curl).await.code(), "not_onnx", "it was looked at");
}

#[tokio::test]
async fn with_keys_any_name_and_origin_will_do_but_a_request_names_one_host() {
    let (app, key) = TestApp::with_keys().await;
    let with_key = |headers: &str| format!("{headers}|authorization: Bearer {key}");
    let cases = [
        ("host: practised.example", 200, ""),
        ("host: practised.example|origin: https://tool.example", 200, ""),
        ("host: a|host: b", 400, "bad_request"),
        ("", 400, "bad_request"),
    ];
    for (headers, status, code) in cases {
        check(&app, "GET /v1/models HTTP/1.1", &[(&with_key(headers), status, code)]).await;
    }
    check(&app, "GET /v1/models HTTP/1.0", &[(&with_key(""), 200, "")]).await;
    check(&app, "GET /v1/models HTTP/1.1", &[("host: practised.example", 401, "key_missing")]).await;
}

#[tokio::test]
async fn the_address_that_is_listened_on_is_answered_and_what_is_no_name_is_refused_at_start() {
    let app = TestApp::start(&["--workers", "0", "--listen", "127.0.0.2:0"]).await;
    let cases = [("host: 127.0.0.2:80", 200, ""), ("host: localhost", 200, ""), ("host: 127.0.0.3", 421, OTHER)];
    check(&app, "GET /v1/models HTTP/1.1", &cases).await;
    for wrong in ["*", "http://box.example", "box.example:8080", ""] {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_practised"))
            .args(["serve", "--allow-host", wrong])
            .output()
            .expect("runs");
        assert_eq!(program.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&program.stderr).contains("host name or an address"), "{wrong:?}");
    }
}
