//! Values of one kind of stored element as another.
#![allow(unsafe_code)]

use crate::Isa;
use crate::element::Element;
use crate::epilogue::Scales;
use crate::simd::{self, Kernel, Simd};

/// Stores the values of `x`, which have the scale of the input, in `out` with that of the output, the nearest it holds.
///
/// # Panics
/// Where the lengths differ.
pub fn convert<I: Element, O: Element>(isa: Isa, x: &[I], out: &mut [O], scales: &Scales) {
    assert_eq!(x.len(), out.len(), "as many values as room for them");
    let factor = scales.input.scale / scales.output.scale;
    let shift = f32::from(scales.output.zero) - f32::from(scales.input.zero) * factor;
    simd::run(isa, Pass { x, out, factor, shift });
}

struct Pass<'a, I, O> {
    x: &'a [I],
    out: &'a mut [O],
    factor: f32,
    shift: f32,
}

impl<I: Element, O: Element> Kernel for Pass<'_, I, O> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (low, high) = O::LIMITS;
        let whole = self.x.len() / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: a whole vector lies behind `i` in both slices, which are equally long.
            unsafe {
                let x = I::load(simd, self.x.as_ptr().add(i));
                let v = simd.fma(x, simd.splat(self.factor), simd.splat(self.shift));
                let v = simd.min(simd.splat(high), simd.max(simd.splat(low), v));
                O::store(simd, self.out.as_mut_ptr().add(i), v);
            }
        }
        for (x, out) in self.x[whole..].iter().zip(&mut self.out[whole..]) {
            *out = O::from_f32((x.to_f32() * self.factor + self.shift).clamp(low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16;
    use crate::element::tests::{draw, nearest, scales};
    use headstart_tensor::Rng;

    #[test]
    fn every_value_becomes_the_nearest_stored_one() {
        fn agree<I: Element, O: Element>(rng: &mut Rng, isa: Isa) {
            let scales = scales::<I, O>();
            for n in [0, 1, 3, 15, 16, 17, 70] {
                let (x, values) = draw::<I>(rng, n, scales.input);
                let mut out = vec![O::from_f32(99.0); n];
                convert(isa, &x, &mut out, &scales);
                nearest(&out, &values, scales.output, &format!("{isa} {} to {}", I::NAME, O::NAME));
            }
        }
        let mut rng = Rng::new(3);
        for isa in Isa::available() {
            agree::<f32, bf16>(&mut rng, isa);
            agree::<f32, u8>(&mut rng, isa);
            agree::<bf16, f32>(&mut rng, isa);
            agree::<u8, f32>(&mut rng, isa);
            agree::<u8, bf16>(&mut rng, isa);
        }
    }
}
