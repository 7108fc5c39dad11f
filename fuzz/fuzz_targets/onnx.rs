//! Any bytes as an ONNX file: what is imported can be opened, runs, and gives what it gave.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use headstart::models::{Home, Pretrained};
use headstart::{Backbone, OnnxImportOptions, Pool, import_onnx, tensor::Tensor};
use libfuzzer_sys::fuzz_target;

const MAX_MACS: u64 = 1 << 22;

/// A folder of this process, and a home in it.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|data: &[u8]| {
    let file = FOLDER.path().join("net.onnx");
    std::fs::write(&file, data).expect("the temporary folder is writable");
    let home = Home::at(FOLDER.path().join("home"));
    let options = OnnxImportOptions { crop: Some(8), ..Default::default() };
    let Ok(report) = import_onnx(&home, &file, &options) else { return };
    let opened = Pretrained::open(&report.name, &home).expect("what was imported opens");
    assert_eq!(opened.labels.len(), report.classes);
    if report.macs <= MAX_MACS {
        let (backbone, _, _) = Backbone::of(opened).expect("and is a backbone");
        let input = Tensor::zeros([&[1], backbone.graph.input().dims()].concat());
        let run = || backbone.trunk().run(&Pool::new(1), &input).expect("one image").into_data();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(run()), bits(run()));
    }
    std::fs::remove_file(Path::new(&report.path)).expect("the network is a file");
});
