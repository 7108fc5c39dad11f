//! MobileNetV3 (Howard et al. 2019) as torchvision has it: batch norm's eps is 1e-3, and squeeze-and-excitation's factors are
//! hard sigmoids.

use crate::efficientnet::rounded;
use crate::inverted_residual::{Act, InvertedResidual, SqueezeExcite, block, conv};
use headstart_graph::{Graph, GraphBuilder, GraphError, Op, Smooth};

/// The two sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

/// Kernel, expanded channels, channels, squeeze-and-excitation, hard-swish (else ReLU), stride.
type Row = (usize, usize, usize, bool, bool, usize);

/// Table 2 of the paper.
const SMALL: [Row; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

/// Table 1 of the paper.
const LARGE: [Row; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

const EPS: f64 = 1e-3;

/// The network for inputs `[h, w, 3]`; stages `features.0` to `features.12` (small) or `features.16`, `pool`, `classifier`.
pub(crate) fn build(input: [usize; 3], size: Size, classes: usize) -> Result<Graph, GraphError> {
    let (rows, wide): (&[Row], usize) = match size {
        Size::Small => (&SMALL, 1024),
        Size::Large => (&LARGE, 1280),
    };
    let swish = Act::Smooth(Smooth::HardSwish);
    let mut b = GraphBuilder::new(input);
    b.stage("features.0");
    let x = b.input();
    let mut x = conv(&mut b, "features.0", x, (16, 3, 2, false), Some(swish), EPS)?;
    for (i, &(kernel, expanded, channels, squeezes, swishes, stride)) in rows.iter().enumerate() {
        let stage = format!("features.{}", i + 1);
        b.stage(&stage);
        let act = if swishes { swish } else { Act::Relu };
        let squeeze = SqueezeExcite {
            channels: rounded((expanded / 4) as f64),
            act: Act::Relu,
            gate: Smooth::HardSigmoid,
        };
        let squeeze = squeezes.then_some(squeeze);
        let attributes = InvertedResidual { expanded, kernel, stride, channels, act, squeeze, eps: EPS };
        x = block(&mut b, &stage, x, &attributes)?;
    }
    let stage = format!("features.{}", rows.len() + 1);
    b.stage(&stage);
    let channels = 6 * b.channels(x);
    let x = conv(&mut b, &stage, x, (channels, 1, 1, false), Some(swish), EPS)?;
    b.stage("pool");
    let x = b.add("avgpool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    let x = b.linear("classifier.0", x, wide)?;
    let x = b.smooth("classifier.1", x, Smooth::HardSwish)?;
    b.linear("classifier.3", x, classes)?;
    Ok(b.finish())
}
