//! The one network to take, and why.

use super::RankedNetwork;
use serde::Serialize;

/// The network to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// `arch.tag`.
    pub backbone: String,
    /// Those that these images do not tell from the most accurate one, itself included: their accuracy is within its
    /// interval.
    pub tied: Vec<String>,
    /// The reason, in a sentence.
    pub why: String,
}

impl Recommendation {
    /// Of networks of which the first is the most accurate: of those within its interval the fastest.
    ///
    /// # Panics
    /// Where there is none.
    pub(crate) fn of(networks: &[RankedNetwork]) -> Recommendation {
        let best = &networks[0];
        let tied: Vec<&RankedNetwork> =
            networks.iter().filter(|n| n.accuracy >= best.accuracy_ci95[0]).collect();
        let taken = tied.iter().copied().fold(best, |fastest, n| {
            if n.images_per_second > fastest.images_per_second { n } else { fastest }
        });
        let share = |n: &RankedNetwork| format!("{:.1} %", 100.0 * n.accuracy);
        let low = format!("{:.1} %", 100.0 * best.accuracy_ci95[0]);
        let (name, speed) = (&taken.backbone, taken.images_per_second);
        let why = if networks.len() == 1 {
            format!("{name} is the only one that was ranked: {}", share(taken))
        } else if tied.len() == 1 {
            format!(
                "{name} is the most accurate, {}, and no other reaches its interval, which begins at {low}",
                share(taken)
            )
        } else if taken == best {
            format!(
                "{name} is the most accurate, {}, and the fastest of the {} within its interval, which begins at {low}: {speed:.0} images/s",
                share(taken),
                tied.len()
            )
        } else {
            format!(
                "{name}, {}, is within the interval of the most accurate, {} ({}), which begins at {low}, and of the {} there the fastest: {speed:.0} images/s against {:.0}",
                share(taken),
                best.backbone,
                share(best),
                tied.len(),
                best.images_per_second
            )
        };
        let tied = tied.into_iter().map(|n| n.backbone.clone()).collect();
        Recommendation { backbone: name.clone(), tied, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, accuracy: f64, images_per_second: f64) -> RankedNetwork {
        RankedNetwork {
            backbone: name.to_owned(),
            accuracy,
            accuracy_ci95: [accuracy - 0.02, accuracy + 0.01],
            logme: 0.0,
            images_per_second,
            parameters: 1,
            width: 1,
            pixels: 1,
            computed: 0,
        }
    }

    #[test]
    fn of_those_that_cannot_be_told_apart_the_fastest_is_taken() {
        let networks =
            [network("slow", 0.95, 10.0), network("fast", 0.94, 90.0), network("poor", 0.90, 500.0)];
        let choice = Recommendation::of(&networks);
        assert_eq!((choice.backbone.as_str(), choice.tied.len()), ("fast", 2));
        assert!(choice.why.contains("90 images/s against 10"), "{}", choice.why);
        let choice = Recommendation::of(&[networks[0].clone(), networks[2].clone()]);
        assert_eq!((choice.backbone.as_str(), choice.tied.len()), ("slow", 1));
        assert!(choice.why.contains("no other reaches"), "{}", choice.why);
        assert_eq!(Recommendation::of(&networks[2..]).tied, ["poor"]);
        assert_eq!(Recommendation::of(&[network("both", 0.95, 99.0), networks[1].clone()]).backbone, "both");
    }
}
