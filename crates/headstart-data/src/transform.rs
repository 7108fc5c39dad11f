//! The preprocessing a network was trained with: resize, crop, scale, normalise. Equal to torchvision on Pillow.

mod augment;
mod resample;
mod style;

pub use augment::Strength;
use headstart_tensor::Rng;
use serde::{Deserialize, Serialize};
pub use style::Style;

use self::resample::Window;
use crate::{DataError, ImageError, Picture, RgbImage, image};

/// Sizes, filter and normalisation. Published with the weights, saved with the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The shorter side after `Resize`, in pixels: 1 to 8192.
    pub resize: usize,
    /// Width and height after `CenterCrop`, in pixels: 1 to 8192. Padded with zeros where larger than the image.
    pub crop: usize,
    /// The filter of `Resize`, with antialiasing.
    pub interpolation: Interpolation,
    /// Subtracted from pixels in 0 to 1: red, green, blue.
    pub mean: [f32; 3],
    /// What the difference is divided by: above 0.
    pub std: [f32; 3],
    /// Which pixels are resized. Left out where [`Decode::Exact`].
    #[serde(default, skip_serializing_if = "Decode::is_exact")]
    pub decode: Decode,
    /// How the crop is redrawn before it is normalised. Left out where it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
}

/// How JPEG files become pixels. Other formats have one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// Every pixel of the file.
    #[default]
    Exact,
    /// Large photos at 1/2, 1/4 or 1/8, the smallest that leaves twice [`Preprocess::resize`] on the shorter side: the
    /// rule of Pillow's `Image.thumbnail(reducing_gap=2.0)`. Faster; the pixels differ a little from `Exact`'s.
    Scaled,
}

impl Decode {
    fn is_exact(&self) -> bool {
        *self == Decode::Exact
    }
}

/// The filter of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2.
    Bicubic,
}

/// Which part of an image a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// `Resize` and `CenterCrop`: for evaluation, and for training without augmentation.
    Center,
    /// `RandomResizedCrop(crop, scale=(0.5, 1))` and `RandomHorizontalFlip(0.5)`, drawn from `seed` alone.
    Random {
        /// The seed of this view of this image.
        seed: u64,
    },
    /// As [`View::Random`], and then changed in colour or shape, drawn from `seed` alone.
    Augmented {
        /// The seed of this view of this image.
        seed: u64,
        /// How far the change may go.
        strength: Strength,
    },
}

impl Preprocess {
    /// Checks that every value is in its range.
    ///
    /// # Errors
    ///
    /// [`DataError::Preprocess`] for the first that is not.
    pub fn check(&self) -> Result<(), DataError> {
        for (field, found) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=8192).contains(&found) {
                return Err(DataError::Preprocess {
                    field,
                    expected: "1 to 8192 pixels",
                    found: found.to_string(),
                });
            }
        }
        if let Some(found) = self.mean.iter().find(|v| !v.is_finite()) {
            return Err(DataError::Preprocess {
                field: "mean",
                expected: "finite",
                found: found.to_string(),
            });
        }
        if let Some(found) = self.std.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            let expected = "finite and above 0";
            return Err(DataError::Preprocess { field: "std", expected, found: found.to_string() });
        }
        Ok(())
    }

    /// Decodes what [`Picture::bytes`] gave of `picture`, the way [`Preprocess::decode`](field@Preprocess::decode) says.
    ///
    /// # Errors
    ///
    /// Those of [`image::decode`].
    pub fn decode(&self, picture: &Picture, bytes: &[u8]) -> Result<RgbImage, ImageError> {
        match self.decode {
            Decode::Exact => picture.decode_bytes(bytes),
            Decode::Scaled => {
                picture.decode_with(bytes, |bytes| image::decode_scaled(bytes, 2 * self.resize))
            }
        }
    }

    /// How many values [`Preprocess::apply`] writes: `crop * crop * 3`.
    pub fn values(&self) -> usize {
        self.crop * self.crop * 3
    }

    /// The pixels of `view`, `[crop, crop, 3]`, before scaling and normalisation.
    pub fn pixels(&self, image: &RgbImage, view: View) -> RgbImage {
        let mut pixels = vec![0; self.values()];
        self.runs(image, view, |start, run| pixels[start..start + run.len()].copy_from_slice(run));
        RgbImage { width: self.crop, height: self.crop, pixels }
    }

    /// Hands over the pixels of `view` in runs, each with its place in `[crop, crop, 3]`. Places without a run are zero.
    fn runs(&self, image: &RgbImage, view: View, mut run: impl FnMut(usize, &[u8])) {
        if let Some(style) = self.style {
            let mut whole = Preprocess { style: None, ..self.clone() }.pixels(image, view);
            style.apply(&mut whole);
            return run(0, &whole.pixels);
        }
        if image.width == 0 || image.height == 0 {
            return;
        }
        match view {
            View::Center => self.center(image, run),
            View::Random { seed } => self.random(image, seed, run),
            View::Augmented { seed, strength } => {
                let mut view = self.pixels(image, View::Random { seed });
                strength.apply(&mut Rng::named(seed, "augmentation"), &mut view);
                run(0, &view.pixels);
            }
        }
    }

    /// `Resize(resize)`, then `CenterCrop(crop)`.
    fn center(&self, image: &RgbImage, mut run: impl FnMut(usize, &[u8])) {
        let (width, height) = self.resized(image.width, image.height);
        let (left, pad_left) = center_crop(width, self.crop);
        let (top, pad_top) = center_crop(height, self.crop);
        let window = Window { left, top, width: self.crop.min(width), height: self.crop.min(height) };
        let whole = Window { left: 0, top: 0, width: image.width, height: image.height };
        let mut start = (pad_top * self.crop + pad_left) * 3;
        resample::resize(image, whole, (width, height), self.interpolation, window, |row| {
            run(start, row);
            start += self.crop * 3;
        });
    }

    /// The part of an image of that size that [`View::Center`] shows: left, top, width and height, each as a share of the
    /// image's side. It reaches beyond 0 and 1 where the crop is padded.
    pub fn seen(&self, width: usize, height: usize) -> [f64; 4] {
        if width == 0 || height == 0 {
            return [0.0, 0.0, 1.0, 1.0];
        }
        let (wide, high) = self.resized(width, height);
        let start = |size: usize| {
            let (start, pad) = center_crop(size, self.crop);
            (start as f64 - pad as f64) / size as f64
        };
        [start(wide), start(high), self.crop as f64 / wide as f64, self.crop as f64 / high as f64]
    }

    /// The size after `Resize`: the shorter side `resize`, the longer one truncated.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        let longer = |long: usize, short: usize| {
            ((self.resize as u128 * long as u128 / short as u128) as usize).max(1)
        };
        match width <= height {
            true => (self.resize, longer(height, width)),
            false => (longer(width, height), self.resize),
        }
    }

    /// `RandomResizedCrop(crop, scale=(0.5, 1), ratio=(3/4, 4/3))`, then `RandomHorizontalFlip(0.5)`.
    fn random(&self, image: &RgbImage, seed: u64, mut run: impl FnMut(usize, &[u8])) {
        let mut rng = Rng::named(seed, "view");
        let part = random_part(&mut rng, image.width, image.height);
        let mirrored = rng.uniform() < 0.5;
        let whole = Window { left: 0, top: 0, width: self.crop, height: self.crop };
        let mut start = 0;
        resample::resize(image, part, (self.crop, self.crop), self.interpolation, whole, |row| {
            if mirrored {
                row.as_chunks_mut::<3>().0.reverse();
            }
            run(start, row);
            start += self.crop * 3;
        });
    }

    /// Writes the network's input for `view` into `out`, `[crop, crop, 3]`: `(pixel / 255 - mean) / std`.
    ///
    /// # Panics
    ///
    /// Where `out` is not [`Preprocess::values`] long.
    pub fn apply(&self, image: &RgbImage, view: View, out: &mut [f32]) {
        assert_eq!(out.len(), self.values(), "the output of preprocessing has crop * crop * 3 values");
        // A pixel has 256 values: what becomes of each is computed once.
        let table: [[f32; 3]; 256] = std::array::from_fn(|pixel| {
            std::array::from_fn(|c| (pixel as f32 / 255.0 - self.mean[c]) / self.std[c])
        });
        let normalise = |out: &mut [f32], pixels: &[u8]| {
            for (out, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels.as_chunks::<3>().0) {
                for c in 0..3 {
                    out[c] = table[usize::from(pixel[c])][c];
                }
            }
        };
        let mut end = 0;
        self.runs(image, view, |start, run| {
            out[end..start].as_chunks_mut::<3>().0.fill(table[0]);
            end = start + run.len();
            normalise(&mut out[start..end], run);
        });
        out[end..].as_chunks_mut::<3>().0.fill(table[0]);
    }
}

/// The whole of `image` in another size; both sides are at least 1.
pub(crate) fn resized(image: &RgbImage, width: usize, height: usize, filter: Interpolation) -> RgbImage {
    let whole = |width, height| Window { left: 0, top: 0, width, height };
    let mut pixels = Vec::with_capacity(width * height * 3);
    resample::resize(
        image,
        whole(image.width, image.height),
        (width, height),
        filter,
        whole(width, height),
        |row| pixels.extend_from_slice(row),
    );
    RgbImage { width, height, pixels }
}

/// Along one side: where the crop begins, and how many zeros come before the image where it is smaller.
fn center_crop(size: usize, crop: usize) -> (usize, usize) {
    if crop > size {
        return (0, (crop - size) / 2);
    }
    // Python's round: a half goes to the even neighbour.
    let spare = size - crop;
    (spare / 2 + usize::from(spare % 4 == 3), 0)
}

/// The part that `RandomResizedCrop` keeps: ten draws of area and shape, else the largest centred part in range.
fn random_part(rng: &mut Rng, width: usize, height: usize) -> Window {
    let area = width as f64 * height as f64;
    for _ in 0..10 {
        let target = area * rng.range(0.5, 1.0);
        let ratio = power_of_four_thirds(rng.range(-1.0, 1.0));
        let w = (target * ratio).sqrt().round_ties_even() as usize;
        let h = (target / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = rng.below(height - h + 1);
            return Window { left: rng.below(width - w + 1), top, width: w, height: h };
        }
    }
    let (mut w, mut h) = (width, height);
    let ratio = width as f64 / height as f64;
    if ratio < 3.0 / 4.0 {
        h = (w as f64 / (3.0 / 4.0)).round_ties_even() as usize;
    } else if ratio > 4.0 / 3.0 {
        w = (h as f64 * (4.0 / 3.0)).round_ties_even() as usize;
    }
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    Window { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
}

/// `(4/3)^x` for `x` in -1 to 1, by its series: `exp` of the platform differs in the last bit from one to the next.
fn power_of_four_thirds(x: f64) -> f64 {
    const LN_FOUR_THIRDS: f64 = 0.287_682_072_451_780_93;
    let x = x * LN_FOUR_THIRDS;
    (1..=16).rev().fold(1.0, |sum, n| 1.0 + x / f64::from(n) * sum)
}

#[cfg(test)]
mod tests {
    use headstart_tensor::Rng;

    use super::{
        Decode, Interpolation, Preprocess, Style, View, center_crop, power_of_four_thirds, random_part,
    };
    use crate::RgbImage;

    fn preprocess() -> Preprocess {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let interpolation = Interpolation::Bicubic;
        Preprocess { resize: 32, crop: 28, interpolation, mean, std, decode: Decode::Exact, style: None }
    }

    fn noise(width: usize, height: usize) -> RgbImage {
        let mut rng = Rng::new(3);
        let pixels = (0..width * height * 3).map(|_| rng.next_u64() as u8).collect();
        RgbImage { width, height, pixels }
    }

    #[test]
    fn a_view_depends_on_its_seed_alone() {
        let (preprocess, image) = (preprocess(), noise(50, 40));
        let view = |seed| preprocess.pixels(&image, View::Random { seed });
        assert_eq!(view(1), view(1));
        assert_ne!(view(1), view(2));
        assert_eq!((view(1).width, view(1).height, view(1).pixels.len()), (28, 28, 28 * 28 * 3));
    }

    #[test]
    fn half_the_views_are_mirrored() {
        // Dark on the left and bright on the right, whatever the crop.
        let row = (0..64u8).flat_map(|x| [x * 4; 3]);
        let image = RgbImage { width: 64, height: 64, pixels: row.cycle().take(64 * 64 * 3).collect() };
        let mirrored = |seed| {
            let pixels = preprocess().pixels(&image, View::Random { seed }).pixels;
            pixels[0] > pixels[27 * 3]
        };
        let count = (0..400).filter(|&seed| mirrored(seed)).count();
        assert!((160..240).contains(&count), "{count}");
    }

    #[test]
    fn random_parts_have_the_areas_and_shapes_of_random_resized_crop() {
        let mut rng = Rng::new(1);
        let (mut areas, mut upright) = (0.0, 0);
        for _ in 0..2000 {
            let part = random_part(&mut rng, 300, 300);
            assert!(part.left + part.width <= 300 && part.top + part.height <= 300);
            let area = (part.width * part.height) as f64 / 90_000.0;
            let ratio = part.width as f64 / part.height as f64;
            assert!((0.49..=1.0).contains(&area) && (0.74..1.35).contains(&ratio), "{area} {ratio}");
            areas += area / 2000.0;
            upright += usize::from(part.width < part.height);
        }
        // Parts that do not fit are drawn again, so the mean lies below that of 0.5 to 1.
        assert!((0.66..0.74).contains(&areas) && (850..1150).contains(&upright), "{areas} {upright}");
        let strip = random_part(&mut rng, 1000, 10);
        assert_eq!((strip.width, strip.height, strip.left), (13, 10, 493));
    }

    #[test]
    fn what_is_seen_is_where_the_crop_lies() {
        let p = preprocess();
        // 64 x 32 stays so: 28 of 64 columns from 18 on, 28 of 32 rows from 2 on.
        assert_eq!(p.seen(64, 32), [18.0 / 64.0, 2.0 / 32.0, 28.0 / 64.0, 28.0 / 32.0]);
        assert_eq!(p.seen(640, 320), p.seen(64, 32));
        let padded = Preprocess { crop: 40, ..p };
        assert_eq!(padded.seen(32, 32), [-4.0 / 32.0, -4.0 / 32.0, 40.0 / 32.0, 40.0 / 32.0]);
    }

    #[test]
    fn a_style_redraws_the_view_it_is_of() {
        let gray = Preprocess { style: Some(Style::Gray), ..preprocess() };
        for view in [View::Center, View::Random { seed: 3 }] {
            let (plain, found) =
                (preprocess().pixels(&noise(50, 40), view), gray.pixels(&noise(50, 40), view));
            let luminance = plain.pixels.chunks_exact(3).map(|p| {
                (299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]) + 500) / 1000
            });
            assert!(found.pixels.chunks_exact(3).zip(luminance).all(|(p, l)| p == [l as u8; 3]));
        }
    }

    #[test]
    fn the_crop_is_rounded_as_python_rounds() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(|spare| center_crop(10 + spare, 10).0), [0, 0, 1, 2, 2, 2, 4]);
        assert_eq!(center_crop(7, 10), (0, 1));
    }

    #[test]
    fn the_series_is_the_power() {
        for i in -10..=10 {
            let x = f64::from(i) / 10.0;
            assert!((power_of_four_thirds(x) - (4.0f64 / 3.0).powf(x)).abs() < 1e-15);
        }
    }

    #[test]
    fn sizes_of_one_pixel_and_extreme_shapes_are_no_trouble() {
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 2)] {
            for view in [View::Center, View::Random { seed: 1 }] {
                let mut out = vec![0.0; preprocess().values()];
                preprocess().apply(&noise(width, height), view, &mut out);
                assert!(out.iter().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn values_out_of_range_and_unknown_fields_are_refused_in_words() {
        let message = |p: Preprocess| p.check().unwrap_err().to_string();
        assert!(preprocess().check().is_ok());
        assert_eq!(
            message(Preprocess { resize: 0, ..preprocess() }),
            "preprocessing: resize must be 1 to 8192 pixels, not 0"
        );
        assert_eq!(
            message(Preprocess { std: [0.2, 0.0, 0.2], ..preprocess() }),
            "preprocessing: std must be finite and above 0, not 0"
        );
        assert_eq!(
            message(Preprocess { mean: [f32::NAN, 0.0, 0.0], ..preprocess() }),
            "preprocessing: mean must be finite, not NaN"
        );
        let json = serde_json::to_string(&preprocess()).unwrap();
        assert!(json.contains("\"interpolation\":\"bicubic\""), "{json}");
        for later in ["decode", "style"] {
            assert!(!json.contains(later), "model files from before the field read as they did: {json}");
        }
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess());
        let scaled = Preprocess { decode: Decode::Scaled, ..preprocess() };
        let json_scaled = serde_json::to_string(&scaled).unwrap();
        assert!(json_scaled.contains("\"decode\":\"scaled\""), "{json_scaled}");
        assert_eq!(serde_json::from_str::<Preprocess>(&json_scaled).unwrap(), scaled);
        let edges = Preprocess { style: Some(Style::FineEdges), ..preprocess() };
        let json_edges = serde_json::to_string(&edges).unwrap();
        assert!(json_edges.contains("\"style\":\"fine-edges\""), "{json_edges}");
        assert_eq!(serde_json::from_str::<Preprocess>(&json_edges).unwrap(), edges);
        let unknown = json.replace("\"crop\"", "\"crops\"");
        let error = serde_json::from_str::<Preprocess>(&unknown).unwrap_err().to_string();
        assert!(error.contains("unknown field `crops`"), "{error}");
    }
}
