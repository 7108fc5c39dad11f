//! Pixels to PNG and JPEG, and to fewer pixels: what is shown to people, never what a network is fed.

use std::io::Cursor;

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use libjpeg_turbo_rs::{Encoder, PixelFormat};

use super::{ImageError, RgbImage};
use crate::Interpolation;
use crate::transform::resized;

impl RgbImage {
    /// The image as a PNG file.
    ///
    /// # Errors
    ///
    /// [`ImageError::Corrupt`] where the pixels do not fill the size, or there are none.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        self.check("PNG")?;
        let mut out = Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        let encoder = PngEncoder::new(&mut out);
        let written = encoder.write_image(&self.pixels, width, height, ExtendedColorType::Rgb8);
        written.map_err(|e| ImageError::Corrupt { format: "PNG", detail: e.to_string() })?;
        Ok(out.into_inner())
    }

    /// The image as a JPEG file of `quality` 1 to 100, colours at half the resolution.
    ///
    /// # Errors
    ///
    /// As [`RgbImage::to_png`]; also for a side above 65,535 pixels.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, ImageError> {
        self.check("JPEG")?;
        let encoder = Encoder::new(&self.pixels, self.width, self.height, PixelFormat::Rgb);
        let written = encoder.quality(quality.clamp(1, 100)).optimize_huffman(true).encode();
        written.map_err(|e| ImageError::Corrupt { format: "JPEG", detail: e.to_string() })
    }

    /// The image with at most `side` pixels on its longer side, in its proportions: itself where it is no larger.
    pub fn thumbnail(&self, side: usize) -> RgbImage {
        let longer = self.width.max(self.height);
        if longer <= side || side == 0 {
            return self.clone();
        }
        let scaled = |size: usize| ((size * side + longer / 2) / longer).max(1);
        resized(self, scaled(self.width), scaled(self.height), Interpolation::Bilinear)
    }

    fn check(&self, format: &'static str) -> Result<(), ImageError> {
        let values = self.width.checked_mul(self.height).and_then(|n| n.checked_mul(3));
        if self.pixels.is_empty() || values != Some(self.pixels.len()) {
            let detail = format!("{} values for {} x {} pixels", self.pixels.len(), self.width, self.height);
            return Err(ImageError::Corrupt { format, detail });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{RgbImage, image::decode};

    fn gradient(width: usize, height: usize) -> RgbImage {
        let pixel = |i: usize| [(i % width * 255 / width) as u8, (i / width * 255 / height) as u8, 90];
        RgbImage { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
    }

    #[test]
    fn a_png_comes_back_and_a_jpeg_nearly_so_at_every_size() {
        for (width, height) in [(1, 1), (17, 5), (16, 16), (33, 64), (96, 71)] {
            let image = gradient(width, height);
            assert_eq!(decode(&image.to_png().unwrap()).unwrap(), image);
            let back = decode(&image.to_jpeg(95).unwrap()).unwrap();
            assert_eq!((back.width, back.height), (width, height));
            let apart = image.pixels.iter().zip(&back.pixels).map(|(a, b)| u64::from(a.abs_diff(*b)));
            let mean = apart.sum::<u64>() as f64 / image.pixels.len() as f64;
            // Colours are kept at half the size.
            assert!(mean < 8.0, "{width} x {height}: {mean}");
        }
        assert_eq!(gradient(40, 40).to_jpeg(80).unwrap(), gradient(40, 40).to_jpeg(80).unwrap());
    }

    #[test]
    fn a_thumbnail_keeps_the_proportions_and_never_grows() {
        let size = |w, h, side| {
            let small = gradient(w, h).thumbnail(side);
            (small.width, small.height, small.pixels.len() == small.width * small.height * 3)
        };
        assert_eq!(size(640, 480, 96), (96, 72, true));
        assert_eq!(size(480, 640, 96), (72, 96, true));
        assert_eq!(size(32, 20, 96), (32, 20, true));
        assert_eq!(size(2000, 3, 96), (96, 1, true));
        let small = gradient(640, 480).thumbnail(96);
        assert!(small.pixels[0] < 4 && small.pixels[95 * 3] > 250, "it is the whole picture");
    }

    #[test]
    fn pixels_that_do_not_fill_the_size_are_refused() {
        let wrong = RgbImage { width: 2, height: 2, pixels: vec![0; 9] };
        let error = wrong.to_png().unwrap_err();
        assert_eq!(error.to_string(), "the PNG image is damaged: 9 values for 2 x 2 pixels");
        assert!(RgbImage { width: 0, height: 0, pixels: Vec::new() }.to_jpeg(80).is_err());
    }
}
