//! Procedural images, for jobs without images: dead leaves, which are discs and rectangles that cover each other.
//!
//! With radii of density r⁻³, such images have the edges, the flat areas and the correlations of photographs at every scale.
//! Distillation can evaluate the teacher on any input, so images with these statistics can replace photographs.
//!
//! Source: Lee, Mumford, Huang, *Occlusion models for natural images* (2001), for the model.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::decode::Rgb8;
use super::resize::{Interpolation, resized};

/// Share of the shorter side that the largest radius has.
const LARGEST: f32 = 0.6;

/// Radius of the smallest leaf in an image of 32 pixels; it grows with the root of the side, as details do in photographs.
const SMALLEST: f32 = 1.2;

/// Maximum number of leaves: the area that is still uncovered keeps the background colour.
const MOST_LEAVES: usize = 4000;

/// A colour, red, green, blue, each 0–1 before it is clipped.
type Colour = [f32; 3];

/// Smaller images are rendered larger and shrunk, because small photographs are shrunk too.
const DRAWN_SIDE: u32 = 128;

/// How many times larger, at most.
const LARGEST_FACTOR: u32 = 4;

/// One image of this size.
pub(super) fn picture(width: u32, height: u32, random: &mut ChaCha8Rng) -> Rgb8 {
    let factor = DRAWN_SIDE.div_ceil(width.min(height).max(1)).clamp(1, LARGEST_FACTOR);
    let drawn = dead_leaves(width * factor, height * factor, random);
    if factor == 1 { drawn } else { resized(&drawn, width, height, Interpolation::Bilinear) }
}

/// Renders one image of this size.
fn dead_leaves(width: u32, height: u32, random: &mut ChaCha8Rng) -> Rgb8 {
    let mut canvas = Canvas::new(width as usize, height as usize);
    let palette = Palette::draw(random);
    let texture = Texture::draw(width as usize, height as usize, random);
    let shorter = width.min(height) as f32;
    let (least, most) = (SMALLEST * (shorter / 32.0).sqrt(), (LARGEST * shorter).max(2.0));
    for _ in 0..MOST_LEAVES {
        if canvas.open == 0 {
            break;
        }
        let leaf = Leaf::draw(&canvas, least, most, &palette, random);
        canvas.cover(&leaf, &texture);
    }
    canvas.rest(&palette.middle);
    canvas.finish(random)
}

/// The palette of one image.
struct Palette {
    middle: Colour,
    spread: f32,
    /// How far the channels move on their own: small in most images, which have few hues.
    hue: f32,
}

impl Palette {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let grey = random.random_range(0.2..0.8);
        let hue = random.random_range(0.05..0.35);
        let middle = [(); 3].map(|()| grey + hue * random.random_range(-0.6..0.6));
        Self { middle, spread: random.random_range(0.15..0.5), hue }
    }

    fn colour(&self, random: &mut ChaCha8Rng) -> Colour {
        let light = self.spread * random.random_range(-1.0..1.0);
        self.middle.map(|value| value + light + self.hue * random.random_range(-1.0..1.0))
    }
}

/// Noise with the same energy in every octave, about −1 to 1.
struct Texture {
    width: usize,
    values: Vec<f32>,
}

impl Texture {
    fn draw(width: usize, height: usize, random: &mut ChaCha8Rng) -> Self {
        let mut values = vec![0.0; width * height];
        let mut cell = (width.min(height) as f32 / 2.0).max(1.0);
        let mut octaves = 0.0f32;
        while cell >= 1.0 {
            add_octave(&mut values, width, cell, random);
            octaves += 1.0;
            cell /= 2.0;
        }
        let scale = 1.5 / octaves.max(1.0).sqrt();
        values.iter_mut().for_each(|value| *value *= scale);
        Self { width, values }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }
}

/// Adds noise on a grid of this cell, interpolated in between.
fn add_octave(values: &mut [f32], width: usize, cell: f32, random: &mut ChaCha8Rng) {
    let height = values.len() / width;
    let across = (width as f32 / cell).ceil() as usize + 2;
    let down = (height as f32 / cell).ceil() as usize + 2;
    let grid: Vec<f32> = (0..across * down).map(|_| random.random_range(-1.0..1.0)).collect();
    for (y, row) in values.chunks_mut(width).enumerate() {
        let (top, fy) = split(y as f32 / cell);
        for (x, value) in row.iter_mut().enumerate() {
            let (left, fx) = split(x as f32 / cell);
            let corner = |dx: usize, dy: usize| grid[(top + dy) * across + left + dx];
            let upper = corner(0, 0) * (1.0 - fx) + corner(1, 0) * fx;
            let lower = corner(0, 1) * (1.0 - fx) + corner(1, 1) * fx;
            *value += upper * (1.0 - fy) + lower * fy;
        }
    }
}

/// Whole part and rest.
fn split(value: f32) -> (usize, f32) {
    (value as usize, value.fract())
}

/// One disc or rectangle with a gradient over it.
struct Leaf {
    centre: (f32, f32),
    /// Half the extent along the leaf's own axes.
    half: (f32, f32),
    /// Cosine and sine of its turn.
    turn: (f32, f32),
    disc: bool,
    colour: Colour,
    /// Colour difference from the middle to an end of the first axis.
    gradient: Colour,
    texture: f32,
}

impl Leaf {
    fn draw(canvas: &Canvas, least: f32, most: f32, palette: &Palette, random: &mut ChaCha8Rng) -> Self {
        // Inverse of the distribution function of the density r⁻³ between the two radii.
        let share: f32 = random.random_range(0.0..1.0);
        let radius = least / (1.0 - share * (1.0 - (least / most).powi(2))).sqrt();
        let disc = random.random_bool(0.5);
        let aspect = random.random_range(0.4..1.0);
        let angle: f32 = random.random_range(0.0..std::f32::consts::TAU);
        let shade = random.random_range(-0.15..0.15);
        Self {
            centre: (
                random.random_range(-radius..canvas.width as f32 + radius),
                random.random_range(-radius..canvas.height as f32 + radius),
            ),
            half: (radius, radius * aspect),
            turn: (angle.cos(), angle.sin()),
            disc,
            colour: palette.colour(random),
            gradient: [(); 3].map(|()| shade + random.random_range(-0.05..0.05)),
            texture: random.random_range(0.0f32..1.0).powi(2) * 0.25,
        }
    }

    /// Where a pixel lies along the leaf's axes, −1 to 1 within it; `None` outside.
    fn place(&self, x: usize, y: usize) -> Option<f32> {
        let (dx, dy) = (x as f32 + 0.5 - self.centre.0, y as f32 + 0.5 - self.centre.1);
        let along = (dx * self.turn.0 + dy * self.turn.1) / self.half.0;
        let across = (dy * self.turn.0 - dx * self.turn.1) / self.half.1;
        let inside = match self.disc {
            true => along * along + across * across <= 1.0,
            false => along.abs() <= 1.0 && across.abs() <= 1.0,
        };
        inside.then_some(along)
    }
}

/// An image that is covered from front to back.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Option<Colour>>,
    /// Pixels that nothing covers yet.
    open: usize,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![None; width * height], open: width * height }
    }

    fn cover(&mut self, leaf: &Leaf, texture: &Texture) {
        let reach = leaf.half.0.hypot(leaf.half.1);
        let (columns, rows) = (span(leaf.centre.0, reach, self.width), span(leaf.centre.1, reach, self.height));
        for y in rows {
            for x in columns.clone() {
                let pixel = &mut self.pixels[y * self.width + x];
                if pixel.is_some() {
                    continue;
                }
                if let Some(along) = leaf.place(x, y) {
                    let grain = leaf.texture * texture.at(x, y);
                    let channel = |c: usize| leaf.colour[c] + leaf.gradient[c] * along + grain;
                    *pixel = Some([channel(0), channel(1), channel(2)]);
                    self.open -= 1;
                }
            }
        }
    }

    fn rest(&mut self, colour: &Colour) {
        self.pixels.iter_mut().filter(|pixel| pixel.is_none()).for_each(|pixel| *pixel = Some(*colour));
    }

    /// As 8-bit RGB, under a light that falls from one side.
    fn finish(self, random: &mut ChaCha8Rng) -> Rgb8 {
        let light: (f32, f32) = (random.random_range(-0.2..0.2), random.random_range(-0.2..0.2));
        let (width, height) = (self.width as f32, self.height as f32);
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        for (index, colour) in self.pixels.into_iter().enumerate() {
            let (x, y) = ((index % self.width) as f32 / width - 0.5, (index / self.width) as f32 / height - 0.5);
            let shine = light.0 * x + light.1 * y;
            let byte = |value: f32| ((value + shine).clamp(0.0, 1.0) * 255.0).round() as u8;
            bytes.extend(colour.unwrap_or_default().map(byte));
        }
        Rgb8 { width: self.width as u32, height: self.height as u32, pixels: bytes }
    }
}

/// Pixels of an axis that may lie within `reach` of a centre.
fn span(centre: f32, reach: f32, side: usize) -> std::ops::Range<usize> {
    let begin = (centre - reach).floor().max(0.0) as usize;
    let end = ((centre + reach).ceil().max(0.0) as usize).min(side);
    begin.min(end)..end
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn random(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn a_picture_has_the_size_asked_for_and_the_same_seed_draws_the_same() {
        for (width, height) in [(32, 32), (224, 96), (1, 1), (3, 200)] {
            let drawn = picture(width, height, &mut random(7));
            assert_eq!((drawn.width, drawn.height, drawn.pixels.len()), (width, height, (width * height * 3) as usize));
            assert_eq!(drawn, picture(width, height, &mut random(7)));
        }
        assert_ne!(picture(32, 32, &mut random(7)), picture(32, 32, &mut random(8)));
    }

    #[test]
    fn pictures_are_made_of_areas_with_edges_and_of_many_colours() {
        let mut differences = Vec::new();
        let mut means = Vec::new();
        for seed in 0..20 {
            let Rgb8 { pixels, .. } = dead_leaves(64, 64, &mut random(seed));
            let red: Vec<f64> = pixels.iter().step_by(3).map(|value| f64::from(*value)).collect();
            differences.extend(red.chunks(64).flat_map(|row| row.windows(2).map(|pair| (pair[0] - pair[1]).abs())));
            means.push(red.iter().sum::<f64>() / red.len() as f64);
        }
        differences.sort_by(f64::total_cmp);
        let quantile = |share: f64| differences[(share * (differences.len() - 1) as f64) as usize];
        // White noise would have a ratio of 3, one colour none at all.
        assert!(quantile(0.97) > 8.0 * quantile(0.5), "{} against {}", quantile(0.97), quantile(0.5));
        let spread = means.iter().copied().fold(0.0, f64::max) - means.iter().copied().fold(255.0, f64::min);
        assert!(spread > 60.0, "pictures as light as each other: {means:?}");
    }
}
