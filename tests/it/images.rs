//! An image set's way from the upload to the tensor, through the public door.

use std::io::Cursor;
use std::path::PathBuf;

use image::{ImageFormat, Rgb, RgbImage};
use practised::images::{Chw, ImageSet, Limits, ModelInput, Preprocess};

use crate::support::uploads::zip;

fn jpeg(width: u32, height: u32, level: u8) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    RgbImage::from_pixel(width, height, Rgb([level; 3])).write_to(&mut out, ImageFormat::Jpeg).expect("encodes");
    out.into_inner()
}

#[test]
fn photographs_of_all_sizes_become_one_tensor_and_keep_their_labels() {
    let archive = zip(&[
        ("cats/wide.jpg", jpeg(64, 40, 200)),
        ("cats/tall.jpg", jpeg(30, 50, 100)),
        ("readme.md", b"my photographs".to_vec()),
        ("labels.csv", b"file,label\nwide.jpg,3\ntall.jpg,5\n".to_vec()),
    ]);
    let set = ImageSet::from_zip_bytes(&archive, &Limits::default()).expect("two photographs are good");
    assert_eq!(set.refused().len(), 1, "the readme is listed: {:?}", set.refused());
    let labels: Vec<_> = set.images().iter().map(|image| (image.name.as_str(), image.label)).collect();
    assert_eq!(labels, [("cats/tall.jpg", Some(5)), ("cats/wide.jpg", Some(3))]);

    let model = ModelInput { channels: Some(3), height: Some(24), width: Some(24) };
    let preprocess: Preprocess =
        serde_json::from_str(r#"{"resize": 28, "crop": 24, "divide_by": 1, "mean": [100], "std": [50]}"#)
            .expect("valid");
    let size = preprocess.check(model, set.images()).expect("fits");
    assert_eq!(size, Chw { channels: 3, height: 24, width: 24 });
    let batch = set.tensor_data(&preprocess, size).expect("fits");
    assert_eq!(batch.dims(), [2, 3, 24, 24]);
    // JPEG may move a flat colour by a level, which is 0.02 here.
    assert!(batch.image(0).iter().all(|v| v.abs() <= 0.021), "100 is the mean");
    assert!(batch.image(1).iter().all(|v| (v - 2.0).abs() <= 0.021), "200 is two deviations above");
}

#[test]
fn the_shared_image_sets_open_completely() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !data.is_dir() {
        println!("skipped: no ../shared");
        return;
    }
    for (name, count) in [("cifar10-test-2000", 2000), ("imagenet-test-300", 300)] {
        let set = ImageSet::open(&data.join(format!("{name}.zip")), &Limits::default()).expect("opens");
        let csv = std::fs::read(data.join(format!("{name}.labels.csv"))).expect("labels are there");
        let set = set.with_labels(&csv).expect("labels fit");
        assert_eq!((set.len(), set.labelled(), set.refused().len()), (count, count, 0), "{name}");
    }
}

/// A folder of small inputs that others have reported; `None` where there is none.
fn shared_case(name: &str) -> Option<ImageSet> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/cases").join(name);
    if !path.is_file() {
        println!("skipped: no {}", path.display());
        return None;
    }
    Some(ImageSet::open(&path, &Limits::default()).expect("opens"))
}

#[test]
fn archives_of_every_method_and_dark_images_open_completely() {
    for (name, count) in [("img_bzip2", 24), ("img_deflate64", 12), ("img_black_bmps", 6), ("img_plain", 24)] {
        let Some(set) = shared_case(&format!("{name}.zip")) else { return };
        assert_eq!((set.len(), set.refused()), (count, &[][..]), "{name}");
    }
}

#[test]
fn cut_off_photographs_are_left_out_by_name() {
    let Some(set) = shared_case("probe_truncated.zip") else { return };
    assert_eq!((set.len(), set.labelled(), set.images()[0].name.as_str()), (1, 1, "whole.jpg"));
    for (refused, name) in set.refused().iter().zip(["cut.jpg", "cut10.jpg"]) {
        assert!(refused.name == name && refused.reason.contains("incomplete"), "{refused:?}");
    }
}

#[test]
fn twelve_bits_in_sixteen_come_out_from_black_to_white() {
    let Some(set) = shared_case("probe_gray12in16.zip") else { return };
    let preprocess: Preprocess = serde_json::from_str(r#"{"divide_by": 4095}"#).expect("valid");
    let model = ModelInput { channels: Some(1), ..ModelInput::default() };
    let size = preprocess.check(model, set.images()).expect("one size");
    let data = set.tensor_data(&preprocess, size).expect("fits").data;
    let most = data.iter().copied().fold(0.0, f32::max);
    assert!((0.5..=1.0).contains(&most), "the brightest is {most}");
}
