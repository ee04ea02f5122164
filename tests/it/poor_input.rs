//! Images and networks that say little or nothing: each gets an answer with its warning, or a refusal, and never a figure that
//! only looks like one.

use std::sync::Arc;

use practised::graph::{Graph, TensorData};
use practised::onnx;
use serde_json::{Value, json};

use crate::support::desk::{COMPRESS, Desk};
use crate::support::networks::TinyResNet;
use crate::support::uploads::{grey_image_zip, image_zip, png, zip};

/// A desk with a job of few steps that drops one block.
fn desk() -> Desk {
    let desk = Desk::new(&TinyResNet::default());
    desk.put("job.json", job(json!({})).to_string().as_bytes());
    desk
}

fn job(more: Value) -> Value {
    // Few to choose between: measuring and scoring each is what takes the time.
    let others = &TinyResNet::default().droppable()[3..];
    let mut job = json!({"target": {"blocks": 1}, "exclude_blocks": others, "finetune": {"steps": 10}, "seed": 3,
        "latency": {"rounds": 4}});
    job.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    job
}

/// The same image over and over.
fn alike(count: usize, image: &[u8]) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|index| format!("{index:03}.png")).collect();
    zip(&names.iter().map(|name| (name.as_str(), image.to_vec())).collect::<Vec<_>>())
}

fn black(side: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(side, side).write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

fn warnings(report: &Value) -> Vec<&str> {
    report["warnings"].as_array().expect("a list").iter().filter_map(|warning| warning["code"].as_str()).collect()
}

fn counts(report: &Value) -> (u64, u64) {
    let count = |which: &str| report["quality"]["images"][which].as_u64().expect("a count");
    (count("fit"), count("held_out"))
}

/// The default network with these weights changed.
fn network(change: impl Fn(&str, &mut [f32])) -> Vec<u8> {
    let mut graph: Graph = onnx::decode(&TinyResNet::default().bytes()).expect("decodes").graph;
    for (name, tensor) in &mut graph.initializers {
        if let Some(mut values) = tensor.to_f32() {
            change(name, &mut values);
            *tensor = Arc::new(TensorData::from_f32(&tensor.dims.clone(), &values));
        }
    }
    onnx::encode_graph(&graph, 8).expect("encodes")
}

#[test]
fn images_all_alike_count_as_one_and_drawn_pictures_help_out() {
    let desk = desk();
    for image in [black(8), png(8, 1)] {
        desk.put("images.zip", &alike(40, &image));
        let report = desk.json(&COMPRESS);
        assert_eq!(counts(&report), (1, 0), "{report}");
        let codes = warnings(&report);
        assert!(codes.contains(&"repeated_images") && codes.contains(&"no_held_out_images"), "{codes:?}");
        assert_eq!(report["quality"]["images_from"], "given_and_procedural");
    }
}

#[test]
fn one_image_is_enough_for_an_answer_with_a_warning() {
    let desk = desk();
    desk.put("images.zip", &image_zip(1, 8));
    let report = desk.json(&COMPRESS);
    assert_eq!((counts(&report), report["quality"]["images"]["synthetic"].as_u64()), ((1, 0), Some(0)));
    assert!(warnings(&report).contains(&"no_held_out_images"), "{report}");
    let agreement = &report["quality"]["agreement"];
    let width = agreement["high"].as_f64().expect("high") - agreement["low"].as_f64().expect("low");
    assert!(width > 0.7, "one image is next to no evidence: {agreement}");
}

#[test]
fn images_without_colour_get_pictures_with_colour_beside_them() {
    let desk = desk();
    desk.put("images.zip", &grey_image_zip(40, 8));
    let report = desk.json(&COMPRESS);
    assert_eq!(counts(&report), (32, 8), "figures are of the given images");
    assert!(warnings(&report).contains(&"colourless_images"), "{report}");
    assert_eq!(report["quality"]["images_from"], "given_and_procedural");
    desk.put("images.zip", &image_zip(40, 8));
    let report = desk.json(&COMPRESS);
    assert!(!warnings(&report).contains(&"colourless_images"), "{report}");
    assert_eq!(report["quality"]["images_from"], "given");
}

/// Every fifth image of the example, as it is and as a negative: what comes of a preprocessing that is the wrong way round.
fn clothes_and_negatives() -> [Vec<u8>; 2] {
    let archive = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-mnist/tiny-200.zip"));
    let mut archive = ::zip::ZipArchive::new(archive.expect("the example")).expect("a zip");
    let mut sets = [Vec::new(), Vec::new()];
    for index in (0..archive.len()).step_by(5) {
        let mut file = archive.by_index(index).expect("a file");
        let (name, mut bytes) = (file.name().expect("a name").into_owned(), Vec::new());
        std::io::copy(&mut file, &mut bytes).expect("reads");
        let mut negative = image::load_from_memory(&bytes).expect("an image");
        negative.invert();
        let mut inverted = std::io::Cursor::new(Vec::new());
        negative.write_to(&mut inverted, image::ImageFormat::Png).expect("a PNG");
        sets[0].push((name.clone(), bytes));
        sets[1].push((name, inverted.into_inner()));
    }
    sets.map(|files| zip(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>()))
}

#[test]
fn images_that_the_network_does_not_know_are_said_to_be_foreign() {
    let desk = desk();
    let model = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fashion-mnist/model.onnx"));
    desk.put("model.onnx", &model.expect("the example"));
    let others = ["1.0", "1.2", "1.3", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3"].map(|block| format!("layer{block}"));
    let preprocess = json!({"divide_by": 255, "mean": [0.286], "std": [0.353]});
    let wishes = json!({"preprocess": preprocess, "exclude_blocks": others, "finetune": null});
    desk.put("job.json", job(wishes).to_string().as_bytes());
    let [own, negatives] = clothes_and_negatives();
    desk.put("images.zip", &own);
    assert!(!warnings(&desk.json(&COMPRESS)).contains(&"foreign_images"));
    desk.put("images.zip", &negatives);
    let report = desk.json(&COMPRESS);
    assert!(warnings(&report).contains(&"foreign_images"), "{report}");
    assert_eq!((report["quality"]["images_from"].as_str(), counts(&report)), (Some("given_and_procedural"), (32, 8)));
}

#[test]
fn five_thousand_images_are_no_trouble() {
    let desk = desk();
    desk.put("images.zip", &image_zip(5000, 8));
    let report = desk.json(&COMPRESS);
    assert_eq!(counts(&report), (4000, 1000));
}

#[test]
fn a_network_that_answers_with_no_numbers_is_refused() {
    let desk = desk();
    let broken = network(|name, values| {
        if name.starts_with("stem") {
            values.fill(f32::NAN);
        }
    });
    desk.put("model.onnx", &broken);
    let (code, said) = desk.refused(&COMPRESS);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("network's outputs for these images") && said.contains("preprocessed"), "{said}");
    assert!(!desk.path().join("out").exists(), "nothing half-written stays");
}

#[test]
fn features_that_do_not_depend_on_the_image_are_said_to() {
    let desk = desk();
    desk.put(
        "model.onnx",
        &network(|name, values| {
            if name.starts_with("stem") {
                values.fill(0.0)
            }
        }),
    );
    let report = desk.json(&COMPRESS);
    assert!(warnings(&report).contains(&"constant_features"), "{report}");
}

#[test]
fn images_of_one_class_only_are_said_to() {
    let desk = desk();
    desk.put(
        "model.onnx",
        &network(|name, values| {
            if name == "fc.bias" {
                values[1] += 1e3
            }
        }),
    );
    let report = desk.json(&COMPRESS);
    assert!(warnings(&report).contains(&"one_class"), "{report}");
}

/// 12 bits in 16-bit PNGs, as scanners and microscopes write them.
fn twelve_bit_images(count: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let files = (0..count).map(|index| {
        let image =
            image::ImageBuffer::from_fn(8, 8, |_, _| image::Rgb([0; 3].map(|_: u16| random.random_range(0..4096u16))));
        let mut png = std::io::Cursor::new(Vec::new());
        image.write_to(&mut png, image::ImageFormat::Png).expect("a PNG");
        (format!("{index:03}.png"), png.into_inner())
    });
    let files: Vec<_> = files.collect();
    zip(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
}

#[test]
fn inputs_of_next_to_nothing_are_said_and_sixteen_bits_mend_it() {
    let desk = desk();
    desk.put("images.zip", &twelve_bit_images(40));
    let with = |preprocess: Value| {
        desk.put("job.json", job(json!({"finetune": null, "preprocess": preprocess})).to_string().as_bytes());
        desk.json(&COMPRESS)
    };
    let report = with(json!({}));
    assert!(warnings(&report).contains(&"nearly_constant_input"), "{report}");
    let report = with(json!({"divide_by": 4095}));
    assert!(!warnings(&report).contains(&"nearly_constant_input"), "{report}");
    desk.put("images.zip", &image_zip(40, 8));
    let report = with(json!({"divide_by": 65535}));
    assert!(warnings(&report).contains(&"nearly_constant_input"), "8 bits have no such values: {report}");
}

#[test]
fn a_budget_of_a_second_ends_with_the_best_there_is_by_then() {
    let desk = desk();
    let wish = job(json!({"finetune": {"steps": 1_000_000, "budget_seconds": 1}}));
    desk.put("job.json", wish.to_string().as_bytes());
    let report = desk.json(&COMPRESS);
    assert!(report["finetune"]["steps_run"].as_u64().expect("steps") < 1_000_000, "{report}");
    let loss = |quality: &Value| quality["feature_loss"].as_f64().expect("a loss");
    assert!(loss(&report["quality"]) <= loss(&report["quality"]["before_finetune"]), "{report}");
}

#[test]
fn a_target_that_no_set_reaches_ends_with_the_fastest_student() {
    let desk = desk();
    let wish = job(json!({"target": {"latency_reduction": 0.99}, "finetune": null}));
    desk.put("job.json", wish.to_string().as_bytes());
    let report = desk.json(&COMPRESS);
    assert_eq!(report["outcome"], "target_unreachable");
    let curve = report["curve"].as_array().expect("a curve");
    let most = curve.last().map_or(&json!([]), |point| &point["dropped"]).clone();
    assert_eq!(report["dropped_blocks"], most, "all that brings a gain went");
}
