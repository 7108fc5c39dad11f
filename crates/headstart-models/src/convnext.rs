//! ConvNeXt (Liu et al. 2022) as torchvision has it: layer norm over the channels, a depthwise 7x7 convolution and two linear
//! layers a block, whose output has a factor for each channel.

use headstart_graph::{Conv2d, Graph, GraphBuilder, GraphError, LayerScale, NodeId, Op, Padding, Smooth};

/// Channels of the four groups of blocks.
const CHANNELS: [usize; 4] = [96, 192, 384, 768];

const EPS: f64 = 1e-6;

/// The network for inputs `[h, w, 3]`, with `depths` blocks a group; stages `features.0` to `features.7`, of which the even ones
/// shrink the image and the odd ones hold blocks, `pool`, `classifier`.
pub(crate) fn build(input: [usize; 3], depths: [usize; 4], classes: usize) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    let mut x = b.input();
    for (i, (channels, depth)) in CHANNELS.into_iter().zip(depths).enumerate() {
        let stage = format!("features.{}", 2 * i);
        b.stage(&stage);
        let part = |part: usize| format!("{stage}.{part}");
        // The first has its norm behind the convolution, the others before it.
        if i == 0 {
            x = conv(&mut b, &part(0), x, channels, (4, 4), false)?;
            x = b.layer_norm(&part(1), x, EPS)?;
        } else {
            x = b.layer_norm(&part(0), x, EPS)?;
            x = conv(&mut b, &part(1), x, channels, (2, 2), false)?;
        }
        let stage = format!("features.{}", 2 * i + 1);
        b.stage(&stage);
        for j in 0..depth {
            x = block(&mut b, &format!("{stage}.{j}"), x)?;
        }
    }
    b.stage("pool");
    let x = b.add("avgpool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    let x = b.layer_norm("classifier.0", x, EPS)?;
    b.linear("classifier.2", x, classes)?;
    Ok(b.finish())
}

fn block(b: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let part = |part: usize| format!("{name}.block.{part}");
    let channels = b.channels(x);
    let y = conv(b, &part(0), x, channels, (7, 1), true)?;
    let y = b.layer_norm(&part(2), y, EPS)?;
    let y = b.linear(&part(3), y, 4 * channels)?;
    let y = b.smooth(&part(4), y, Smooth::Gelu)?;
    let y = b.linear(&part(5), y, channels)?;
    let scale = LayerScale { features: channels, own_name: true };
    let y = b.add(&format!("{name}.layer_scale"), Op::LayerScale(scale), &[y])?;
    b.add(&format!("{name}.add"), Op::Add, &[y, x])
}

/// A convolution with bias, dense or depthwise; one of stride 1 keeps the image's size.
fn conv(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    out_channels: usize,
    (kernel, stride): (usize, usize),
    depthwise: bool,
) -> Result<NodeId, GraphError> {
    let conv = Conv2d {
        in_channels: b.channels(x),
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: Padding::Symmetric([if stride == 1 { kernel / 2 } else { 0 }; 2]),
        groups: if depthwise { out_channels } else { 1 },
        bias: true,
    };
    b.add(name, Op::Conv2d(conv), &[x])
}
