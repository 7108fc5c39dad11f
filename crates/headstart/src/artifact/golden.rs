//! Golden inputs: what a model is asked when it is written and again when it is read, always in f32.

use super::{GOLDEN_IDS, GOLDEN_IMAGES};
use crate::head::LinearHead;
use crate::input::Input;
use crate::{Backbone, Error};
use headstart_graph::{Freeze, Graph, Op, Precision, Trunk};
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use headstart_weights::{DType, StoredTensor};

const GOLDEN: usize = 4;
/// Golden inputs are small where the network takes any size: a load should not cost more than a prediction. Those that
/// take one size only, as with position embeddings, get that.
const GOLDEN_SIDE: usize = 64;
/// Tokens of golden texts.
const GOLDEN_TOKENS: usize = 16;

/// The tensor that golden inputs are.
pub(super) fn name(backbone: &Backbone) -> &'static str {
    match backbone.input {
        Input::Image(_) => GOLDEN_IMAGES,
        Input::Text(_) => GOLDEN_IDS,
    }
}

/// Golden inputs, with the tensor's name: no item of the user's goes into the file.
pub(super) fn inputs(backbone: &Backbone) -> (&'static str, StoredTensor) {
    let stored = match &backbone.input {
        Input::Image(preprocess) => {
            let (pixels, side) = images(backbone, preprocess.crop);
            StoredTensor::new(DType::U8, [GOLDEN, side, side, 3], pixels)
        }
        Input::Text(tokens) => {
            let len = tokens.most().min(GOLDEN_TOKENS);
            let bytes = ids(&backbone.graph, GOLDEN * len).into_iter().flat_map(u32::to_le_bytes).collect();
            StoredTensor::new(DType::I32, [GOLDEN, len], bytes)
        }
    };
    (name(backbone), stored.unwrap_or_else(|| StoredTensor::from_tensor(&Tensor::default())))
}

/// Whether `inputs`, of a file, are such as this network can be asked.
pub(super) fn check(backbone: &Backbone, inputs: &StoredTensor) -> Result<(), &'static str> {
    match &backbone.input {
        Input::Image(preprocess) => match inputs.shape().dims() {
            [n, h, w, 3] if *n == GOLDEN && h == w && inputs.dtype() == DType::U8 => {
                match *h > GOLDEN_SIDE && *h != preprocess.crop {
                    true => Err("its golden inputs are larger than they need to be"),
                    false => Ok(()),
                }
            }
            _ => Err("its golden inputs are not square u8 images"),
        },
        Input::Text(tokens) => match inputs.shape().dims() {
            [n, len] if *n == GOLDEN && inputs.dtype() == DType::I32 => {
                match (1..=tokens.most().min(GOLDEN_TOKENS)).contains(len) {
                    true => Ok(()),
                    false => Err("its golden inputs are longer than they need to be"),
                }
            }
            _ => Err("its golden inputs are not i32 word ids"),
        },
    }
}

/// What the model answers to golden inputs, `[n, classes]`.
pub(super) fn logits(backbone: &Backbone, head: &LinearHead, inputs: &StoredTensor) -> Result<Tensor, Error> {
    let shape = inputs.shape().dims();
    let one = shape.get(1..).unwrap_or_default();
    let mut values = Tensor::zeros(shape.to_vec());
    match &backbone.input {
        Input::Image(p) => {
            for (i, (value, &pixel)) in values.data_mut().iter_mut().zip(inputs.bytes()).enumerate() {
                *value = (f32::from(pixel) / 255.0 - p.mean[i % 3]) / p.std[i % 3];
            }
        }
        Input::Text(_) => {
            for (value, id) in values.data_mut().iter_mut().zip(inputs.bytes().as_chunks().0) {
                *value = i32::from_le_bytes(*id) as f32;
            }
        }
    }
    let pool = Pool::new(1);
    let trunk = backbone.trunk();
    let features = if trunk.takes_sequences() && trunk.precision() == Precision::F32 {
        let mut features = Tensor::zeros([GOLDEN, backbone.dim()]);
        trunk.run_sequences(values.row_len(), values.data(), features.data_mut());
        features
    } else {
        let graph = backbone.graph.with_input(one.to_vec())?;
        let trunk = graph.split(&Freeze::everything().unfreeze(&graph, &backbone.classifier)?)?.trunk;
        Trunk::compile(&trunk, &backbone.params)?.run(&pool, &values)?
    };
    Ok(head.logits(&pool, &features)?)
}

/// Seeded word ids, none of them padding.
fn ids(graph: &Graph, n: usize) -> Vec<u32> {
    let (mut words, mut padding) = (1, None);
    for node in graph.nodes() {
        match node.op {
            Op::Embedding(ref table) => words = table.entries.max(1) as u32,
            Op::PadMask { pad } => padding = Some(pad),
            _ => {}
        }
    }
    let mut rng = Rng::named(0, "golden ids");
    let mut id = || match (rng.uniform() * f64::from(words)) as u32 {
        id if Some(id) == padding => (id + 1) % words,
        id => id,
    };
    (0..n).map(|_| id()).collect()
}

/// Seeded pictures of soft waves and noise: no image of the user's goes into the file.
fn images(backbone: &Backbone, crop: usize) -> (Vec<u8>, usize) {
    let small = crop.min(GOLDEN_SIDE);
    let side = if backbone.graph.with_input([small, small, 3]).is_ok() { small } else { crop };
    let mut rng = Rng::named(0, "golden images");
    let mut pixels = Vec::with_capacity(GOLDEN * side * side * 3);
    for _ in 0..GOLDEN {
        let waves: [[f64; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| rng.range(0.02, 0.4)));
        for y in 0..side {
            for x in 0..side {
                for wave in waves {
                    let value =
                        (y as f64 * wave[0]).sin() + (x as f64 * wave[1]).cos() + rng.range(-0.5, 0.5);
                    pixels.push((127.5 + 50.0 * value).clamp(0.0, 255.0) as u8);
                }
            }
        }
    }
    (pixels, side)
}
