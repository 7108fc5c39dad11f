//! The kernels that networks call, for every element type that they store: named here so that development builds compile them here,
//! once. What is `inline(never)` is shared with the crates that call it; else each of them would compile its own. A release inlines
//! them where they are called: shared ones cost `resnet18` in bf16 a sixth of its speed.

use crate::{
    Element, PackedConv, PackedDepthwise, PackedDynamic, PackedExpand, PackedGrouped, PackedPooled,
    Winograd2, Winograd4,
};
use half::bf16;
use std::hint::black_box;

/// Nobody calls it.
#[used]
static COMPILED: fn() = compiled;

fn compiled() {
    of::<f32>();
    of::<bf16>();
    of::<u8>();
    dense::<f32, f32>();
    dense::<bf16, f32>();
    dense::<bf16, bf16>();
    dense::<bf16, u8>();
    dense::<u8, f32>();
    dense::<u8, bf16>();
    dense::<u8, u8>();
    dynamic::<f32>();
    dynamic::<bf16>();
    black_box([Winograd2::run as *const (), Winograd4::run as *const ()]);
}

fn of<E: Element>() {
    black_box([PackedDepthwise::<E>::run as *const (), PackedExpand::<E>::run as *const ()]);
}

fn dense<I: Element, O: Element>() {
    let convolutions = [PackedConv::<I, O>::run as *const (), PackedConv::<I, O>::multiply as *const ()];
    black_box(convolutions);
    black_box([PackedGrouped::<I, O>::run as *const (), PackedPooled::<I, O>::run as *const ()]);
}

fn dynamic<I: Element>() {
    black_box([PackedDynamic::<I, f32>::run as *const (), PackedDynamic::<I, bf16>::run as *const ()]);
}
