//! A trunk that has run once allocates nothing when it runs again. An executable of its own: the allocator that counts is the
//! process's.
#![allow(clippy::unwrap_used)]

use headstart_graph::{
    Activation, AddRows, ClassToken, Graph, GraphBuilder, Op, Padding, Params, Pooled, Smooth, TokenPool,
    Trunk,
};
use headstart_testing::seeded;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's own; the count has no destructor and allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network of convolutions, with kernels that take images one by one and in groups.
fn convolutions() -> Graph {
    let mut b = GraphBuilder::new([32, 32, 3]);
    let input = b.input();
    let x = b.conv("stem", input, 32, (7, 2), Padding::Symmetric([3, 3])).unwrap();
    let x = b.batch_norm("bn", x, 1e-5).unwrap();
    let x = b.activation("relu", x, Activation::Relu).unwrap();
    let y = b.conv("winograd", x, 32, (3, 1), Padding::Symmetric([1, 1])).unwrap();
    let y = b.add("add", Op::Add, &[y, x]).unwrap();
    let y = b.depthwise("depthwise", y, (3, 2), Padding::Same).unwrap();
    let y = b.max_pool("max", y, 3, 2, 1).unwrap();
    let y = b.add("pool", Op::GlobalAvgPool, &[y]).unwrap();
    b.linear("fc", y, 10).unwrap();
    b.finish()
}

/// A block of a transformer over patches.
fn tokens() -> Graph {
    let mut b = GraphBuilder::new([32, 32, 3]);
    let input = b.input();
    let x = b.conv("patches", input, 24, (8, 8), Padding::Symmetric([0, 0])).unwrap();
    let x = b.add("cls", Op::ClassToken(ClassToken { features: 24, count: 1 }), &[x]).unwrap();
    let rows = AddRows { entries: 17, features: 24, first: 0, step: 1, whole: true };
    let x = b.add("positions", Op::AddRows(rows), &[x]).unwrap();
    let y = b.layer_norm("norm", x, 1e-6).unwrap();
    let y = b.linear("qkv", y, 72).unwrap();
    let y = b.attention("attention", y, 3, None).unwrap();
    let y = b.smooth("gelu", y, Smooth::Gelu).unwrap();
    let x = b.add("add", Op::Add, &[y, x]).unwrap();
    let pool = TokenPool { pooled: Pooled::Mean, mask: false };
    let x = b.add("pool", Op::TokenPool(pool), &[x]).unwrap();
    b.linear("fc", x, 10).unwrap();
    b.finish()
}

#[test]
fn the_second_run_allocates_nothing() {
    for (graph, group, kernel) in [(convolutions(), 8, "winograd"), (tokens(), 1, "attention")] {
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0)))
            .collect();
        let trunk = Trunk::compile(&graph, &params).unwrap();
        assert!(trunk.group() == group && trunk.layers().iter().any(|l| l.kernel.starts_with(kernel)));
        let images = vec![0.5; trunk.group() * 32 * 32 * 3];
        let mut out = vec![0.0; trunk.group() * 10];
        trunk.run_many(&images, &mut out);
        let before = COUNT.with(Cell::get);
        assert!(before > 0, "the counter counts");
        trunk.run_many(&images, &mut out);
        assert_eq!(COUNT.with(Cell::get) - before, 0, "{kernel}");
    }
}
