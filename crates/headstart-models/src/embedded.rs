//! The weights inside the binary: EfficientNet-Lite0, so that the first run needs no download.

use crate::PretrainedCfg;

/// The safetensors file of `cfg`, where it was compiled in.
#[cfg(feature = "embedded-weights")]
pub(crate) fn weights(cfg: &PretrainedCfg) -> Option<&'static [u8]> {
    /// Aligned for reading f32 in place.
    #[repr(align(64))]
    struct Aligned<T: ?Sized>(T);
    static LITE0: &Aligned<[u8]> =
        &Aligned(*include_bytes!("../weights/tf_efficientnet_lite0.in1k.safetensors"));
    (cfg.name() == "tf_efficientnet_lite0.in1k").then_some(&LITE0.0)
}

/// Nothing was compiled in.
#[cfg(not(feature = "embedded-weights"))]
pub(crate) fn weights(_: &PretrainedCfg) -> Option<&'static [u8]> {
    None
}
