//! EfficientNet (Tan and Le 2019) as torchvision has it, B0 to B4: symmetric padding, SiLU, squeeze-and-excitation of a quarter of
//! a block's input channels, batch norm's eps 1e-5.

use crate::efficientnet::{STAGES, rounded};
use crate::inverted_residual::{Act, InvertedResidual, SqueezeExcite, block, conv};
use headstart_graph::{Graph, GraphBuilder, GraphError, Op, Smooth};

const EPS: f64 = 1e-5;

/// The network for inputs `[h, w, 3]`, channels times `width`, repeats times `depth`; stages `features.0` to `features.8`,
/// `pool`, `classifier`.
pub(crate) fn build(input: [usize; 3], width: f64, depth: f64, classes: usize) -> Result<Graph, GraphError> {
    let act = Act::Smooth(Smooth::Silu);
    let mut b = GraphBuilder::new(input);
    b.stage("features.0");
    let x = b.input();
    let mut x = conv(&mut b, "features.0", x, (rounded(32.0 * width), 3, 2, false), Some(act), EPS)?;
    for (i, (expansion, kernel, stride, channels, repeats)) in STAGES.into_iter().enumerate() {
        let stage = format!("features.{}", i + 1);
        b.stage(&stage);
        for j in 0..(repeats * depth).ceil() as usize {
            let inner = b.channels(x);
            let squeeze = SqueezeExcite { channels: (inner / 4).max(1), act, gate: Smooth::Sigmoid };
            let attributes = InvertedResidual {
                expanded: expansion * inner,
                kernel,
                stride: if j == 0 { stride } else { 1 },
                channels: rounded(channels * width),
                act,
                squeeze: Some(squeeze),
                eps: EPS,
            };
            x = block(&mut b, &format!("{stage}.{j}"), x, &attributes)?;
        }
    }
    b.stage("features.8");
    let channels = 4 * b.channels(x);
    let x = conv(&mut b, "features.8", x, (channels, 1, 1, false), Some(act), EPS)?;
    b.stage("pool");
    let x = b.add("avgpool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    b.linear("classifier.1", x, classes)?;
    Ok(b.finish())
}
