//! Heat laid over a picture, in colours whose brightness grows evenly.

use super::Heatmap;
use headstart_data::RgbImage;

/// matplotlib's `inferno` at nine even steps: brightness grows evenly, for the colour-blind and in grey too.
const INFERNO: [[f64; 3]; 9] = [
    [0.0, 0.0, 4.0],
    [31.0, 12.0, 72.0],
    [85.0, 15.0, 109.0],
    [136.0, 34.0, 106.0],
    [186.0, 54.0, 85.0],
    [227.0, 89.0, 51.0],
    [249.0, 140.0, 10.0],
    [249.0, 201.0, 50.0],
    [252.0, 255.0, 164.0],
];

/// How much of the colour covers the picture where heat is 1.
const COVER: f64 = 0.72;
/// How bright what the network did not see stays.
const UNSEEN: f64 = 0.45;

/// `seen`: left, top, width and height of what `heat` covers, as shares of the image's sides.
pub(super) fn over(image: &RgbImage, heat: &Heatmap, seen: [f64; 4]) -> RgbImage {
    let [left, top, wide, high] = seen;
    let mut pixels = image.pixels.clone();
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let share = |at: usize, size: usize| (at as f64 + 0.5) / size as f64;
        let x = (share(i % image.width, image.width) - left) / wide;
        let y = (share(i / image.width, image.height) - top) / high;
        let [r, g, b] = pixel.map(f64::from);
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        let blended = if (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) {
            let heat = heat.at(x, y);
            let (cover, colour) = (COVER * heat, colour(heat));
            // Half grey below, so that the colours of the picture are not taken for heat.
            std::array::from_fn(|c| {
                let below = 0.5 * (f64::from(pixel[c]) + grey);
                below * (1.0 - cover) + colour[c] * cover
            })
        } else {
            [grey * UNSEEN; 3]
        };
        *pixel = blended.map(|v: f64| v.round().clamp(0.0, 255.0) as u8);
    }
    RgbImage { width: image.width, height: image.height, pixels }
}

/// The colour of `heat`, 0 to 1.
fn colour(heat: f64) -> [f64; 3] {
    let place = heat.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f64;
    let first = (place as usize).min(INFERNO.len() - 2);
    let part = place - first as f64;
    std::array::from_fn(|c| INFERNO[first][c] * (1.0 - part) + INFERNO[first + 1][c] * part)
}

#[cfg(test)]
mod tests {
    use super::{colour, over};
    use crate::explain::Heatmap;
    use headstart_data::RgbImage;

    #[test]
    fn brightness_grows_with_heat() {
        let light = |heat: f64| {
            let [r, g, b] = colour(heat);
            0.299 * r + 0.587 * g + 0.114 * b
        };
        assert!((1..=32).all(|i| light(f64::from(i) / 32.0) > light(f64::from(i - 1) / 32.0)));
    }

    #[test]
    fn heat_lies_where_the_crop_lay_and_what_was_not_seen_is_grey() {
        let image = RgbImage { width: 40, height: 20, pixels: [200, 100, 50].repeat(800) };
        // The right half of the middle square is hot.
        let heat = Heatmap::new(1, 2, vec![0.0, 1.0]);
        let found = over(&image, &heat, [0.25, 0.0, 0.5, 1.0]);
        let pixel = |x: usize| <[u8; 3]>::try_from(&found.pixels[(10 * 40 + x) * 3..][..3]).unwrap();
        assert_eq!((found.width, found.height), (40, 20));
        let [r, g, b] = pixel(5);
        assert!(r == g && g == b && r < 100, "outside of the crop");
        let [r, g, b] = pixel(11);
        assert!(r > g && g > b, "the picture itself, paler");
        assert!(pixel(28).iter().map(|&v| u32::from(v)).sum::<u32>() > 500, "hot is bright: {:?}", pixel(28));
    }
}
