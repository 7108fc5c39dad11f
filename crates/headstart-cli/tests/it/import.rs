//! `models import` of ONNX files through the binary, and everything that an imported network is then good for.

use crate::place::{Place, bytes, err, out};

/// A tiny ResNet for images of 16 pixels, as PyTorch exports it.
const NET: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart/tests/fixtures/onnx_import/resnet.torchscript.onnx");

/// A place with the network at `net.onnx`.
fn place() -> Place {
    let place = Place::new();
    place.colours();
    place.write("net.onnx", &bytes(NET.as_ref()));
    place
}

#[test]
fn an_imported_network_is_used_by_its_name() {
    let place = place();
    let report = place.json("models import net.onnx --name tiny --std 0.25,0.25,0.25 --json");
    assert_eq!(
        (&report["name"], &report["classes"], &report["opset"]),
        (&"tiny".into(), &5.into(), &17.into())
    );
    assert_eq!((&report["preprocess"]["crop"], &report["preprocess"]["resize"]), (&16.into(), &19.into()));
    assert_eq!(report["classifier"], "fc");
    let notes = report["notes"].to_string();
    for words in
        ["--resize, --interpolation, --mean say so", "called by their numbers, 0 to 4", "conv1, layer1, fc"]
    {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    let output = place.run("models import net.onnx --name tiny");
    assert!(
        out(&output).contains("resize 19, crop 16, bilinear") && out(&output).contains("operator set 17")
    );
    assert!(
        err(&output).contains("takes the place of") && err(&output).contains("--backbone tiny"),
        "{}",
        err(&output)
    );

    let list = place.json("models list --json");
    assert_eq!(
        (&list["networks"][0]["name"], &list["networks"][0]["file"]),
        (&"tiny".into(), &"net.onnx".into())
    );
    assert!(out(&place.run("models list")).contains("imported: net.onnx"));
    assert!(out(&place.run("models show tiny")).contains("fc, 5 classes"));
    let inspected = out(&place.run("inspect tiny --unfreeze last"));
    assert!(inspected.contains("layer1.0.downsample.0") && inspected.contains("16x16x3"), "{inspected}");
    assert!(out(&place.run("inspect tiny --size 32")).contains("32x32x3"));

    assert_eq!(place.json("embed data --backbone tiny -o f.npy --json")["dim"], 12);
    place.json("train data --backbone tiny --report none --json -o model.safetensors");
    assert_eq!(place.json("predict model.safetensors data/red/0.png --json")["label"], "red");
    let label = place.json("predict tiny data/red/0.png --json")["label"].as_str().unwrap().to_owned();
    assert!(label.parse::<usize>().is_ok_and(|class| class < 5), "{label}");
    let output = place
        .run("finetune --backbone tiny data --unfreeze last --epochs 1 --report none -o tuned.safetensors");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let ranked = place.json("rank data --backbones tiny --json");
    assert_eq!(
        (&ranked["networks"][0]["backbone"], &ranked["networks"][0]["pixels"]),
        (&"tiny".into(), &16.into())
    );
    assert_eq!(place.json("bench --backbone tiny --seconds 0.1 --batch 2 --json")["backbone"], "tiny");

    // Out again, and in: the same network, whose preprocessing and classes the file now names.
    place.json("export tiny --onnx again.onnx --json");
    let again = place.json("models import again.onnx --json");
    assert_eq!(
        (&again["name"], &again["preprocess"]),
        (&"again".into(), &place.json("models show tiny --json")["preprocess"])
    );
    assert!(!again["notes"].to_string().contains("say so"), "{}", again["notes"]);
    place.json("embed data --backbone again -o g.npy --json");
    assert!(bytes(&place.path("f.npy")) == bytes(&place.path("g.npy")), "the same features to the bit");
}

#[test]
fn what_cannot_be_imported_is_refused_in_words() {
    let place = place();
    std::fs::write(place.path("broken.onnx"), b"no protobuf at all").unwrap();
    std::fs::write(place.path("empty.onnx"), b"").unwrap();
    std::fs::copy(NET, place.path("resnet18.onnx")).unwrap();
    std::fs::create_dir(place.path("folder.onnx")).unwrap();
    std::fs::write(place.path("weights.pth"), b"PK").unwrap();
    for (line, words) in [
        ("models import absent.onnx", &["absent.onnx", "read"][..]),
        ("models import folder.onnx", &["folder.onnx"]),
        ("models import broken.onnx", &["broken.onnx", "no ONNX model"]),
        ("models import empty.onnx", &["empty.onnx", "empty"]),
        ("models import net.onnx --arch resnet18", &["--arch is for files of weights", "--name"]),
        ("models import net.onnx --crop 32", &["[batch, 3, 16, 16]", "--crop 32"]),
        ("models import net.onnx --resize 0", &["resize", "1 to 8192"]),
        ("models import net.onnx --std 0,1,1", &["std", "above 0"]),
        ("models import net.onnx --mean 1,2", &["--mean", "three numbers"]),
        ("models import net.onnx --name a/b", &["`a/b`", "--name"]),
        ("models import resnet18.onnx", &["`resnet18`", "models list", "--name"]),
        ("models import weights.pth", &["weights.pth", "--arch NAME", ".onnx"]),
        ("models import weights.pth --arch resnet18 --mean 0,0,0", &["--mean is for ONNX"]),
        ("train data --weights net.onnx", &["net.onnx", "models import net.onnx"]),
        ("train data --backbone net.onnx", &["models import net.onnx", "--backbone"]),
        ("predict net.onnx data/red/0.png", &["models import net.onnx"]),
        ("finetune net.onnx data", &["models import net.onnx"]),
        ("inspect net.onnx", &["models import net.onnx"]),
        ("train data --backbone nett", &["no network named `nett`"]),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
        assert!(words.iter().all(|word| err(&output).contains(word)), "{line}: {}", err(&output));
    }
    assert!(!place.path("home/networks").exists(), "nothing is left behind");
    // A name that is nearly one of those that are here.
    place.json("models import net.onnx --name tiny --json");
    let output = place.run("train data --backbone tinny");
    assert!(err(&output).contains("did you mean `tiny`"), "{}", err(&output));
    // A damaged file in the home.
    let file = place.path("home/networks/tiny.safetensors");
    let mut changed = bytes(&file);
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&file, changed).unwrap();
    let output = place.run("predict tiny data/red/0.png");
    assert!(err(&output).contains("import it again"), "{}", err(&output));
}

/// What a trained model's file says of itself comes back with it.
#[test]
#[cfg(feature = "embedded-weights")]
fn a_trained_model_goes_out_and_comes_back() {
    let place = place();
    place.json("train data --json -o model.safetensors --report none");
    place.json("export model.safetensors --onnx model.onnx --json");
    let report = place.json("models import model.onnx --name back --json");
    assert_eq!((&report["classes"], &report["preprocess"]["interpolation"]), (&2.into(), &"bicubic".into()));
    assert!(!report["notes"].to_string().contains("assumed"), "{}", report["notes"]);
    let answer =
        |model: &str| place.json(&format!("predict {model} data/blue/3.png --json"))["label"].clone();
    assert_eq!((answer("back"), answer("model.safetensors")), ("blue".into(), "blue".into()));
    place.json("embed data --backbone model.safetensors -o a.npy --json");
    place.json("embed data --backbone back -o b.npy --json");
    assert!(bytes(&place.path("a.npy")) == bytes(&place.path("b.npy")), "the same features to the bit");
    let output = place.run("export model.safetensors --onnx inside.onnx --with-preprocessing");
    assert_eq!(output.status.code(), Some(0));
    let output = place.run("models import inside.onnx");
    assert!(err(&output).contains("uint8") && err(&output).contains("without it"), "{}", err(&output));
}
