//! EfficientNet-Lite (Tan and Le 2019, without squeeze-excite, with ReLU6) under timm's `tf_` names:
//! TensorFlow's asymmetric SAME padding and its batch norm eps of 1e-3.

use headstart_graph::{Activation, Graph, GraphBuilder, GraphError, NodeId, Op, Padding};

/// Expansion, kernel, stride, channels, repeats of B0 and of Lite0.
pub(crate) const STAGES: [(usize, usize, usize, f64, f64); 7] = [
    (1, 3, 1, 16.0, 1.0),
    (6, 3, 2, 24.0, 2.0),
    (6, 5, 2, 40.0, 2.0),
    (6, 3, 2, 80.0, 3.0),
    (6, 5, 1, 112.0, 3.0),
    (6, 5, 2, 192.0, 4.0),
    (6, 3, 1, 320.0, 1.0),
];

const EPS: f64 = 1e-3;

/// The network for inputs `[h, w, 3]`, channels times `width`, repeats times `depth` (stem, head and the
/// repeats of the first and last stage stay); stages `stem`, `blocks.0` to `blocks.6`, `conv_head`, `pool`,
/// `classifier`.
pub(crate) fn build(input: [usize; 3], width: f64, depth: f64, classes: usize) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    b.stage("stem");
    let x = b.conv("conv_stem", b.input(), 32, (3, 2), Padding::Same)?;
    let mut x = norm_relu6(&mut b, "bn1", "act1", x)?;
    for (i, (expansion, kernel, stride, channels, repeats)) in STAGES.into_iter().enumerate() {
        let stage = format!("blocks.{i}");
        b.stage(&stage);
        let edge = i == 0 || i + 1 == STAGES.len();
        let repeats = if edge { repeats } else { (repeats * depth).ceil() } as usize;
        for j in 0..repeats {
            let stride = if j == 0 { stride } else { 1 };
            x = block(
                &mut b,
                &format!("{stage}.{j}"),
                x,
                expansion,
                (kernel, stride),
                rounded(channels * width),
            )?;
        }
    }
    b.stage("conv_head");
    let x = b.conv("conv_head", x, 1280, (1, 1), Padding::Same)?;
    let x = norm_relu6(&mut b, "bn2", "act2", x)?;
    b.stage("pool");
    let x = b.add("global_pool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    b.linear("classifier", x, classes)?;
    Ok(b.finish())
}

/// The nearest multiple of 8, but never less than nine tenths.
pub(crate) fn rounded(channels: f64) -> usize {
    let nearest = ((channels as usize + 4) / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

fn norm_relu6(b: &mut GraphBuilder, norm: &str, act: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let x = b.batch_norm(norm, x, EPS)?;
    b.activation(act, x, Activation::Relu6)
}

fn block(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    expansion: usize,
    (kernel, stride): (usize, usize),
    channels: usize,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    // Without an expansion timm calls the projection `conv_pw` and counts its norms from the depthwise one.
    let (mut y, mut n, project) = (x, 1, if expansion > 1 { "conv_pwl" } else { "conv_pw" });
    if expansion > 1 {
        y = b.conv(&part("conv_pw"), y, expansion * b.channels(x), (1, 1), Padding::Same)?;
        y = norm_relu6(b, &part("bn1"), &part("act1"), y)?;
        n = 2;
    }
    y = b.depthwise(&part("conv_dw"), y, (kernel, stride), Padding::Same)?;
    y = norm_relu6(b, &part(&format!("bn{n}")), &part(&format!("act{n}")), y)?;
    y = b.conv(&part(project), y, channels, (1, 1), Padding::Same)?;
    y = b.batch_norm(&part(&format!("bn{}", n + 1)), y, EPS)?;
    if stride == 1 && b.channels(x) == channels {
        y = b.add(&part("add"), Op::Add, &[y, x])?;
    }
    Ok(y)
}
