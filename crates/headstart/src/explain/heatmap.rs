//! A map of heat over an image: a few values, read anywhere by bilinear interpolation.

use serde::Serialize;

/// Heat at the centres of the cells of a grid, `[height, width]`: 0 to 1, the hottest 1. All 0 where there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heatmap {
    /// Rows.
    pub height: usize,
    /// Cells in a row.
    pub width: usize,
    /// Row by row.
    pub values: Vec<f32>,
}

impl Heatmap {
    /// Of values 0 and above, `[height, width]`, divided by the largest.
    pub(super) fn new(height: usize, width: usize, mut values: Vec<f32>) -> Heatmap {
        let most = values.iter().copied().fold(0.0f32, f32::max);
        if most > 0.0 && most.is_finite() {
            values.iter_mut().for_each(|v| *v /= most);
        } else {
            values.fill(0.0);
        }
        Heatmap { height, width, values }
    }

    /// The heat at a place of the image that the map covers, both coordinates 0 to 1 from its upper left corner:
    /// bilinear between the centres of the cells, as PyTorch's `interpolate(align_corners=False)`.
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let between = |share: f64, cells: usize| {
            let place = (share * cells as f64 - 0.5).clamp(0.0, cells as f64 - 1.0);
            let first = place as usize;
            (first, (first + 1).min(cells - 1), place - first as f64)
        };
        if self.values.is_empty() {
            return 0.0;
        }
        let ((left, right, u), (top, bottom, v)) = (between(x, self.width), between(y, self.height));
        let value = |row: usize, column: usize| f64::from(self.values[row * self.width + column]);
        let row = |row: usize| value(row, left) * (1.0 - u) + value(row, right) * u;
        row(top) * (1.0 - v) + row(bottom) * v
    }

    /// The map in another size, `[height, width]`, each value read at the centre of its cell.
    pub fn upsampled(&self, height: usize, width: usize) -> Vec<f32> {
        let centre = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
        let cell = |i: usize| self.at(centre(i % width, width), centre(i / width, height)) as f32;
        (0..height * width).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Heatmap;

    #[test]
    fn between_the_centres_it_is_linear_and_beyond_them_flat() {
        // torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 4.]]]]) / 4, size=(2, 4), mode="bilinear")
        let map = Heatmap::new(2, 2, vec![0.0, 1.0, 2.0, 4.0]);
        let expected = [0.0, 0.0625, 0.1875, 0.25, 0.5, 0.625, 0.875, 1.0];
        assert_eq!(map.upsampled(2, 4), expected);
        assert_eq!((map.at(0.0, 0.0), map.at(1.0, 1.0), map.at(-3.0, 9.0)), (0.0, 1.0, 0.5));
    }

    #[test]
    fn without_any_heat_all_is_zero() {
        assert_eq!(Heatmap::new(1, 2, vec![0.0, 0.0]).values, [0.0, 0.0]);
        assert_eq!(Heatmap::new(1, 1, vec![f32::INFINITY]).values, [0.0]);
    }
}
