//! DenseNet (Huang et al. 2017) as torchvision has it: norm and activation before each convolution, and every layer reads what
//! all layers of its block before it gave.

use headstart_graph::{Activation, AvgPool2d, Graph, GraphBuilder, GraphError, NodeId, Op, Padding};

/// Channels that a layer adds, and those of the bottleneck before.
const GROWTH: usize = 32;
const BOTTLENECK: usize = 4 * GROWTH;

const EPS: f64 = 1e-5;

/// The network for inputs `[h, w, 3]`, with `layers` a block; stages `stem`, `denseblock1`, `transition1`, .. `denseblock4`,
/// `norm5`, `pool`, `classifier`.
pub(crate) fn build(input: [usize; 3], layers: [usize; 4], classes: usize) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new(input);
    b.stage("stem");
    let x = b.conv("features.conv0", b.input(), 64, (7, 2), Padding::Symmetric([3, 3]))?;
    let x = b.batch_norm("features.norm0", x, EPS)?;
    let x = b.activation("features.relu0", x, Activation::Relu)?;
    let mut x = b.max_pool("features.pool0", x, 3, 2, 1)?;
    for (i, layers) in layers.into_iter().enumerate() {
        let stage = format!("denseblock{}", i + 1);
        b.stage(&stage);
        for j in 1..=layers {
            let name = format!("features.{stage}.denselayer{j}");
            let part = |part: &str| format!("{name}.{part}");
            let y = norm_relu(&mut b, &part("norm1"), &part("relu1"), x)?;
            let y = b.conv(&part("conv1"), y, BOTTLENECK, (1, 1), Padding::Symmetric([0, 0]))?;
            let y = norm_relu(&mut b, &part("norm2"), &part("relu2"), y)?;
            let y = b.conv(&part("conv2"), y, GROWTH, (3, 1), Padding::Symmetric([1, 1]))?;
            x = b.add(&part("concat"), Op::Concat, &[x, y])?;
        }
        if i + 1 < 4 {
            let stage = format!("transition{}", i + 1);
            b.stage(&stage);
            let part = |part: &str| format!("features.{stage}.{part}");
            let half = b.channels(x) / 2;
            x = norm_relu(&mut b, &part("norm"), &part("relu"), x)?;
            x = b.conv(&part("conv"), x, half, (1, 1), Padding::Symmetric([0, 0]))?;
            x = b.add(&part("pool"), Op::AvgPool2d(AvgPool2d { kernel: [2, 2], stride: [2, 2] }), &[x])?;
        }
    }
    b.stage("norm5");
    let x = norm_relu(&mut b, "features.norm5", "relu", x)?;
    b.stage("pool");
    let x = b.add("avgpool", Op::GlobalAvgPool, &[x])?;
    b.stage("classifier");
    b.linear("classifier", x, classes)?;
    Ok(b.finish())
}

fn norm_relu(b: &mut GraphBuilder, norm: &str, relu: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let x = b.batch_norm(norm, x, EPS)?;
    b.activation(relu, x, Activation::Relu)
}
