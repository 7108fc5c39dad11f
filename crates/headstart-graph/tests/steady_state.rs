//! A trunk that has run once allocates nothing when it runs again.
#![allow(clippy::unwrap_used)]

use headstart_graph::{Activation, GraphBuilder, Op, Padding, Params, Trunk};
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

#[test]
fn the_second_run_allocates_nothing() {
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
    let graph = b.finish();
    let params: Params = graph
        .params()
        .into_iter()
        .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0)))
        .collect();
    let trunk = Trunk::compile(&graph, &params).unwrap();
    assert!(trunk.group() > 1 && trunk.layers().iter().any(|l| l.kernel.starts_with("winograd")));
    let images = vec![0.5; trunk.group() * 32 * 32 * 3];
    let mut out = vec![0.0; trunk.group() * 10];
    trunk.run_many(&images, &mut out);
    let before = COUNT.with(Cell::get);
    assert!(before > 0, "the counter counts");
    trunk.run_many(&images, &mut out);
    assert_eq!(COUNT.with(Cell::get) - before, 0);
}
