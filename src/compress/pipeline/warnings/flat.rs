//! Images of which the network sees next to nothing: all of them by a wrong scale, or single ones that are blank.

use tch::{Kind, Tensor};

use crate::compress::CompressError;
use crate::compress::samples::grey;
use crate::images::Preprocess;
use crate::spec::report::Warning;

/// Standard deviation of all images, as a share of the range from black to white, below which they are nearly constant. Photographs
/// have 0.15 to 0.3; 12 bits that are read as the upper 8 of 16 have 0.02 at most.
const SET: f64 = 0.025;

/// The same of a single image, which may well be a low-contrast one.
const IMAGE: f64 = 0.01;

/// Images named in a warning.
const NAMED: usize = 3;

/// A warning if the images, (N, C, H, W) after preprocessing, or some of them are nearly constant.
pub(crate) fn nearly_constant(
    images: &Tensor,
    preprocess: &Preprocess,
    names: &[String],
) -> Result<Option<Warning>, CompressError> {
    let range = range(preprocess, images.size()[1] as usize)?;
    let of_set = images.f_std_dim([0i64, 2, 3].as_slice(), false, false)?;
    let share = (&of_set / &range).f_max()?.f_double_value(&[])?;
    let value = of_set.f_max()?.f_double_value(&[])?;
    if share < SET || value < SET {
        let detail = format!(
            "the preprocessed images are nearly constant: their standard deviation is {value:.2e}, {:.1} % of the range from \
             black to white; check divide_by, mean and std; if the files have more than 8 bits per sample, set divide_by to \
             their largest value, such as 4095 or 65535",
            100.0 * share
        );
        return Ok(Some(Warning { code: "nearly_constant_input".into(), detail }));
    }
    let of_each = images.f_std_dim([2i64, 3].as_slice(), false, false)? / &range;
    let flat = of_each.f_amax([1i64].as_slice(), false)?.f_lt(IMAGE)?.f_nonzero()?;
    Ok(single(&Vec::<i64>::try_from(flat.f_flatten(0, -1)?)?, names))
}

/// From black to white in each channel, after preprocessing, (C).
fn range(preprocess: &Preprocess, channels: usize) -> Result<Tensor, CompressError> {
    let white = grey(preprocess, channels, preprocess.white().into());
    let black = grey(preprocess, channels, 0.0);
    let range: Vec<f64> = white.iter().zip(black).map(|(white, black)| white - black).collect();
    Ok(Tensor::f_from_slice(&range)?.f_to_kind(Kind::Float)?)
}

fn single(flat: &[i64], names: &[String]) -> Option<Warning> {
    let named: Vec<&str> =
        flat.iter().filter_map(|at| names.get(*at as usize)).take(NAMED).map(String::as_str).collect();
    let (first, more) = (named.first()?, flat.len() - named.len());
    let list = if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") };
    let detail = match flat.len() {
        1 => format!("the image {first} is nearly constant, so it carries no information"),
        count => format!("{count} of the {} images are nearly constant: {list}", names.len()),
    };
    Some(Warning { code: "nearly_constant_images".into(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(images: &Tensor, json: &str) -> Option<(String, String)> {
        let preprocess: Preprocess = serde_json::from_str(json).expect("valid");
        let names: Vec<String> = (0..images.size()[0]).map(|at| format!("{at}.png")).collect();
        nearly_constant(images, &preprocess, &names).expect("computes").map(|w| (w.code.to_string(), w.detail))
    }

    /// Levels from 0 to `most`, spread evenly.
    fn levels(most: f64) -> Tensor {
        tch::manual_seed(1);
        Tensor::rand([6, 3, 8, 8], (Kind::Float, tch::Device::Cpu)) * most
    }

    #[test]
    fn images_scaled_away_are_said() {
        assert_eq!(warned(&levels(1.0), "{}"), None);
        assert_eq!(warned(&levels(255.0), r#"{"divide_by": 1}"#), None);
        assert_eq!(warned(&levels(1.0), r#"{"divide_by": 4095}"#), None);
        let cases = [
            (16.0 / 255.0, "{}"),
            (16.0, r#"{"divide_by": 1}"#),
            (255.0 / 65535.0, r#"{"divide_by": 65535}"#),
            (1.0 / 58.0, r#"{"mean": [0], "std": [58]}"#),
        ];
        for (most, json) in cases {
            let (code, detail) = warned(&levels(most), json).expect(json);
            assert_eq!(code, "nearly_constant_input", "{json}");
            assert!(detail.contains("divide_by"), "{detail}");
        }
    }

    #[test]
    fn blank_images_among_others_are_named() {
        let images = levels(1.0);
        let _ = images.select(0, 4).fill_(0.7);
        let (code, detail) = warned(&images, "{}").expect("one is blank");
        assert!(code == "nearly_constant_images" && detail.contains("4.png"), "{detail}");
        for at in [0, 1, 2] {
            let _ = images.select(0, at).fill_(0.1);
        }
        let (_, detail) = warned(&images, "{}").expect("four are blank");
        assert!(detail.contains("4 of the 6") && detail.contains("0.png, 1.png, 2.png and 1 more"), "{detail}");
    }
}
