//! MobileNetV2 1.0 (Sandler et al. 2018) as torchvision has it.

use headstart_graph::{Activation, Graph, GraphBuilder, GraphError, NodeId, Op, Padding};

/// Expansion, channels, repeats, stride of the first block (table 2 of the paper).
const BLOCKS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

const EPS: f64 = 1e-5;

/// The network for inputs `[h, w, 3]`; stages `features.0` to `features.18`, `pool`, `classifier`.
pub(crate) fn build(input: [usize; 3], classes: usize) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    b.stage("features.0");
    let input = b.input();
    let mut x = conv(&mut b, ["features.0.0", "features.0.1", "features.0.2"], input, 32, (3, 2))?;
    let mut i = 0;
    for (expansion, channels, repeats, stride) in BLOCKS {
        for repeat in 0..repeats {
            i += 1;
            let stage = format!("features.{i}");
            b.stage(&stage);
            let stride = if repeat == 0 { stride } else { 1 };
            x = inverted_residual(&mut b, &stage, x, expansion, channels, stride)?;
        }
    }
    b.stage("features.18");
    let x = conv(&mut b, ["features.18.0", "features.18.1", "features.18.2"], x, 1280, (1, 1))?;
    b.stage("pool");
    let x = b.add("pool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    b.linear("classifier.1", x, classes)?;
    Ok(b.finish())
}

/// Convolution, norm and ReLU6 under their three names.
fn conv(
    b: &mut GraphBuilder,
    [conv, norm, act]: [&str; 3],
    x: NodeId,
    out: usize,
    (kernel, stride): (usize, usize),
) -> Result<NodeId, GraphError> {
    let x = b.conv(conv, x, out, (kernel, stride), Padding::Symmetric([kernel / 2; 2]))?;
    let x = b.batch_norm(norm, x, EPS)?;
    b.activation(act, x, Activation::Relu6)
}

fn inverted_residual(
    b: &mut GraphBuilder,
    stage: &str,
    x: NodeId,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let name = |part: &str| format!("{stage}.conv.{part}");
    let mut y = x;
    let mut i = 0;
    if expansion > 1 {
        let out = expansion * b.channels(x);
        y = conv(b, [&name("0.0"), &name("0.1"), &name("0.2")], y, out, (1, 1))?;
        i += 1;
    }
    y = b.depthwise(&name(&format!("{i}.0")), y, (3, stride), Padding::Symmetric([1, 1]))?;
    y = b.batch_norm(&name(&format!("{i}.1")), y, EPS)?;
    y = b.activation(&name(&format!("{i}.2")), y, Activation::Relu6)?;
    y = b.conv(&name(&(i + 1).to_string()), y, channels, (1, 1), Padding::Symmetric([0, 0]))?;
    y = b.batch_norm(&name(&(i + 2).to_string()), y, EPS)?;
    if stride == 1 && b.channels(x) == channels {
        y = b.add(&format!("{stage}.add"), Op::Add, &[y, x])?;
    }
    Ok(y)
}
