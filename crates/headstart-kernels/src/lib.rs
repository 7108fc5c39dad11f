//! CPU kernels over slices and sizes.
