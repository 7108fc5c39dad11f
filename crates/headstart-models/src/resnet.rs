//! ResNet (He et al. 2016), ResNeXt (Xie et al. 2017) and wide ResNet (Zagoruyko and Komodakis 2016) as torchvision has them:
//! the stride of a bottleneck sits in its 3x3 convolution.

use headstart_graph::{Activation, Graph, GraphBuilder, GraphError, NodeId, Op, Padding};

/// The two kinds of residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1, the last with four times the channels; the first two have theirs `widened` times, and that in the
    /// middle has them in `groups`.
    Bottleneck { widened: usize, groups: usize },
}

/// That of ResNet itself.
pub(crate) const BOTTLENECK: Block = Block::Bottleneck { widened: 1, groups: 1 };

const EPS: f64 = 1e-5;

/// The network for inputs `[h, w, 3]`; stages `stem`, `layer1` to `layer4`, `pool`, `fc`.
pub(crate) fn build(
    input: [usize; 3],
    block: Block,
    depths: [usize; 4],
    classes: usize,
) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    b.stage("stem");
    let x = b.conv("conv1", b.input(), 64, (7, 2), Padding::Symmetric([3, 3]))?;
    let x = b.batch_norm("bn1", x, EPS)?;
    let x = b.activation("relu", x, Activation::Relu)?;
    let mut x = b.max_pool("maxpool", x, 3, 2, 1)?;
    for (i, depth) in depths.into_iter().enumerate() {
        let stage = format!("layer{}", i + 1);
        b.stage(&stage);
        for j in 0..depth {
            let stride = if i > 0 && j == 0 { 2 } else { 1 };
            x = residual(&mut b, &format!("{stage}.{j}"), x, block, 64 << i, stride)?;
        }
    }
    b.stage("pool");
    let x = b.add("avgpool", Op::GlobalAvgPool, &[x])?;
    b.stage("fc");
    b.linear("fc", x, classes)?;
    Ok(b.finish())
}

fn residual(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    block: Block,
    width: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    // Channels out, kernel, stride and groups.
    let (convs, channels): (&[(usize, usize, usize, usize)], usize) = match block {
        Block::Basic => (&[(width, 3, stride, 1), (width, 3, 1, 1)], width),
        Block::Bottleneck { widened, groups } => {
            let inner = widened * width;
            (&[(inner, 1, 1, 1), (inner, 3, stride, groups), (4 * width, 1, 1, 1)], 4 * width)
        }
    };
    let mut y = x;
    for (i, &(out, kernel, stride, groups)) in convs.iter().enumerate() {
        let n = i + 1;
        let padding = Padding::Symmetric([kernel / 2; 2]);
        y = b.grouped_conv(&format!("{name}.conv{n}"), y, out, (kernel, stride), padding, groups)?;
        y = b.batch_norm(&format!("{name}.bn{n}"), y, EPS)?;
        if n < convs.len() {
            y = b.activation(&format!("{name}.relu{n}"), y, Activation::Relu)?;
        }
    }
    let mut shortcut = x;
    if stride > 1 || b.channels(x) != channels {
        let padding = Padding::Symmetric([0, 0]);
        shortcut = b.conv(&format!("{name}.downsample.0"), x, channels, (1, stride), padding)?;
        shortcut = b.batch_norm(&format!("{name}.downsample.1"), shortcut, EPS)?;
    }
    let y = b.add(&format!("{name}.add"), Op::Add, &[y, shortcut])?;
    b.activation(&format!("{name}.relu{}", convs.len()), y, Activation::Relu)
}
