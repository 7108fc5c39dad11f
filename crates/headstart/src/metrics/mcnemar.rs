//! Whether two classifiers that answered the same images differ: a paired test.

use serde::Serialize;

use super::accuracy::Z;

/// Two classifiers on the same images, by what only one of them gets right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Images that only the first gets right.
    pub only_first: usize,
    /// Images that only the second gets right.
    pub only_second: usize,
    /// The second's accuracy minus the first's, -1 to 1.
    pub difference: f64,
    /// Its 95 % interval for paired images: A. Agresti, Y. Min 2005, "Simple improved confidence intervals for comparing
    /// matched proportions" (Statistics in Medicine 24): Wald's, after half an image was added to each of the four kinds.
    pub difference_ci95: [f64; 2],
    /// The chance of so uneven a split of the images that only one gets right, or a more uneven one, where both are as
    /// good: McNemar's test in its exact form (binomial, two-sided), which needs no correction for few images.
    pub p: f64,
}

impl McNemar {
    /// Of `n` images (1 or more), of which `only_first` and `only_second` are right by one of both alone.
    pub fn of(only_first: usize, only_second: usize, n: usize) -> McNemar {
        let (first, second, images) = (only_first as f64, only_second as f64, n as f64);
        let share = |count: f64| (count + 0.5) / (images + 2.0);
        let (a, b) = (share(first), share(second));
        let reach = Z * ((a + b - (b - a) * (b - a)) / (images + 2.0)).sqrt();
        McNemar {
            only_first,
            only_second,
            difference: (second - first) / images,
            difference_ci95: [(b - a - reach).max(-1.0), (b - a + reach).min(1.0)],
            p: two_sided(only_first.min(only_second), only_first + only_second),
        }
    }
}

/// `min(1, 2 P(X <= k))` of a fair coin thrown `n` times, `k` at most half of it.
fn two_sided(k: usize, n: usize) -> f64 {
    if 2 * k >= n {
        return 1.0;
    }
    // From the largest term down, in logarithms: 0.5^n alone would vanish.
    let largest: f64 = (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum::<f64>()
        - n as f64 * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
    }
    (2.0 * largest.exp() * sum).min(1.0)
}

/// S. Holm's correction of several tests' `p` (1979, "A simple sequentially rejective multiple test procedure"), in their
/// order: at 0.05, the chance that one of all is wrongly called real is at most 0.05.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        least = least.max(((p.len() - rank) as f64 * p[i]).min(1.0));
        corrected[i] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_is_scipys_exact_binomial() {
        // scipy.stats.binomtest(b, b + c, 0.5).pvalue
        for (b, c, p) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (0, 6, 3.125e-2),
            (3, 12, 3.515_625e-2),
            (8, 20, 3.569813817739487e-02),
            (40, 60, 5.688793364098089e-02),
            (300, 380, 2.424868707699884e-03),
            (1500, 1100, 4.495802559500893e-15),
            (0, 2000, 0.000000000000000e+00),
        ] {
            let found = McNemar::of(b, c, 5000).p;
            assert!((found - p).abs() <= 1e-9 * p.max(1e-6), "{b} {c}: {found:e} {p:e}");
            assert_eq!(found, McNemar::of(c, b, 5000).p);
        }
    }

    #[test]
    fn the_interval_of_the_difference_is_agrestis_and_mins() {
        // p12 = 8.5/102, p21 = 20.5/102: (p21 - p12) -+ 1.959964 sqrt((p12 + p21 - (p21 - p12)^2) / 102)
        let found = McNemar::of(8, 20, 100);
        assert!((found.difference - 0.12).abs() < 1e-12);
        for (f, e) in found.difference_ci95.iter().zip([0.016719474203, 0.218574643444]) {
            assert!((f - e).abs() < 1e-9, "{found:?}");
        }
        let same = McNemar::of(0, 0, 10);
        assert!(same.p == 1.0 && same.difference_ci95[0] < 0.0 && same.difference_ci95[1] > 0.0);
    }

    #[test]
    fn holms_correction_is_stricter_the_smaller_the_value() {
        // statsmodels multipletests([0.01, 0.04, 0.03, 0.005], method="holm")
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (f, e) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((f - e).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
    }
}
