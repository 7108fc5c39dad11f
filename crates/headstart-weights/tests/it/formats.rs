//! Files that PyTorch and safetensors wrote (`tests/fixtures/make.py`).

use std::path::PathBuf;

use headstart_weights::{DType, Format, StateDict, StoredTensor};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> StateDict {
    StateDict::open(&fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(name: &str) -> String {
    StateDict::open(&fixture(name)).unwrap_err().to_string()
}

fn sorted(state: &StateDict) -> Vec<(String, StoredTensor)> {
    let mut all: Vec<_> = state.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn the_three_formats_give_the_same_tensors() {
    for (name, count) in [("types", 12), ("views", 7), ("module", 7), ("parameters", 2)] {
        let safetensors = open(&format!("{name}.safetensors"));
        let zip = open(&format!("{name}.zip.pt"));
        let legacy = open(&format!("{name}.legacy.pth"));
        assert_eq!(safetensors.format(), Format::Safetensors);
        assert_eq!(zip.format(), Format::TorchZip);
        assert_eq!(legacy.format(), Format::TorchLegacy);
        assert_eq!(safetensors.len(), count, "{name}");
        assert_eq!(sorted(&zip), sorted(&safetensors), "{name}");
        assert_eq!(sorted(&legacy), sorted(&safetensors), "{name}");
    }
}

#[test]
fn elements_keep_their_type_and_value() {
    let state = open("types.zip.pt");
    let expected: Vec<f32> = (0..24u8).map(|i| f32::from(i) / 8.0 - 1.0).collect();
    for (name, dtype) in
        [("f16", DType::F16), ("bf16", DType::BF16), ("f32", DType::F32), ("f64", DType::F64)]
    {
        assert_eq!(state.get(name).unwrap().dtype(), dtype);
        assert_eq!(state.tensor(name).unwrap().data(), expected, "{name}");
    }
    assert_eq!(state.get("i64").unwrap().bytes(), [-(1i64 << 40), 0, 7].map(i64::to_le_bytes).concat());
    assert_eq!(state.tensor("bool").unwrap().data(), [1.0, 0.0, 1.0]);
    assert_eq!(state.tensor("u8").unwrap().data(), [5.0, 250.0]);
    assert_eq!(state.tensor("scalar").unwrap().dims(), [0usize; 0]);
    assert_eq!(state.tensor("empty").unwrap().dims(), [0, 3]);
}

#[test]
fn views_come_out_in_row_major_order() {
    for name in ["views.zip.pt", "views.legacy.pth"] {
        let state = open(name);
        assert_eq!(state.tensor("slice").unwrap().data(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(
            state.tensor("strided").unwrap().data(),
            [5.0, 7.0, 9.0, 10.0, 12.0, 14.0, 15.0, 17.0, 19.0]
        );
        let transposed = state.tensor("transposed").unwrap();
        assert_eq!(
            (transposed.dims(), &transposed.data()[..5]),
            ([5, 4].as_slice(), &[0.0, 5.0, 10.0, 15.0, 1.0][..])
        );
        assert_eq!(state.tensor("repeated").unwrap().data(), [2.0; 12]);
        assert_eq!(state.tensor("channels_last").unwrap().data()[..5], [0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn contiguous_and_shared_tensors_are_not_copied() {
    let state = open("views.zip.pt");
    let start = |name| state.get(name).unwrap().bytes().as_ptr() as usize;
    assert_eq!(start("whole"), start("again"));
    assert_eq!(start("slice"), start("whole") + 12);
    let tied = open("tied.legacy.pth");
    assert_eq!(tied.get("a").unwrap().bytes().as_ptr(), tied.get("b").unwrap().bytes().as_ptr());
}

#[test]
fn names_and_their_order_are_those_of_the_file() {
    let state = open("module.legacy.pth");
    let names: Vec<_> = state.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "module.0.weight",
            "module.0.bias",
            "module.1.weight",
            "module.1.bias",
            "module.1.running_mean",
            "module.1.running_var",
            "module.1.num_batches_tracked"
        ]
    );
    assert_eq!((state.taken(), state.ignored()), (None, [].as_slice()));
}

#[test]
fn a_whole_checkpoint_gives_its_state_dict_and_says_what_it_left() {
    for name in ["checkpoint.zip.pt", "checkpoint.legacy.pth"] {
        let state = open(name);
        assert_eq!(state.taken(), Some("state_dict"));
        assert_eq!(state.ignored(), ["epoch", "arch", "best_acc1", "optimizer", "args", "metric"]);
        assert_eq!(state.len(), 7);
        assert_eq!(state.get("0.weight").unwrap().shape().dims(), [2, 3]);
    }
}

#[test]
fn where_several_dicts_could_be_meant_the_caller_names_one() {
    for name in ["two.zip.pt", "two.legacy.pth"] {
        let text = refusal(name);
        assert!(text.contains(r#"several dicts of tensors: "state_dict", "state_dict_ema""#), "{text}");
        let ema = StateDict::open_entry(&fixture(name), "state_dict_ema").unwrap();
        assert_eq!((ema.len(), ema.ignored()), (1, ["state_dict".to_owned()].as_slice()));
        let none = StateDict::open_entry(&fixture(name), "model").unwrap_err().to_string();
        assert!(none.contains(r#"no dict under "model", only state_dict, state_dict_ema"#), "{none}");
    }
    assert!(refusal("beside.zip.pt").contains(r#"the top level, "extra""#));
}

#[test]
fn what_is_no_state_dict_of_tensors_is_refused_in_words() {
    for (name, part) in [
        ("mixed.zip.pt", r#""epoch" is an integer, expected a dense CPU tensor"#),
        ("mixed.legacy.pth", r#""epoch" is an integer"#),
        ("numbers.zip.pt", "holds no state dict: found a dict of epoch, history"),
        ("list.legacy.pth", "found a list at the top"),
        ("script.zip.pt", "is a TorchScript program"),
        ("whole_module.zip.pt", "names torch.nn.modules.linear.Linear, which is not on the list"),
        ("whole_module.zip.pt", "torch.save(model.state_dict()"),
        ("sparse.zip.pt", "names torch._utils._rebuild_sparse_tensor"),
        ("attack.zip.pt", "names posix.system"),
        ("attack.legacy.pth", "GLOBAL at byte 325 names posix.system"),
        ("compressed.zip.pt", r#"entry "views.zip/data.pkl" is compressed (method 8)"#),
    ] {
        let text = refusal(name);
        assert!(text.contains(part) && text.contains(name), "{text}");
    }
    assert!(!fixture("../../pwned").exists() && !PathBuf::from("pwned").exists());
}

#[test]
fn archives_of_other_zip_tools_are_read_where_they_are_stored() {
    let expected = sorted(&open("views.safetensors"));
    assert_eq!(sorted(&open("restored.zip.pt")), expected);
    assert_eq!(sorted(&open("zip64.zip.pt")), expected);
}

#[test]
fn the_oldest_files_of_python_2_are_read() {
    let state = open("python2.legacy.pth");
    let tensors: Vec<_> = state.iter().map(|(name, t)| (name, t.to_tensor().unwrap().into_data())).collect();
    assert_eq!(tensors, [("weight", vec![1.0, 2.0, 3.0]), ("running_mean", vec![4.0, 5.0])]);
}

#[test]
fn a_real_checkpoint_opens() {
    let Some(path) = headstart_testing::shared_data("weights/mobilenet_v2_in1k_dequantised.pt") else {
        return;
    };
    let state = StateDict::open(&path).unwrap();
    assert_eq!(state.get("features.0.0.weight").unwrap().shape().dims(), [32, 3, 3, 3]);
    assert_eq!(state.get("classifier.1.weight").unwrap().shape().dims(), [1000, 1280]);
    let values: usize = state.iter().map(|(_, tensor)| tensor.shape().len()).sum();
    assert!(values > 3_500_000, "{values}");
    assert!(state.iter().all(|(_, t)| t.to_tensor().unwrap().data().iter().all(|v| v.is_finite())));
}
