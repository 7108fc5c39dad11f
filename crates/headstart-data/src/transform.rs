//! The preprocessing a network was trained with: resize, crop, scale, normalise. Equal to torchvision on Pillow.

mod augment;
mod resample;

pub use augment::Strength;
use headstart_tensor::Rng;
use serde::{Deserialize, Serialize};

use self::resample::Window;
use crate::{DataError, RgbImage};

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

    /// How many values [`Preprocess::apply`] writes: `crop * crop * 3`.
    pub fn values(&self) -> usize {
        self.crop * self.crop * 3
    }

    /// The pixels of `view`, `[crop, crop, 3]`, before scaling and normalisation.
    pub fn pixels(&self, image: &RgbImage, view: View) -> RgbImage {
        if image.width == 0 || image.height == 0 {
            return RgbImage { width: self.crop, height: self.crop, pixels: vec![0; self.values()] };
        }
        match view {
            View::Center => self.center(image),
            View::Random { seed } => self.random(image, &mut Rng::named(seed, "view")),
            View::Augmented { seed, strength } => {
                let mut rng = Rng::named(seed, "view");
                let mut view = self.random(image, &mut rng);
                strength.apply(&mut rng, &mut view);
                view
            }
        }
    }

    /// `Resize(resize)`, then `CenterCrop(crop)`.
    fn center(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = self.resized(image.width, image.height);
        let (left, pad_left) = center_crop(width, self.crop);
        let (top, pad_top) = center_crop(height, self.crop);
        let window = Window { left, top, width: self.crop.min(width), height: self.crop.min(height) };
        let inner = resample::resize(image, (width, height), self.interpolation, window);
        if (inner.width, inner.height) == (self.crop, self.crop) {
            return inner;
        }
        let mut pixels = vec![0; self.values()];
        for (row, line) in inner.pixels.chunks_exact(inner.width * 3).enumerate() {
            let start = ((pad_top + row) * self.crop + pad_left) * 3;
            pixels[start..start + line.len()].copy_from_slice(line);
        }
        RgbImage { width: self.crop, height: self.crop, pixels }
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
    fn random(&self, image: &RgbImage, rng: &mut Rng) -> RgbImage {
        let part = random_part(rng, image.width, image.height);
        let line = part.width * 3;
        let cut = RgbImage {
            width: part.width,
            height: part.height,
            pixels: (part.top..part.top + part.height)
                .flat_map(|row| {
                    let start = (row * image.width + part.left) * 3;
                    &image.pixels[start..start + line]
                })
                .copied()
                .collect(),
        };
        let whole = Window { left: 0, top: 0, width: self.crop, height: self.crop };
        let mut view = resample::resize(&cut, (self.crop, self.crop), self.interpolation, whole);
        if rng.uniform() < 0.5 {
            for row in view.pixels.chunks_exact_mut(self.crop * 3) {
                let (pixels, _) = row.as_chunks_mut::<3>();
                pixels.reverse();
            }
        }
        view
    }

    /// Writes the network's input for `view` into `out`, `[crop, crop, 3]`: `(pixel / 255 - mean) / std`.
    ///
    /// # Panics
    ///
    /// Where `out` is not [`Preprocess::values`] long.
    pub fn apply(&self, image: &RgbImage, view: View, out: &mut [f32]) {
        let pixels = self.pixels(image, view).pixels;
        assert_eq!(out.len(), pixels.len(), "the output of preprocessing has crop * crop * 3 values");
        for (out, pixel) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
            for c in 0..3 {
                out[c] = (f32::from(pixel[c]) / 255.0 - self.mean[c]) / self.std[c];
            }
        }
    }
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

    use super::{Interpolation, Preprocess, View, center_crop, power_of_four_thirds, random_part};
    use crate::RgbImage;

    fn preprocess() -> Preprocess {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        Preprocess { resize: 32, crop: 28, interpolation: Interpolation::Bicubic, mean, std }
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
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess());
        let unknown = json.replace("\"crop\"", "\"crops\"");
        let error = serde_json::from_str::<Preprocess>(&unknown).unwrap_err().to_string();
        assert!(error.contains("unknown field `crops`"), "{error}");
    }
}
