//! Preprocessing against Pillow 12 and torchvision's rules.

use super::super::decode::{Rgb8, Rgb16};
use super::*;

/// 12×8, every channel another pattern; the same formula made the Pillow references below.
fn pattern() -> Rgb8 {
    let (width, height) = (12u32, 8u32);
    let pixels = (0..height).flat_map(|y| {
        (0..width).flat_map(move |x| {
            [(x * 37 + y * 11) % 256, (x * x * 5 + y * 29) % 256, (255 - x * 17 - y * 3) % 256].map(|v| v as u8)
        })
    });
    Rgb8 { width, height, pixels: pixels.collect() }
}

fn flat(width: u32, height: u32) -> Rgb8 {
    Rgb8 { width, height, pixels: vec![100; (width * height * 3) as usize] }
}

fn preprocess(json: &str) -> Preprocess {
    serde_json::from_str(json).expect("valid preprocess")
}

fn raw(extra: &str) -> Preprocess {
    preprocess(&format!(r#"{{"divide_by": 1{extra}}}"#))
}

/// (C,H,W) floats back to (H,W,C) levels.
fn levels(size: Chw, data: &[f32]) -> Vec<i32> {
    let plane = size.height * size.width;
    (0..plane).flat_map(|at| (0..3).map(move |c| c * plane + at)).map(|at| data[at].round() as i32).collect()
}

#[rustfmt::skip]
const PILLOW_6X4: [i32; 72] = [
    34, 26, 241, 101, 56, 211, 175, 126, 177, 121, 149, 143, 67, 125, 109, 133, 124, 78, 54, 78, 236, 121, 108, 206, 191,
    162, 172, 129, 112, 138, 87, 138, 104, 153, 124, 73, 76, 136, 230, 143, 166, 200, 189, 156, 166, 79, 106, 132, 109,
    124, 98, 175, 141, 67, 95, 187, 224, 162, 204, 194, 163, 118, 160, 72, 128, 126, 128, 122, 92, 194, 108, 61,
];

/// The first 18 pixels of the 21×14 enlargement.
#[rustfmt::skip]
const PILLOW_21X14: [i32; 54] = [
    0, 0, 255, 13, 2, 249, 34, 5, 239, 56, 13, 230, 77, 22, 220, 98, 36, 210, 119, 52, 200, 140, 73, 191, 161, 96, 181,
    182, 122, 171, 204, 153, 162, 206, 185, 152, 81, 222, 142, 11, 206, 132, 32, 103, 123, 53, 94, 113, 74, 143, 103, 96,
    197, 94,
];

#[test]
fn resizing_agrees_with_pillow_to_a_level() {
    for (side, reference) in [(4, &PILLOW_6X4[..]), (14, &PILLOW_21X14[..])] {
        let (size, data) = raw(&format!(r#", "resize": {side}"#)).apply(&pattern(), 3).expect("applies");
        assert_eq!((size.height, size.width), (side, side * 12 / 8));
        for (at, (ours, theirs)) in levels(size, &data).iter().zip(reference).enumerate() {
            assert!((ours - theirs).abs() <= 1, "value {at} at short side {side}: {ours}, Pillow has {theirs}");
        }
    }
}

/// The first 18 values of the 6×4 reduction by Pillow's other filters.
#[rustfmt::skip]
const PILLOW_FILTERS: [(&str, [i32; 18]); 5] = [
    ("bicubic", [26, 18, 244, 97, 47, 211, 185, 126, 177, 120, 157, 143, 54, 121, 108, 137, 123, 75]),
    ("nearest", [48, 34, 235, 122, 74, 201, 196, 154, 167, 14, 18, 133, 88, 178, 99, 162, 122, 65]),
    ("lanczos", [25, 17, 244, 92, 42, 211, 194, 130, 176, 119, 161, 143, 44, 117, 108, 143, 126, 75]),
    ("box", [25, 18, 246, 99, 48, 212, 173, 118, 178, 119, 164, 144, 65, 122, 110, 139, 120, 76]),
    ("area", [25, 18, 246, 99, 48, 212, 173, 118, 178, 119, 164, 144, 65, 122, 110, 139, 120, 76]),
];

#[test]
fn every_interpolation_agrees_with_pillow_to_a_level_at_both_depths() {
    let deep = Rgb16 { width: 12, height: 8, pixels: pattern().pixels.iter().map(|v| u16::from(*v) * 256).collect() };
    for (name, reference) in PILLOW_FILTERS {
        let resize = raw(&format!(r#", "resize": 4, "interpolation": "{name}""#));
        let (size, data) = resize.apply(&pattern(), 3).expect("applies");
        let (_, mut of_deep) = resize.apply(&deep, 3).expect("applies");
        of_deep.iter_mut().for_each(|value| *value /= 256.0);
        for (at, theirs) in reference.iter().enumerate() {
            for ours in [&data, &of_deep].map(|values| levels(size, values)[at]) {
                assert!((ours - theirs).abs() <= 1, "value {at} of {name}: {ours}, Pillow has {theirs}");
            }
        }
    }
    let error = serde_json::from_str::<Preprocess>(r#"{"interpolation": "cubic"}"#).expect_err("no such filter");
    assert!(error.to_string().contains("bicubic"), "{error}");
}

/// A picture of these greys in 16 bits, encoded.
fn deep(values: &[u16]) -> Image {
    let image = image::ImageBuffer::from_fn(values.len() as u32, 1, |x, _| image::Luma([values[x as usize]]));
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).expect("encodes");
    let set = crate::images::ImageSet::from_files(vec![("a.png".to_owned(), png.into_inner())], &Limits::default());
    set.expect("one image").images()[0].clone()
}

#[test]
fn sixteen_bits_are_read_where_they_are_asked_for() {
    let image = deep(&[0, 819, 4095]);
    let values =
        |json: &str, channels| preprocess(json).input(&image, &Limits::default(), channels).expect("applies").1;
    assert_eq!(values(r#"{"divide_by": 4095}"#, 1), [0.0, 0.2, 1.0], "12 bits in 16");
    assert_eq!(values(r#"{"divide_by": 1, "bits": 16}"#, 3), [0.0, 819.0, 4095.0].repeat(3));
    assert_eq!(values(r#"{"divide_by": 1}"#, 1), [0.0, 3.0, 16.0], "8 bits, rounded, unless asked");
    assert_eq!(values(r#"{"divide_by": 4095, "bits": 8}"#, 1)[2], 16.0 / 4095.0);
    let faults = preprocess(r#"{"bits": 12}"#).faults(1);
    assert_eq!((faults.len(), faults[0].field), (1, "bits"));
}

#[test]
fn a_drawn_picture_is_as_bright_as_an_image_whatever_the_bits() {
    for (json, white) in [
        ("{}", 1.0),
        (r#"{"divide_by": 1}"#, 255.0),
        (r#"{"divide_by": 4095}"#, 1.0),
        (r#"{"divide_by": 1, "bits": 16}"#, 65535.0),
    ] {
        let asked = preprocess(json);
        let image = Rgb8 { width: 1, height: 1, pixels: vec![255; 3] };
        let (_, data) = asked.drawn().apply(&image, 1).expect("applies");
        assert!((data[0] - white).abs() < 1e-3 * white, "{json}: {}", data[0]);
        assert!((asked.white() / asked.divide_by - white).abs() < 1e-3 * white, "{json}");
    }
}

#[test]
fn the_long_side_is_rounded_down_and_the_short_one_is_exact() {
    let resize = raw(r#", "resize": 256"#);
    assert_eq!(resize.output_size(500, 375), Ok((256, 341)));
    assert_eq!(resize.output_size(375, 500), Ok((341, 256)));
    assert_eq!(raw(r#", "resize": [10, 30]"#).output_size(500, 375), Ok((10, 30)));
}

#[test]
fn the_crop_is_the_centre_with_the_smaller_half_of_an_odd_margin_first() {
    // 12×8 → 7×5: margins 5 and 3, so 2 columns go on the left and 1 row at the top.
    let (size, data) = raw(r#", "crop": [5, 7]"#).apply(&pattern(), 3).expect("applies");
    assert_eq!((size.height, size.width), (5, 7));
    let expected = |x: u32, y: u32| ((x * 37 + y * 11) % 256) as f32;
    assert_eq!(data[0], expected(2, 1));
    assert_eq!(data[5 * 7 - 1], expected(8, 5));
}

#[test]
fn values_are_divided_then_normalised_channel_by_channel() {
    let network = preprocess(r#"{"divide_by": 255, "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 2.0]}"#);
    let (size, data) = network.apply(&flat(2, 1), 3).expect("applies");
    assert_eq!(size, Chw { channels: 3, height: 1, width: 2 });
    let v = 100.0 / 255.0;
    let expected = [(v - 0.5) / 0.5, (v - 0.5) / 0.5, (v - 0.25) / 0.25, (v - 0.25) / 0.25, v / 2.0, v / 2.0];
    for (ours, right) in data.iter().zip(expected) {
        assert!((ours - right).abs() < 1e-6, "{ours} is not {right}");
    }
}

#[test]
fn a_model_of_one_channel_gets_grey_as_pillow_makes_it() {
    let image = Rgb8 { width: 3, height: 1, pixels: vec![255, 0, 0, 0, 255, 0, 10, 20, 200] };
    let (_, data) = raw("").apply(&image, 1).expect("applies");
    assert_eq!(data, [76.0, 150.0, 38.0]);
}

#[test]
fn nothing_given_means_rgb_over_255() {
    let (_, data) = preprocess("{}").apply(&flat(1, 1), 3).expect("applies");
    assert_eq!(data, [100.0 / 255.0; 3]);
}

#[test]
fn an_unknown_field_or_a_wrong_type_is_named() {
    let error = |json| serde_json::from_str::<Preprocess>(json).expect_err(json).to_string();
    assert!(error(r#"{"resiz": 256}"#).contains("resiz"));
    assert!(error(r#"{"crop": "big"}"#).contains("a number of pixels or [height, width]"));
}

#[test]
fn fields_that_make_no_sense_are_all_listed_at_once() {
    let nonsense = preprocess(r#"{"resize": 0, "crop": 9000, "bits": 1, "divide_by": 0, "mean": [1, 2], "std": [0]}"#);
    let fields: Vec<_> = nonsense.faults(3).iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["resize", "crop", "divide_by", "bits", "mean", "std"]);
    assert_eq!(preprocess(r#"{"mean": [1, 2, 3], "std": [1, 2, 3]}"#).faults(1).len(), 2, "three numbers, one channel");
}

#[test]
fn a_preprocess_survives_json() {
    let network = preprocess(
        r#"{"resize": 256, "crop": [224, 192], "interpolation": "bicubic", "bits": 16, "mean": [0.5], "std": [0.25]}"#,
    );
    let json = serde_json::to_string(&network).expect("serializes");
    assert_eq!(preprocess(&json), network);
}

#[test]
fn without_images_the_model_or_the_wishes_tell_the_size_to_draw() {
    let free = ModelInput { channels: Some(3), height: None, width: None };
    let fixed = ModelInput { channels: Some(1), height: Some(28), width: Some(24) };
    let size = |preprocess: Preprocess, model| {
        preprocess.size_without_images(model).map(|size| (size.channels, size.height, size.width))
    };
    let wishes = |resize, crop| Preprocess { resize, crop, ..Preprocess::default() };
    assert_eq!(size(wishes(Some(Extent::Side(256)), Some(Extent::Side(224))), fixed).ok(), Some((1, 28, 24)));
    assert_eq!(size(wishes(Some(Extent::Side(256)), Some(Extent::Side(224))), free).ok(), Some((3, 224, 224)));
    assert_eq!(size(wishes(Some(Extent::HeightWidth([32, 48])), None), free).ok(), Some((3, 32, 48)));

    let refused = |preprocess, model| size(preprocess, model).expect_err("no size").to_string();
    assert!(refused(wishes(None, None), free).contains("preprocess.crop"), "{}", refused(wishes(None, None), free));
    assert!(refused(wishes(None, Some(Extent::Side(8192))), free).contains("upload a few images"));
    assert!(refused(wishes(None, Some(Extent::Side(0))), free).contains("crop"));
    assert!(refused(wishes(None, None), ModelInput { channels: Some(4), ..fixed }).contains("4 channels"));
}
