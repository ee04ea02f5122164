//! Checks that a file is complete. Decoders fill missing parts with grey and report no error.

use image::ImageFormat;

/// Why a file of this format is incomplete, if its structure shows it; decoders of other formats report it.
pub(super) fn missing(format: Option<ImageFormat>, bytes: &[u8]) -> Option<String> {
    let cut = match format {
        Some(ImageFormat::Jpeg) => !has_end_of_image(bytes),
        Some(ImageFormat::WebP) => is_shorter_than_its_header_says(bytes),
        _ => false,
    };
    cut.then(|| "the image is incomplete: its end is missing; copy or save the file again".to_owned())
}

/// Whether a JPEG's end-of-image marker follows its last scan (ITU T.81, annex B). Segments are passed by their lengths, so that
/// the end of a thumbnail within one does not count.
fn has_end_of_image(bytes: &[u8]) -> bool {
    let (mut at, mut scanned) = (0, false);
    while let Some(marker) = next_marker(bytes, &mut at) {
        match marker {
            0xD9 if scanned => return true,
            // Without a length: TEM, RST0 to RST7, SOI, and an EOI ahead of any scan.
            0x01 | 0xD0..=0xD9 => {}
            _ => {
                scanned |= marker == 0xDA;
                let length = bytes.get(at..at + 2).map(|length| u16::from_be_bytes([length[0], length[1]]));
                at += usize::from(length.unwrap_or(0));
            }
        }
    }
    false
}

/// The marker at or behind `at`, which is moved past it. 0xFF 0x00 is a byte of a scan, and 0xFF may stand in front of a marker.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        *at += rest.iter().position(|byte| *byte == 0xFF)? + 1;
        match *bytes.get(*at)? {
            0x00 => *at += 1,
            0xFF => {}
            marker => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}

/// A RIFF file names the bytes that follow its first eight.
fn is_shorter_than_its_header_says(bytes: &[u8]) -> bool {
    let said = bytes.get(4..8).map_or(0, |size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    (bytes.len() as u64) < u64::from(said) + 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, a thumbnail with an end of its own within APP1, a scan of a stuffed byte and a restart, and the rest.
    fn jpeg(rest: &[u8]) -> Vec<u8> {
        [b"\xFF\xD8\xFF\xE1\0\x06\xFF\xD8\xFF\xD9\xFF\xDA\0\x02\x12\xFF\0\xFF\xD0\x34", rest].concat()
    }

    #[test]
    fn only_the_end_behind_a_scan_counts() {
        let whole = |rest: &[u8]| missing(Some(ImageFormat::Jpeg), &jpeg(rest)).is_none();
        assert!(whole(b"\xFF\xD9") && whole(b"\xFF\xFF\xD9") && whole(b"\xFF\xD9 what a camera adds"));
        assert!(whole(b"\xFF\xC4\0\x04\xFF\xD9\xFF\xDA\0\x02\x12\xFF\xD9"), "two scans with a table between them");
        assert!(!whole(b"") && !whole(b"\xFF") && !whole(&[0; 100]));
        assert!(!whole(b"\xFF\xC4\0\x04\xFF\xD9\xFF\xDA\0\x02\x12"), "what a table holds is no marker");
        assert!(!whole(b"\xFF\xC4\xFF\xFF"), "a segment that is longer than the file");
    }

    #[test]
    fn a_webp_is_as_long_as_it_says() {
        let webp = b"RIFF\x06\0\0\0WEBPVP";
        assert!(missing(Some(ImageFormat::WebP), webp).is_none());
        assert!(missing(Some(ImageFormat::WebP), &webp[..13]).is_some());
    }
}
