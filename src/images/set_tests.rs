//! Uploads as customers and attackers send them.

use std::io::Write;

use image::{ImageFormat, Rgb, RgbImage};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::images::{Chw, ModelInput, Preprocess};

type Zip = ZipWriter<Cursor<Vec<u8>>>;

fn zip(build: impl FnOnce(&mut Zip)) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    build(&mut writer);
    writer.finish().expect("the zip closes").into_inner()
}

fn put(zip: &mut Zip, name: &str, bytes: &[u8]) {
    zip.start_file(name, SimpleFileOptions::default()).expect("a file starts");
    zip.write_all(bytes).expect("a file is written");
}

/// A one-coloured PNG.
fn png(width: u32, height: u32, level: u8) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let image = RgbImage::from_pixel(width, height, Rgb([level; 3]));
    image.write_to(&mut out, ImageFormat::Png).expect("encodes");
    out.into_inner()
}

fn open(bytes: &[u8]) -> Result<ImageSet, ImageError> {
    ImageSet::from_zip_bytes(bytes, &Limits::default())
}

fn names(set: &ImageSet) -> Vec<&str> {
    set.images().iter().map(|image| image.name.as_str()).collect()
}

#[test]
fn good_images_come_in_the_order_of_their_names_and_bad_ones_with_their_reason() {
    let set = open(&zip(|z| {
        put(z, "b.png", &png(4, 2, 9));
        put(z, "notes.txt", b"hello");
        put(z, "dir/a.png", &png(6, 3, 7));
        put(z, "broken.jpg", &png(64, 64, 1)[..40]);
        put(z, "__MACOSX/._b.png", b"clutter");
        put(z, ".DS_Store", b"clutter");
        put(z, "inner.zip", &zip(|z| put(z, "c.png", &png(1, 1, 1))));
    }))
    .expect("two images are good");
    assert_eq!(names(&set), ["b.png", "dir/a.png"]);
    assert_eq!((set.images()[1].width, set.images()[1].height), (6, 3));
    let refused: Vec<_> = set.refused().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(refused, ["broken.jpg", "inner.zip", "notes.txt"]);
    assert!(set.refused()[1].reason.contains("not opened"), "{:?}", set.refused()[1]);
}

#[test]
fn names_that_leave_the_archive_are_refused_whole() {
    for name in ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png", "C:evil.png"] {
        let error = open(&zip(|z| {
            put(z, "good.png", &png(2, 2, 1));
            put(z, name, &png(2, 2, 1));
        }))
        .expect_err(name);
        assert_eq!(error.code().as_str(), "unsafe_archive_entry", "{name}: {error}");
    }
}

#[test]
fn a_link_is_refused_whole() {
    let error = open(&zip(|z| {
        put(z, "good.png", &png(2, 2, 1));
        z.add_symlink("link.png", "/etc/passwd", SimpleFileOptions::default()).expect("a link is written");
    }))
    .expect_err("a link");
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[test]
fn a_bomb_is_refused_whether_it_owns_up_to_its_size_or_not() {
    let mut liar = zip(|z| put(z, "zeros.bmp", &vec![0; 8 << 20]));
    let limits = Limits { free_bytes: 1 << 20, ..Limits::default() };
    let error = ImageSet::from_zip_bytes(&liar, &limits).expect_err("packs 1000:1");
    assert_eq!(error.code().as_str(), "zip_bomb");
    assert!(error.to_string().contains("unpack to 8388608"), "{error}");

    // The same bytes with a directory that says 1,000 bytes: no more than that is unpacked.
    let size = (8u32 << 20).to_le_bytes();
    while let Some(at) = liar.windows(4).position(|four| four == size) {
        liar[at..at + 4].copy_from_slice(&1000u32.to_le_bytes());
    }
    let error = open(&liar).expect_err("a lie").to_string();
    assert!(error.contains("broken"), "{error}");
}

#[test]
fn dark_images_may_pack_as_well_as_they_like() {
    let mut bmp = Cursor::new(Vec::new());
    RgbImage::new(700, 600).write_to(&mut bmp, ImageFormat::Bmp).expect("encodes");
    let archive = zip(|z| (0..20).for_each(|i| put(z, &format!("{i}.bmp"), bmp.get_ref())));
    assert!(archive.len() * 500 < 20 * bmp.get_ref().len(), "{} bytes", archive.len());
    assert_eq!(open(&archive).expect("honest").len(), 20);
}

/// The bytes of `name`, packed with this method.
fn packed(method: zip::CompressionMethod) -> Vec<u8> {
    zip(|z| {
        z.start_file("a.bmp", SimpleFileOptions::default().compression_method(method)).expect("a file starts");
        let mut bmp = Cursor::new(Vec::new());
        let image = RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y) as u8]));
        image.write_to(&mut bmp, ImageFormat::Bmp).expect("encodes");
        z.write_all(bmp.get_ref()).expect("a file is written");
    })
}

#[test]
fn every_method_that_has_a_decoder_is_read_and_others_are_named() {
    use zip::CompressionMethod::{Bzip2, Deflated, Stored, Xz};
    for method in [Stored, Deflated, Bzip2, Xz] {
        let set = open(&packed(method)).unwrap_or_else(|error| panic!("{method:?}: {error}"));
        assert_eq!((set.len(), set.images()[0].width), (1, 40), "{method:?}");
    }
    // Deflate64 differs from Deflate in long and far matches alone, of which this image has none.
    assert_eq!(open(&relabelled(packed(Deflated), 9)).expect("Deflate64").len(), 1);
    let set = open(&hex(LZMA)).expect("LZMA");
    assert_eq!((set.len(), set.images()[0].width), (1, 3));
    for (number, name) in [(1u16, "Shrink"), (6, "Implode"), (93, "Zstandard"), (98, "PPMd"), (77, "method 77")] {
        let error = open(&relabelled(packed(Stored), number)).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("Deflate") && !error.contains("broken"), "{error}");
    }
}

/// The archive of one entry with another method in both of its headers.
fn relabelled(mut archive: Vec<u8>, method: u16) -> Vec<u8> {
    for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let header = archive.windows(4).position(|four| four == signature).expect("a header");
        archive[header + at..header + at + 2].copy_from_slice(&method.to_le_bytes());
    }
    archive
}

/// A grey PNG of 3×2 pixels, packed with LZMA by Python's zipfile, in hex.
const LZMA: &str = "\
504b03043f0002000e0000002100750df640540000004900000005000000612e706e67090405005d0000800000449405c47a27f6f7ee898e509088\
    b3aad5502119323fa6609c9ef1b3559855a7db8215e88cb9196e247e3a29407f40858c81a9a645c949c0b92448c6b53f67455bf8ba52dfffb5f500\
    00504b01023f033f0002000e0000002100750df6405400000049000000050000000000000000000000800100000000612e706e67504b0506000000\
    000100010033000000770000000000";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn entries_that_share_packed_bytes_are_refused_whole() {
    let overlapping = zip(|z| {
        put(z, "a.png", &png(8, 8, 3));
        z.shallow_copy_file("a.png", "b.png").expect("a second name for the same bytes");
    });
    assert_eq!(open(&overlapping).expect_err("shared bytes").code().as_str(), "zip_bomb");
}

#[test]
fn limits_hold() {
    let three = zip(|z| (0..3).for_each(|i| put(z, &format!("{i}.png"), &png(16, 16, i))));
    let limited = |limits: Limits| ImageSet::from_zip_bytes(&three, &limits);
    let error = limited(Limits { entries: 2, ..Limits::default() }).expect_err("three entries");
    assert!(error.to_string().contains('3') && error.to_string().contains('2'), "{error}");
    let error = limited(Limits { archive_bytes: 100, ..Limits::default() }).expect_err("a large archive");
    assert_eq!(error.code().as_str(), "image_set_too_large");
    let error = limited(Limits { total_bytes: 100, ..Limits::default() }).expect_err("many bytes");
    assert_eq!(error.code().as_str(), "image_set_too_large");
    let error = limited(Limits { entry_bytes: 20, ..Limits::default() }).expect_err("every file is too large");
    assert!(error.to_string().contains("limit of 20"), "{error}");
    let error = limited(Limits { pixels: 255, ..Limits::default() }).expect_err("every image is too large");
    assert!(error.to_string().contains("16×16"), "{error}");
    let set = limited(Limits { tensor_bytes: 100, ..Limits::default() }).expect("opens");
    let size = Chw { channels: 3, height: 16, width: 16 };
    assert_eq!(
        set.tensor_data(&Preprocess::default(), size).expect_err("floats").code().as_str(),
        "image_set_too_large"
    );
}

#[test]
fn more_pixels_in_all_than_a_set_may_have_are_refused_before_any_is_decoded() {
    // The header is whole, the pixels are not: what is decoded says that it is broken.
    let three = zip(|z| (0..3).for_each(|i| put(z, &format!("{i}.png"), &png(16, 16, i)[..50])));
    let error = |limits| ImageSet::from_zip_bytes(&three, &limits).expect_err("no set").to_string();
    let free = |free_decoded_bytes| Limits { free_decoded_bytes, decoded_per_byte: 0, ..Limits::default() };
    let bytes = 3 * 256 * 3;
    assert!(error(free(bytes)).contains("none of the files is a usable image"), "{}", error(free(bytes)));
    let said = error(free(bytes - 1));
    assert!(said.contains(&format!("decoded from {}: 2304 and the limit is 2303", three.len())), "{said}");
    assert!(said.contains("send fewer"), "{said}");
    let said = error(Limits { set_pixels: 767, ..Limits::default() });
    assert!(said.contains("all images together: 768 and the limit is 767"), "{said}");
}

#[test]
fn a_directory_of_nothing_but_entries_is_refused_unread() {
    let limits = Limits { entries: 10, ..Limits::default() };
    // No end of a directory: what is refused here has been counted, and not read as a zip.
    let entries = |count: usize| [b"PK\x01\x02", &[0; 42][..]].concat().repeat(count);
    let code = |count| ImageSet::from_zip_bytes(&entries(count), &limits).expect_err("no zip").code().as_str();
    assert_eq!([code(40), code(41), code(5000)], ["not_a_zip", "image_set_too_large", "image_set_too_large"]);
}

#[test]
fn what_is_no_zip_or_a_cut_one_says_so() {
    let good = zip(|z| put(z, "a.png", &png(8, 8, 3)));
    for bytes in [&b"not a zip"[..], b"", &good[..good.len() / 2]] {
        assert_eq!(open(bytes).expect_err("no zip").code().as_str(), "not_a_zip");
    }
}

#[test]
fn an_archive_without_a_usable_image_names_the_reasons() {
    let error = open(&zip(|z| (0..5).for_each(|i| put(z, &format!("{i}.txt"), b"x")))).expect_err("no image");
    let text = error.to_string();
    assert!(text.contains("0.txt: not an image") && text.contains("and 2 more"), "{text}");
    assert!(open(&zip(|_| ())).expect_err("empty").to_string().contains("no file"));
}

#[test]
fn every_byte_flipped_in_an_archive_gives_a_set_or_an_error_and_never_a_panic() {
    let good = zip(|z| {
        put(z, "a.png", &png(8, 8, 3));
        put(z, "labels.csv", b"file,label\na.png,1\n");
    });
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0xFF;
        let _ = open(&bytes);
    }
}

#[test]
fn labels_in_the_archive_or_apart_find_their_images() {
    let archive = zip(|z| {
        put(z, "photos/a.png", &png(2, 2, 1));
        put(z, "photos/b.png", &png(2, 2, 2));
        put(z, "photos/labels.csv", b"file,label\na.png,7\n");
    });
    let set = open(&archive).expect("opens");
    assert_eq!(set.images().iter().map(|i| i.label).collect::<Vec<_>>(), [Some(7), None]);
    assert_eq!(set.labelled(), 1);
    let set = set.with_labels(b"file,label\nphotos/b.png,3\n").expect("other labels");
    assert_eq!(set.images().iter().map(|i| i.label).collect::<Vec<_>>(), [None, Some(3)]);
    let error = set.with_labels(b"file,label\nz.png,3\n").expect_err("no image is named");
    assert!(error.to_string().contains("photos/a.png"), "{error}");
}

#[test]
fn a_labels_file_may_be_written_in_capitals_and_there_is_one() {
    for name in ["Labels.CSV", "photos/LABELS.csv"] {
        let set = open(&zip(|z| {
            put(z, "a.png", &png(2, 2, 1));
            put(z, name, b"file,label\na.png,7\n");
        }))
        .expect("opens");
        assert_eq!((set.images()[0].label, set.refused()), (Some(7), &[][..]), "{name}");
    }
    let two = zip(|z| {
        put(z, "a.png", &png(2, 2, 1));
        put(z, "labels.csv", b"file,label\na.png,7\n");
        put(z, "Labels.csv", b"file,label\na.png,8\n");
    });
    assert!(open(&two).expect_err("two").to_string().contains("more than one labels.csv"));
}

#[test]
fn the_same_images_have_the_same_hash_however_they_were_packed() {
    let forth = open(&zip(|z| ["a", "b"].iter().for_each(|n| put(z, n, &png(2, 2, 1))))).expect("opens");
    let back = open(&zip(|z| ["b", "a"].iter().for_each(|n| put(z, n, &png(2, 2, 1))))).expect("opens");
    let other = open(&zip(|z| ["a", "c"].iter().for_each(|n| put(z, n, &png(2, 2, 1))))).expect("opens");
    assert_eq!(forth.sha256(), back.sha256());
    assert_ne!(forth.sha256(), other.sha256());
}

#[test]
fn a_folder_reads_like_the_archive_made_of_it_and_its_links_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("sub")).expect("a folder");
    std::fs::write(dir.path().join("sub/b.png"), png(2, 2, 1)).expect("a file");
    std::fs::write(dir.path().join("a.png"), png(2, 2, 1)).expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.png")).expect("a link");
    let set = ImageSet::open(dir.path(), &Limits::default()).expect("opens");
    assert_eq!(names(&set), ["a.png", "sub/b.png"]);
    assert_eq!(set.refused()[0].name, "link.png");
    let zipped = open(&zip(|z| ["a.png", "sub/b.png"].iter().for_each(|n| put(z, n, &png(2, 2, 1))))).expect("opens");
    assert_eq!(set.sha256(), zipped.sha256());
    let error = ImageSet::open(&dir.path().join("none"), &Limits::default()).expect_err("nothing there");
    assert!(error.is_input() && error.to_string().contains("none"), "{error}");
}

#[test]
fn images_that_do_not_fit_the_model_get_the_preprocess_that_mends_it() {
    let set = open(&zip(|z| {
        put(z, "a.png", &png(300, 200, 1));
        put(z, "b.png", &png(100, 250, 1));
    }))
    .expect("opens");
    let model = |side| ModelInput { channels: Some(3), height: side, width: side };
    let error = Preprocess::default().check(model(Some(224)), set.images()).expect_err("300×200 is not 224×224");
    let text = error.to_string();
    assert!(text.contains("\"a.png\" is 300×200") && text.contains("takes 224×224"), "{text}");
    let hint = text.split("set preprocess to ").nth(1).expect("a way out");
    let mended: Preprocess = serde_json::from_str(hint).expect("the way out is valid JSON");
    let size = mended.check(model(Some(224)), set.images()).expect("the way out works");
    assert_eq!(size, Chw { channels: 3, height: 224, width: 224 });

    let error = Preprocess::default().check(model(None), set.images()).expect_err("two sizes, free model");
    assert!(error.to_string().contains("the same size (the first is 300×200)"), "{error}");
    let crop: Preprocess = serde_json::from_str(r#"{"crop": 150}"#).expect("valid");
    let error = crop.check(model(None), set.images()).expect_err("100 columns are too few");
    assert!(error.to_string().contains("\"b.png\"") && error.to_string().contains("smaller than the crop"), "{error}");
    let four = ModelInput { channels: Some(4), ..ModelInput::default() };
    assert!(Preprocess::default().check(four, set.images()).is_err());
}

#[test]
fn a_batch_holds_the_images_in_order() {
    let set = open(&zip(|z| (0..3).for_each(|i| put(z, &format!("{i}.png"), &png(4, 2, 10 * i))))).expect("opens");
    let raw: Preprocess = serde_json::from_str(r#"{"divide_by": 1}"#).expect("valid");
    let size = raw.check(ModelInput::default(), set.images()).expect("one size");
    let batch = set.tensor_data(&raw, size).expect("fits");
    assert_eq!(batch.dims(), [3, 3, 2, 4]);
    assert_eq!([0, 1, 2].map(|i| batch.image(i)[5]), [0.0, 10.0, 20.0]);
    let chosen = batch.gather(&[2, 0, 2]);
    assert_eq!(chosen.dims(), [3, 3, 2, 4]);
    assert_eq!([0, 1, 2].map(|i| chosen.image(i)[0]), [20.0, 0.0, 20.0]);
    assert_eq!(set.tensor_of(&raw, size, 1..2).expect("fits").data, batch.image(1));
}
