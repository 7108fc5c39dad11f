//! The vision transformer (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021) without distillation, and the networks of DINOv2
//! (Oquab et al. 2024), as timm has them: a class token, blocks that normalise first. DINOv2's have factors for each channel
//! (layer scale), and some have registers (Darcet et al. 2024).

use headstart_graph::{
    AddRows, ClassToken, Conv2d, Graph, GraphBuilder, GraphError, LayerScale, NodeId, Op, Padding, Pooled,
    Smooth, TokenPool,
};
use headstart_tensor::Shape;

const BLOCKS: usize = 12;

/// Features of a head.
const HEAD: usize = 64;

const EPS: f64 = 1e-6;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vit {
    /// Features of a token.
    pub(crate) width: usize,
    /// Height and width of a patch.
    pub(crate) patch: usize,
    /// Whether what a block adds has a factor for each channel.
    pub(crate) layer_scale: bool,
    /// Tokens that stand for no patch, besides the class token; where there are any, neither has a position.
    pub(crate) registers: usize,
}

impl Vit {
    /// With patches of 16 pixels, and nothing more.
    pub(crate) const fn plain(width: usize) -> Vit {
        Vit { width, patch: 16, layer_scale: false, registers: 0 }
    }

    /// DINOv2's, with patches of 14 pixels.
    pub(crate) const fn dinov2(width: usize, registers: usize) -> Vit {
        Vit { width, patch: 14, layer_scale: true, registers }
    }
}

/// The network for inputs `[h, w, 3]` whose sides are whole patches; stages `stem`, `blocks.0` to `blocks.11`, `norm`, `pool`,
/// `head`. There is a position embedding for each patch of this size.
pub(crate) fn build(input: [usize; 3], vit: Vit, classes: usize) -> Result<Graph, GraphError> {
    let ([height, wide, _], Vit { width, patch, registers, .. }) = (input, vit);
    if !height.is_multiple_of(patch) || !wide.is_multiple_of(patch) {
        return Err(GraphError::Shape {
            node: "patch_embed.proj".into(),
            expected: format!("an image whose sides are multiples of {patch}"),
            found: Shape::from(input),
        });
    }
    let mut b = GraphBuilder::new(input);
    b.stage("stem");
    let patches = Conv2d {
        in_channels: 3,
        out_channels: width,
        kernel: [patch; 2],
        stride: [patch; 2],
        padding: Padding::Symmetric([0, 0]),
        groups: 1,
        bias: true,
    };
    let x = b.add("patch_embed.proj", Op::Conv2d(patches), &[b.input()])?;
    let tokens = |count| Op::ClassToken(ClassToken { features: width, count });
    let patches = height / patch * (wide / patch);
    let positions =
        |entries| Op::AddRows(AddRows { entries, features: width, first: 0, step: 1, whole: true });
    let mut x = if registers > 0 {
        let x = b.add("pos_embed", positions(patches), &[x])?;
        let x = b.add("reg_token", tokens(registers), &[x])?;
        b.add("cls_token", tokens(1), &[x])?
    } else {
        let x = b.add("cls_token", tokens(1), &[x])?;
        b.add("pos_embed", positions(patches + 1), &[x])?
    };
    for i in 0..BLOCKS {
        let name = format!("blocks.{i}");
        b.stage(&name);
        x = block(&mut b, &name, x, vit.layer_scale)?;
    }
    b.stage("norm");
    let x = b.layer_norm("norm", x, EPS)?;
    b.stage("pool");
    let x = b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), &[x])?;
    b.stage("head");
    b.linear("head", x, classes)?;
    Ok(b.finish())
}

fn block(b: &mut GraphBuilder, name: &str, x: NodeId, layer_scale: bool) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let width = b.channels(x);
    let scaled = |b: &mut GraphBuilder, part: &str, y: NodeId| {
        let scale = LayerScale { features: width, own_name: false };
        if layer_scale { b.add(&format!("{name}.{part}"), Op::LayerScale(scale), &[y]) } else { Ok(y) }
    };
    let y = b.layer_norm(&part("norm1"), x, EPS)?;
    let y = b.linear(&part("attn.qkv"), y, 3 * width)?;
    let y = b.attention(&part("attn"), y, width / HEAD, None)?;
    let y = b.linear(&part("attn.proj"), y, width)?;
    let y = scaled(b, "ls1", y)?;
    let x = b.add(&part("add1"), Op::Add, &[y, x])?;
    let y = b.layer_norm(&part("norm2"), x, EPS)?;
    let y = b.linear(&part("mlp.fc1"), y, 4 * width)?;
    let y = b.smooth(&part("mlp.act"), y, Smooth::Gelu)?;
    let y = b.linear(&part("mlp.fc2"), y, width)?;
    let y = scaled(b, "ls2", y)?;
    b.add(&part("add2"), Op::Add, &[y, x])
}
