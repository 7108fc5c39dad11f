//! VGG (Simonyan and Zisserman 2015) as torchvision has it, with and without batch norm: 3x3 convolutions with bias in five
//! blocks, 7x7 pooled features, and three linear layers.

use headstart_graph::{
    Activation, AdaptiveAvgPool, Conv2d, Graph, GraphBuilder, GraphError, NodeId, Op, Padding,
};

/// Channels of the blocks.
const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

const EPS: f64 = 1e-5;

/// The network for inputs `[h, w, 3]`, with `convs` convolutions in each block; stages `block1` to `block5`, `pool`,
/// `classifier`.
pub(crate) fn build(
    input: [usize; 3],
    convs: [usize; 5],
    batch_norm: bool,
    classes: usize,
) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    let mut x = b.input();
    // torchvision numbers the layers of all blocks in one go.
    let mut layer = 0;
    let mut name = || {
        layer += 1;
        format!("features.{}", layer - 1)
    };
    for (i, (channels, convs)) in CHANNELS.into_iter().zip(convs).enumerate() {
        b.stage(&format!("block{}", i + 1));
        for _ in 0..convs {
            x = conv(&mut b, &name(), x, channels)?;
            if batch_norm {
                x = b.batch_norm(&name(), x, EPS)?;
            }
            x = b.activation(&name(), x, Activation::Relu)?;
        }
        x = b.max_pool(&name(), x, 2, 2, 0)?;
    }
    b.stage("pool");
    let x = b.add("avgpool", Op::AdaptiveAvgPool(AdaptiveAvgPool { output: [7, 7] }), &[x])?;
    let mut x = b.add("flatten", Op::Flatten, &[x])?;
    b.stage("classifier");
    for (linear, act) in [("classifier.0", "classifier.1"), ("classifier.3", "classifier.4")] {
        x = b.linear(linear, x, 4096)?;
        x = b.activation(act, x, Activation::Relu)?;
    }
    b.linear("classifier.6", x, classes)?;
    Ok(b.finish())
}

fn conv(b: &mut GraphBuilder, name: &str, x: NodeId, out_channels: usize) -> Result<NodeId, GraphError> {
    let conv = Conv2d {
        in_channels: b.channels(x),
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::Symmetric([1, 1]),
        groups: 1,
        bias: true,
    };
    b.add(name, Op::Conv2d(conv), &[x])
}
