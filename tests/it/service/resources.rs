//! Models and image sets: in, listed, out again, gone.

use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::support::networks::{Shortcut, TinyResNet};
use crate::support::service::TestApp;
use crate::support::uploads;

#[tokio::test]
async fn a_model_goes_in_shows_its_blocks_and_comes_out_as_it_went() {
    let app = TestApp::without_workers().await;
    let net = TinyResNet::default();
    let bytes = net.bytes();

    let answer = app.post_bytes("/v1/models?name=tiny", "application/octet-stream", bytes.clone()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let model = answer.json();
    let id = answer.id();
    assert_eq!(answer.header("location"), format!("/v1/models/{id}"));
    assert_eq!(
        (&model["object"], &model["name"], &model["bytes"]),
        (&"model".into(), &"tiny".into(), &bytes.len().into())
    );
    assert_eq!(model["blocks"]["droppable"], net.droppable().len());

    let again = app.post_bytes("/v1/models", "application/octet-stream", bytes.clone()).await;
    assert_eq!((again.status, again.id()), (200, id.clone()), "the same bytes are the same model");

    let blocks = app.get(&format!("/v1/models/{id}/blocks")).await.json();
    let rows = blocks["data"].as_array().expect("a list");
    let droppable: Vec<&str> =
        rows.iter().filter(|row| row["droppable"] == true).filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(droppable, net.droppable());
    let fixed = rows.iter().find(|row| row["droppable"] == false).expect("a projection");
    assert!(fixed["reason"].as_str().is_some_and(|reason| reason.contains("projection")), "{fixed}");

    let content = app.get(&format!("/v1/models/{id}/content")).await;
    assert_eq!((content.status, &content.bytes), (200, &bytes));
    let etag = content.header("etag").to_owned();
    let conditional = app.http.get(app.path(&format!("/v1/models/{id}/content")));
    assert_eq!(app.send(conditional.try_clone().expect("no body").header("if-none-match", &etag)).await.status, 304);
    let part = app.send(conditional.try_clone().expect("no body").header("range", "bytes=10-19")).await;
    assert_eq!((part.status, part.bytes.as_slice()), (206, &bytes[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", bytes.len()));
    let beyond = app.send(conditional.header("range", "bytes=99999999-")).await;
    beyond.problem(416, "range_not_satisfiable");

    assert_eq!(app.get("/v1/models").await.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(app.delete(&format!("/v1/models/{id}")).await.status, 204);
    app.get(&format!("/v1/models/{id}")).await.problem(404, "model_not_found");
    app.delete(&format!("/v1/models/{id}")).await.problem(404, "model_not_found");
}

#[tokio::test]
async fn a_model_may_come_in_a_form() {
    let app = TestApp::without_workers().await;
    let file = Part::bytes(TinyResNet::default().bytes()).file_name("tiny.onnx");
    let answer = app.send(app.post("/v1/models").multipart(Form::new().part("file", file))).await;
    assert_eq!((answer.status, &answer.json()["name"]), (201, &"tiny.onnx".into()));
    let wrong = Form::new().part("model", Part::bytes(vec![1, 2, 3]));
    let refused = app.send(app.post("/v1/models").multipart(wrong)).await.problem(400, "invalid_multipart");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("\"file\"")), "{refused}");
}

#[tokio::test]
async fn lists_go_page_by_page() {
    let app = TestApp::without_workers().await;
    for seed in 0..3 {
        app.upload_model(&TinyResNet { seed, ..TinyResNet::default() }).await;
    }
    let first = app.get("/v1/models?limit=2&order=asc").await.json();
    assert_eq!((first["data"].as_array().map(Vec::len), &first["has_more"]), (Some(2), &true.into()));
    let next = first["next"].as_str().expect("a cursor");
    let second = app.get(&format!("/v1/models?limit=2&order=asc&after={next}")).await.json();
    assert_eq!(
        (second["data"].as_array().map(Vec::len), &second["has_more"], &second["next"]),
        (Some(1), &false.into(), &Value::Null)
    );
    app.get("/v1/models?limit=0").await.problem(400, "invalid_query");
    app.get("/v1/models?order=sideways").await.problem(400, "invalid_query");
    app.get("/v1/models?limt=3").await.problem(400, "invalid_query");
}

#[tokio::test]
async fn images_come_as_a_zip_with_labels_and_each_refused_file_says_why() {
    let app = TestApp::without_workers().await;
    let zip = uploads::zip(&[
        ("b.png", uploads::png(8, 1)),
        ("a.png", uploads::png(8, 2)),
        ("notes.txt", b"not an image".to_vec()),
        ("labels.csv", b"file,label\na.png,3\n".to_vec()),
    ]);
    let answer = app.post_bytes("/v1/image-sets", "application/zip", zip).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let set = answer.json();
    assert_eq!((&set["images"], &set["labelled"], &set["refused"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!((&set["image_list"][0]["name"], &set["image_list"][0]["label"]), (&"a.png".into(), &3.into()));
    assert_eq!(set["refused_list"][0]["name"], "notes.txt");
    assert!(set["refused_list"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{set}");
    let id = answer.id();
    assert_eq!(app.get(&format!("/v1/image-sets/{id}")).await.json(), set);
    assert_eq!(app.delete(&format!("/v1/image-sets/{id}")).await.status, 204);
    app.get(&format!("/v1/image-sets/{id}")).await.problem(404, "image_set_not_found");
}

#[tokio::test]
async fn images_come_in_a_form_one_by_one_or_as_an_archive() {
    let app = TestApp::without_workers().await;
    let image = |name: &str, seed| Part::bytes(uploads::png(8, seed)).file_name(name.to_owned());
    let labels = || Part::bytes(b"file,label\na.png,1\nb.png,2\n".to_vec()).file_name("labels.csv");
    let form = Form::new().part("image", image("a.png", 1)).part("image", image("b.png", 2)).part("labels", labels());
    let answer = app.send(app.post("/v1/image-sets").multipart(form)).await;
    assert_eq!((answer.status, &answer.json()["labelled"]), (201, &2.into()), "{answer:?}");

    let archive = Part::bytes(uploads::zip(&[("a.png", uploads::png(8, 1))])).file_name("images.zip");
    let form = Form::new().part("archive", archive).part("labels", labels());
    let answer = app.send(app.post("/v1/image-sets").multipart(form)).await;
    assert_eq!((answer.status, &answer.json()["images"]), (201, &1.into()), "{answer:?}");
    assert_eq!(app.get("/v1/image-sets").await.json()["data"].as_array().map(Vec::len), Some(2));

    let twins = Form::new().part("image", image("a.png", 1)).part("image", image("a.png", 2));
    app.send(app.post("/v1/image-sets").multipart(twins)).await.problem(422, "duplicate_image_name");
}

#[tokio::test]
async fn a_network_without_a_droppable_block_is_kept_and_says_why() {
    let app = TestApp::without_workers().await;
    let net = TinyResNet { blocks: 1, shortcut: Shortcut::Conv, ..TinyResNet::default() };
    let id = app.upload_model(&net).await;
    let droppable = app.get(&format!("/v1/models/{id}")).await.json()["blocks"]["droppable"].clone();
    assert_eq!(droppable, net.droppable().len());
}

#[tokio::test]
async fn health_readiness_and_the_pages_about_problems() {
    let app = TestApp::without_workers().await;
    assert_eq!(app.get("/healthz").await.json()["status"], "ok");
    assert_eq!(app.get("/readyz").await.json()["database"], "ok");
    let codes = app.get("/v1/errors").await.json();
    for page in codes["data"].as_array().expect("a list") {
        let code = page["code"].as_str().expect("a code");
        let page = app.get(&format!("/v1/errors/{code}")).await.json();
        assert!(page["way_out"].as_str().is_some_and(|way_out| way_out.len() > 10), "{page}");
    }
    let html = app.send(app.http.get(app.path("/v1/errors/not_onnx")).header("accept", "text/html")).await;
    assert!(html.header("content-type").starts_with("text/html"));
    app.get("/v1/errors/nonsense").await.problem(404, "error_page_not_found");
}
