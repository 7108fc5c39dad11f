//! What images go through before the network, inside the graph: resize, crop, scale, normalise.
//!
//! ONNX's `Resize` with antialiasing is defined as Pillow's; ONNX Runtime computes it on bytes in whole numbers as Pillow
//! does, and differs from it by a level or a few in less than one pixel of a hundred of a photo made smaller.

use super::emitter::Emitter;
use super::proto::AttributeProto as Attribute;
use headstart_data::{Interpolation, Preprocess};

/// From `image`, `[batch, height, width, 3]` in bytes, to the network's input, `[batch, 3, crop, crop]`; gives its name.
/// `preprocess.crop` must not be above `preprocess.resize`.
pub(crate) fn preprocessing(emitter: &mut Emitter, preprocess: &Preprocess, image: &str) -> String {
    let pixels = crop(emitter, preprocess, image);
    let turn = [Attribute::ints("perm", [0, 3, 1, 2])];
    let planes = emitter.node("/planes", "Transpose", &[&pixels], turn);
    let floats = emitter.node("/floats", "Cast", &[&planes], [Attribute::int("to", 1)]);
    let most = emitter.floats("/255", &[], &[255.0]);
    let mean = emitter.floats("/mean", &[3, 1, 1], &preprocess.mean);
    let std = emitter.floats("/std", &[3, 1, 1], &preprocess.std);
    let scaled = emitter.node("/scaled", "Div", &[&floats, &most], []);
    let centred = emitter.node("/centred", "Sub", &[&scaled, &mean], []);
    emitter.node("/normalised", "Div", &[&centred, &std], [])
}

/// The shorter side to `resize`, the longer one in proportion and truncated; of that the middle, `crop` pixels square.
fn crop(emitter: &mut Emitter, preprocess: &Preprocess, image: &str) -> String {
    let one = |emitter: &mut Emitter, name: &str, value: usize| emitter.integers(name, &[value as i64]);
    let axes = emitter.integers("/sides", &[1, 2]);
    let sides = [Attribute::int("start", 1), Attribute::int("end", 3)];
    let sides = emitter.node("/size", "Shape", &[image], sides);
    let shorter = emitter.node("/shorter", "ReduceMin", &[&sides], [Attribute::int("keepdims", 1)]);
    let resize = one(emitter, "/resize", preprocess.resize);
    let product = emitter.node("/product", "Mul", &[&sides, &resize], []);
    let target = emitter.node("/target", "Div", &[&product, &shorter], []);
    let mut filter = vec![
        Attribute::int("antialias", 1),
        Attribute::ints("axes", [1, 2]),
        Attribute::text("coordinate_transformation_mode", "half_pixel"),
    ];
    match preprocess.interpolation {
        Interpolation::Bilinear => filter.push(Attribute::text("mode", "linear")),
        Interpolation::Bicubic => {
            filter.extend([Attribute::float("cubic_coeff_a", -0.5), Attribute::text("mode", "cubic")]);
        }
    }
    let resized = emitter.node("/resized", "Resize", &[image, "", "", &target], filter);
    // Half of what is too much, a half rounded to the even neighbour: one more where the rest by 4 is 3.
    let crop = one(emitter, "/crop", preprocess.crop);
    let [two, three, four] = [("/two", 2), ("/three", 3), ("/four", 4)].map(|(n, v)| one(emitter, n, v));
    let spare = emitter.node("/spare", "Sub", &[&target, &crop], []);
    let half = emitter.node("/half_spare", "Div", &[&spare, &two], []);
    let rest = emitter.node("/rest", "Mod", &[&spare, &four], []);
    let odd = emitter.node("/odd", "Equal", &[&rest, &three], []);
    let odd = emitter.node("/round", "Cast", &[&odd], [Attribute::int("to", 7)]);
    let start = emitter.node("/start", "Add", &[&half, &odd], []);
    let end = emitter.node("/end", "Add", &[&start, &crop], []);
    emitter.node("/cropped", "Slice", &[&resized, &start, &end, &axes], [])
}
