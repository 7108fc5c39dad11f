//! The preprocessing a network was trained with: resize, crop, scale, normalise. Equal to torchvision on Pillow.

use serde::{Deserialize, Serialize};

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
        let _ = (image, view);
        RgbImage { width: self.crop, height: self.crop, pixels: vec![0; self.values()] }
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
