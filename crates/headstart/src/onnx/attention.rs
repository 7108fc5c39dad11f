//! Multi-head self-attention as ONNX nodes: the joint projection parted into queries, keys and values, two matrix products
//! and a softmax between them.

use super::operations::Place;
use super::proto::AttributeProto as Attribute;
use headstart_graph::Attention;

/// `[batch, tokens, 3 * width]` to `[batch, tokens, width]`.
pub(crate) fn attention(place: &mut Place, of: &Attention) -> String {
    let width = place.node.shape.dims()[1];
    let (heads, size) = (of.heads as i64, (width / of.heads) as i64);
    // A zero keeps an extent: that of the batch, and that of the tokens.
    let parted = place.list("parts", &[0, 0, 3, heads, size]);
    let parts = place.part("parted", "Reshape", &[place.inputs[0], &parted], []);
    // [3, batch, heads, tokens, size].
    let parts = place.part("by_part", "Transpose", &[&parts], [Attribute::ints("perm", [2, 0, 3, 1, 4])]);
    let [queries, keys, values] = [("queries", 0), ("keys", 1), ("values", 2)].map(|(name, index)| {
        let constant = place.called(&format!("{name}_at"));
        let at = place.emitter.integer(&constant, index);
        place.part(name, "Gather", &[&parts, &at], [Attribute::int("axis", 0)])
    });
    let turned = place.part("keys_turned", "Transpose", &[&keys], [Attribute::ints("perm", [0, 1, 3, 2])]);
    let scores = place.part("scores", "MatMul", &[&queries, &turned], []);
    let scale = place.called("scale");
    let scale = place.emitter.floats(&scale, &[], &[1.0 / (size as f32).sqrt()]);
    let scaled = place.part("scaled", "Mul", &[&scores, &scale], []);
    let shares = place.part("shares", "Softmax", &[&scaled], [Attribute::int("axis", -1)]);
    let mixed = place.part("mixed", "MatMul", &[&shares, &values], []);
    let tokens = place.part("by_token", "Transpose", &[&mixed], [Attribute::ints("perm", [0, 2, 1, 3])]);
    let joined = place.list("joined", &[0, 0, width as i64]);
    place.emit("Reshape", &[&tokens, &joined], [])
}
