//! The vision transformer (Dosovitskiy et al. 2021), and DeiT (Touvron et al. 2021) without distillation, as timm has
//! them: patches of 16 pixels, a class token, blocks that normalise first.

use headstart_graph::{
    AddRows, ClassToken, Conv2d, Graph, GraphBuilder, GraphError, NodeId, Op, Padding, Pooled, Smooth,
    TokenPool,
};
use headstart_tensor::Shape;

/// Height and width of a patch.
const PATCH: usize = 16;

const BLOCKS: usize = 12;

/// Features of a head.
const HEAD: usize = 64;

const EPS: f64 = 1e-6;

/// The network for inputs `[h, w, 3]` whose sides are multiples of 16, with tokens of `width` features; stages `stem`,
/// `blocks.0` to `blocks.11`, `norm`, `pool`, `head`. There is a position embedding for each patch of this size.
pub(crate) fn build(input: [usize; 3], width: usize, classes: usize) -> Result<Graph, GraphError> {
    let [height, wide, _] = input;
    if !height.is_multiple_of(PATCH) || !wide.is_multiple_of(PATCH) {
        return Err(GraphError::Shape {
            node: "patch_embed.proj".into(),
            expected: format!("an image whose sides are multiples of {PATCH}"),
            found: Shape::from(input),
        });
    }
    let mut b = GraphBuilder::new(input);
    b.stage("stem");
    let patches = Conv2d {
        in_channels: 3,
        out_channels: width,
        kernel: [PATCH; 2],
        stride: [PATCH; 2],
        padding: Padding::Symmetric([0, 0]),
        groups: 1,
        bias: true,
    };
    let x = b.add("patch_embed.proj", Op::Conv2d(patches), &[b.input()])?;
    let x = b.add("cls_token", Op::ClassToken(ClassToken { features: width }), &[x])?;
    let entries = height / PATCH * (wide / PATCH) + 1;
    let positions = AddRows { entries, features: width, first: 0, step: 1, whole: true };
    let mut x = b.add("pos_embed", Op::AddRows(positions), &[x])?;
    for i in 0..BLOCKS {
        let name = format!("blocks.{i}");
        b.stage(&name);
        x = block(&mut b, &name, x)?;
    }
    b.stage("norm");
    let x = b.layer_norm("norm", x, EPS)?;
    b.stage("pool");
    let x = b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), &[x])?;
    b.stage("head");
    b.linear("head", x, classes)?;
    Ok(b.finish())
}

fn block(b: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let width = b.channels(x);
    let y = b.layer_norm(&part("norm1"), x, EPS)?;
    let y = b.linear(&part("attn.qkv"), y, 3 * width)?;
    let y = b.attention(&part("attn"), y, width / HEAD, None)?;
    let y = b.linear(&part("attn.proj"), y, width)?;
    let x = b.add(&part("add1"), Op::Add, &[y, x])?;
    let y = b.layer_norm(&part("norm2"), x, EPS)?;
    let y = b.linear(&part("mlp.fc1"), y, 4 * width)?;
    let y = b.smooth(&part("mlp.act"), y, Smooth::Gelu)?;
    let y = b.linear(&part("mlp.fc2"), y, width)?;
    b.add(&part("add2"), Op::Add, &[y, x])
}
