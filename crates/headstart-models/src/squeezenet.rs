//! SqueezeNet (Iandola et al. 2016) as torchvision has it: fire modules, whose few channels feed a 1x1 and a 3x3 convolution side
//! by side. The classifier is a convolution, whose map is averaged.

use headstart_graph::{Activation, Conv2d, Graph, GraphBuilder, GraphError, MaxPool2d, NodeId, Op, Padding};

/// The two releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    V1_0,
    V1_1,
}

/// Channels of the squeeze, and half of those that come out.
const FIRES: [(usize, usize); 8] =
    [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)];

/// The network for inputs `[h, w, 3]`; stages `features.0` to `features.12`, those of layers that have weights, `classifier`.
pub(crate) fn build(input: [usize; 3], release: Release, classes: usize) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    // How many fires stand before each later pooling.
    let ((channels, kernel), pools) = match release {
        Release::V1_0 => ((96, 7), [3, 7]),
        Release::V1_1 => ((64, 3), [2, 4]),
    };
    b.stage("features.0");
    let x = b.input();
    let x = conv_relu(&mut b, ["features.0", "features.1"], x, channels, (kernel, 2), 0)?;
    let mut x = pool(&mut b, "features.2", x)?;
    let mut layer = 3;
    for (i, (squeeze, expand)) in FIRES.into_iter().enumerate() {
        let name = format!("features.{layer}");
        b.stage(&name);
        x = fire(&mut b, &name, x, squeeze, expand)?;
        layer += 1;
        if pools.contains(&(i + 1)) {
            x = pool(&mut b, &format!("features.{layer}"), x)?;
            layer += 1;
        }
    }
    b.stage("classifier");
    let x = conv_relu(&mut b, ["classifier.1", "classifier.2"], x, classes, (1, 1), 0)?;
    b.add("classifier.3", Op::GlobalAvgPool, &[x])?;
    Ok(b.finish())
}

fn fire(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    squeeze: usize,
    expand: usize,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let x = conv_relu(b, [&part("squeeze"), &part("squeeze_activation")], x, squeeze, (1, 1), 0)?;
    let one = conv_relu(b, [&part("expand1x1"), &part("expand1x1_activation")], x, expand, (1, 1), 0)?;
    let three = conv_relu(b, [&part("expand3x3"), &part("expand3x3_activation")], x, expand, (3, 1), 1)?;
    b.add(&part("concat"), Op::Concat, &[one, three])
}

/// A convolution with bias, and ReLU.
fn conv_relu(
    b: &mut GraphBuilder,
    [conv, relu]: [&str; 2],
    x: NodeId,
    out_channels: usize,
    (kernel, stride): (usize, usize),
    padding: usize,
) -> Result<NodeId, GraphError> {
    let attributes = Conv2d {
        in_channels: b.channels(x),
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: Padding::Symmetric([padding; 2]),
        groups: 1,
        bias: true,
    };
    let x = b.add(conv, Op::Conv2d(attributes), &[x])?;
    b.activation(relu, x, Activation::Relu)
}

fn pool(b: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let pool = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [0, 0], ceil: true };
    b.add(name, Op::MaxPool2d(pool), &[x])
}
