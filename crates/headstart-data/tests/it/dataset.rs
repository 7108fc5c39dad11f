//! Every layout, and every way in which one can be wrong, with the message that a person gets.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use headstart_data::{Dataset, OpenOptions, Skipped, open_unlabelled};
use tempfile::TempDir;

const PNG: &[u8] = include_bytes!("../fixtures/decode/png_rgb.png");
const JPEG: &[u8] = include_bytes!("../fixtures/decode/jpeg_420.jpg");

/// A folder with these files, each a PNG unless its name says otherwise; a name that ends in `/` is a folder.
fn folder(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = [".txt", ".json", "README", ".DS_Store", "Thumbs.db"].iter().any(|e| file.ends_with(e));
        fs::write(path, if text { b"text" } else { PNG }).unwrap();
    }
    root
}

fn open(root: &Path) -> Dataset {
    Dataset::open(root, &OpenOptions::default()).unwrap()
}

/// The message of a data set that cannot be opened, with the temporary folder written as `DATA`.
fn refusal(root: &Path) -> String {
    let message = Dataset::open(root, &OpenOptions::default()).unwrap_err().to_string();
    let folder =
        root.ancestors().find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".tmp")));
    message.replace(folder.unwrap().to_str().unwrap(), "DATA")
}

fn shown(items: &[headstart_data::Item]) -> Vec<(&str, usize)> {
    items.iter().map(|item| (item.picture.path(), item.label)).collect()
}

fn named(skipped: &[Skipped]) -> Vec<(&str, &str, bool)> {
    skipped.iter().map(|s| (s.path.as_str(), s.reason.name(), s.reason.is_fault())).collect()
}

#[test]
fn class_folders_are_classes_in_order_of_their_names() {
    let root = folder(&["zebra/2.png", "zebra/10.png", "ant/deep/a.png", "ant/b.png", "Bee/x.JPG"]);
    let data = open(root.path());
    assert_eq!(data.classes, ["Bee", "ant", "zebra"]);
    assert_eq!(
        shown(&data.train),
        [("Bee/x.JPG", 0), ("ant/b.png", 1), ("ant/deep/a.png", 1), ("zebra/10.png", 2), ("zebra/2.png", 2)]
    );
    assert!(data.val.is_none() && data.test.is_none() && data.skipped.is_empty());
    assert_eq!(data.train[0].picture.decode().unwrap().width, 37, "a PNG named .JPG is fine");
    assert_eq!(&*data.train[0].picture.bytes().unwrap(), PNG);
}

#[test]
fn split_folders_keep_their_splits() {
    let root = folder(&["train/a/1.png", "train/b/1.png", "valid/b/2.png", "test/a/3.png", "notes/x.png"]);
    let data = open(root.path());
    assert_eq!(shown(&data.train), [("train/a/1.png", 0), ("train/b/1.png", 1)]);
    assert_eq!(shown(data.val.as_ref().unwrap()), [("valid/b/2.png", 1)]);
    assert_eq!(shown(data.test.as_ref().unwrap()), [("test/a/3.png", 0)]);
    assert_eq!(data.held_out().0, "test");
    assert_eq!(named(&data.skipped), [("notes", "outside_splits", false)]);
}

#[test]
fn a_class_may_be_called_train() {
    let root = folder(&["car/1.png", "train/1.png", "plane/1.png"]);
    assert_eq!(open(root.path()).classes, ["car", "plane", "train"]);
}

#[test]
fn a_test_folder_without_labels_is_named_and_left_out() {
    let root = folder(&["train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png"]);
    let data = open(root.path());
    assert!(data.test.is_none());
    assert_eq!(named(&data.skipped), [("test", "unlabelled_split", false)]);
    assert_eq!(data.skipped[0].reason.to_string(), "2 images without class folders, so without labels");
}

#[test]
fn what_is_no_image_is_named_and_harmless_and_what_is_lost_is_a_fault() {
    let root = folder(&[
        "a/1.png",
        "a/2.png",
        "b/1.png",
        "b/no_ending",
        "b/notes.txt",
        "b/.DS_Store",
        "b/Thumbs.db",
        "b/._1.png",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/1.png",
        "labels.json",
        "README",
        "loose.png",
        "empty/",
        "nearly/notes.txt",
    ]);
    let data = open(root.path());
    assert_eq!(data.classes, ["a", "b"]);
    assert_eq!(shown(&data.train), [("a/1.png", 0), ("a/2.png", 0), ("b/1.png", 1), ("b/no_ending", 1)]);
    let mut found = named(&data.skipped);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (".ipynb_checkpoints", "hidden", false),
            ("README", "other_file", false),
            ("__MACOSX", "hidden", false),
            ("b/.DS_Store", "hidden", false),
            ("b/._1.png", "hidden", false),
            ("b/Thumbs.db", "hidden", false),
            ("b/notes.txt", "other_file", false),
            ("empty", "empty_class", true),
            ("labels.json", "other_file", false),
            ("loose.png", "no_label", true),
            ("nearly", "empty_class", true),
            ("nearly/notes.txt", "other_file", false),
        ]
    );
}

#[test]
fn an_unreadable_image_says_why_when_it_is_decoded() {
    let root = folder(&["a/1.png", "b/1.png"]);
    for (name, bytes) in [("cut.jpg", &JPEG[..200]), ("empty.jpg", b""), ("page.jpg", b"<html></html>")] {
        fs::write(root.path().join("a").join(name), bytes).unwrap();
    }
    let data = open(root.path());
    let faults: Vec<_> = data
        .train
        .iter()
        .filter_map(|item| Some((item.picture.path(), item.picture.decode().err()?.to_string())))
        .collect();
    assert_eq!(
        faults,
        [
            ("a/cut.jpg", "the JPEG image is cut short".to_owned()),
            ("a/empty.jpg", "the file is empty".to_owned()),
            ("a/page.jpg", "not an image: the first bytes are \"<html></html>\"".to_owned()),
        ]
    );
    fs::remove_file(root.path().join("a/cut.jpg")).unwrap();
    assert_eq!(data.train[1].picture.decode().unwrap_err().name(), "unreadable");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_circles_end() {
    let root = folder(&["a/1.png", "b/1.png"]);
    let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, root.path().join(from)).unwrap();
    link(root.path(), "a/up");
    link(&root.path().join("b/1.png"), "a/linked.png");
    link(Path::new("nowhere.png"), "a/broken.png");
    let data = open(root.path());
    let found = named(&data.skipped);
    assert!(found.contains(&("a/broken.png", "missing", true)), "{found:?}");
    assert!(found.contains(&("a/up", "link_loop", true)), "{found:?}");
    assert!(shown(&data.train).iter().all(|(path, _)| !path.starts_with("a/up/")), "b's image is no a");
    assert!(shown(&data.train).contains(&("a/linked.png", 0)));
}

#[test]
fn bad_folders_are_refused_in_words() {
    for (files, message) in [
        (&[][..], "DATA holds no images"),
        (&["notes.txt"], "DATA holds no images (notes.txt: not an image)"),
        (
            &["a/notes.txt", "b/"],
            "DATA holds no images (a/notes.txt: not an image; a: a class folder without images; b: a class folder \
             without images)",
        ),
        (
            &["1.png", "2.png"],
            "DATA holds 2 images but no class folders: put the images of each class into a folder named after the \
             class, or give a table with the columns path,label",
        ),
        (&["a/1.png"], "DATA has one class only, \"a\": training needs two or more"),
        (
            &["photos/a/1.png", "photos/b/1.png"],
            "DATA has one class only, \"photos\": training needs two or more (are the classes a, b? then name \
             DATA/photos)",
        ),
        (&["a/1.png", "b/"], "DATA has 1 training images for 2 classes: each class needs at least one"),
        (
            &["a/1.png", "a/2.png", "b/"],
            "DATA has one class only, \"a\": training needs two or more (1 more class folders are empty)",
        ),
        (
            &["a/1.png", "b/1.png", "b /1.png"],
            "DATA: the class folders \"b\" and \"b \" have the same name but for spaces: rename or merge one of them",
        ),
        (
            &["train/cat/1.png", "train/dog/1.png", "val/dogs/1.png"],
            "DATA has the label \"dogs\" in val, which is none of the 2 known classes; did you mean dog?",
        ),
        (
            &["train/cat/1.png", "train/dog/1.png", "val/horse/1.png"],
            "DATA has the label \"horse\" in val, which is none of the 2 known classes: cat, dog",
        ),
        (
            &["val/cat/1.png", "test/dog/1.png"],
            "DATA has no training images, only test and val: put the training images under train/",
        ),
        (
            &["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"],
            "DATA has both val/ and valid/, which mean the same: keep one",
        ),
        (
            &["train/1.png", "val/1.png"],
            "DATA/train holds 1 images but no class folders: put the images of each class into a folder named after \
             the class, or give a table with the columns path,label",
        ),
    ] {
        assert_eq!(refusal(folder(files).path()), message, "{files:?}");
    }
}

#[test]
fn a_missing_path_names_what_is_near() {
    let root = folder(&["Flowers/a/1.png", "flower.csv"]);
    assert_eq!(
        refusal(&root.path().join("flowers")),
        "DATA/flowers does not exist; did you mean DATA/Flowers or DATA/flower.csv?"
    );
    assert!(refusal(&root.path().join("Flowes/a")).contains("did you mean DATA/Flowers"));
    assert_eq!(refusal(&root.path().join("xyz")), "DATA/xyz does not exist");
}

#[test]
fn a_file_that_is_no_data_is_refused() {
    let root = folder(&["1.png", "model.bin"]);
    fs::write(root.path().join("model.bin"), b"\0\0\0\0").unwrap();
    assert_eq!(
        refusal(&root.path().join("1.png")),
        "DATA/1.png is neither a folder of classes, nor a table (.csv or .tsv), nor a CIFAR-10 archive (.tar.gz); it \
         is a single image: name the folder that holds the class folders"
    );
    assert_eq!(
        refusal(&root.path().join("model.bin")),
        "DATA/model.bin is neither a folder of classes, nor a table (.csv or .tsv), nor a CIFAR-10 archive (.tar.gz)"
    );
}

#[test]
fn classes_that_differ_in_case_only_are_pointed_out() {
    let root = folder(&["Cat/1.png", "cat/1.png", "dog/1.png"]);
    let data = open(root.path());
    if data.classes.len() == 3 {
        assert_eq!(data.similar_classes(), [("Cat", "cat")]);
    }
}

#[test]
fn a_models_classes_decide_the_labels_of_data_to_evaluate() {
    let options = OpenOptions {
        columns: Default::default(),
        classes: Some(["zebra", "cat", "dog"].map(str::to_owned).to_vec()),
    };
    let root = folder(&["dog/1.png"]);
    let data = Dataset::open(root.path(), &options).unwrap();
    assert_eq!(shown(data.held_out().1), [("dog/1.png", 2)]);
    let root = folder(&["val/cat/1.png"]);
    let data = Dataset::open(root.path(), &options).unwrap();
    assert_eq!((data.held_out().0, shown(data.held_out().1)), ("val", vec![("val/cat/1.png", 1)]));
    let root = folder(&["do/1.png"]);
    let message = Dataset::open(root.path(), &options).unwrap_err().to_string();
    assert!(
        message.ends_with("has the label \"do\", which is none of the 3 known classes; did you mean dog?"),
        "{message}"
    );
}

fn table(root: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = root.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn tables_are_read_with_quotes_marks_and_any_line_ends() {
    let root = folder(&["img/1.png", "img/2, two.png", "img/3.png"]);
    let text = "\u{feff}Label,path\r\n cat ,img/1.png\r\n\"dog, \"\"big\"\"\",\"img/2, two.png\"\r\ncat,img\\3.png\r\n";
    let data = open(&table(&root, "data.csv", text));
    assert_eq!(data.classes, ["cat", "dog, \"big\""]);
    assert_eq!(shown(&data.train), [("img/1.png", 0), ("img/2, two.png", 1), ("img/3.png", 0)]);
    assert!(data.train[2].picture.decode().is_ok());

    let text = "path\tlabel\tsplit\nimg/1.png\tb\ttrain\nimg/2, two.png\ta\t\nimg/3.png\ta\tvalidation\n";
    let data = open(&table(&root, "data.tsv", text));
    assert_eq!(shown(&data.train), [("img/1.png", 1), ("img/2, two.png", 0)]);
    assert_eq!(shown(data.val.as_ref().unwrap()), [("img/3.png", 0)]);
}

#[test]
fn rows_that_lead_nowhere_are_named() {
    let root = folder(&["1.png", "2.png"]);
    let data = open(&table(&root, "t.csv", "path,label\n1.png,a\n2.png,b\ngone.png,a\n1.png,a\n"));
    assert_eq!(named(&data.skipped), [("gone.png", "missing", true), ("1.png", "repeated_row", true)]);
    assert_eq!(data.skipped[1].reason.to_string(), "line 5 repeats a path of an earlier line");
}

#[test]
fn bad_tables_are_refused_with_their_line() {
    for (text, message) in [
        (
            "file,class\n1.png,a\n",
            "DATA/t.csv needs a first line with the columns path and label (and, if wanted, split); it has: file, \
             class (texts have the columns text and label; --text-column and --label-column name others, or number \
             them where no line names them)",
        ),
        (
            "",
            "DATA/t.csv needs a first line with the columns path and label (and, if wanted, split); it has: nothing \
             (texts have the columns text and label; --text-column and --label-column name others, or number them \
             where no line names them)",
        ),
        ("path,label\n1.png,a\n2.png\n", "DATA/t.csv, line 3: 1 fields, but the first line has 2"),
        ("path,label\n1.png,\n", "DATA/t.csv, line 2: the label is empty"),
        (
            "path,label,split\n1.png,a,holdout\n",
            "DATA/t.csv, line 2: the split is \"holdout\"; it may be train, val or test",
        ),
        (
            "path,label\n1.png,a\n2.png,b\n1.png,b\n",
            "DATA/t.csv, line 4: 1.png is labelled \"b\", but an earlier line labels it \"a\": keep one",
        ),
        ("path,label\nx.png,a\n", "DATA/t.csv holds no images (x.png: the file is not there)"),
        (
            "path,label\n1.png,a\n2.png,a\n",
            "DATA/t.csv has one class only, \"a\": training needs two or more",
        ),
    ] {
        let root = folder(&["1.png", "2.png"]);
        assert_eq!(refusal(&table(&root, "t.csv", text)), message);
    }
    let root = folder(&["1.png"]);
    let path = root.path().join("t.csv");
    fs::write(&path, b"path,label\n1.png,caf\xE9\n").unwrap();
    assert_eq!(refusal(&path), "DATA/t.csv, line 2: the text is not UTF-8");
}

/// A binary CIFAR batch: image `i` has the label `labels[i]` and, in its first pixel, red `i`, green 100, blue 200.
fn binary_batch(labels: &[u8]) -> Vec<u8> {
    let image = |i: usize, label: u8| {
        let mut record = vec![0; 3073];
        (record[0], record[1], record[1025], record[2049]) = (label, i as u8, 100, 200);
        record
    };
    labels.iter().enumerate().flat_map(|(i, &label)| image(i, label)).collect()
}

const CLASSES: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";

/// A batch as Python 2 pickled it, opcode by opcode.
fn python_batch(labels: &[u8]) -> Vec<u8> {
    let binary = binary_batch(labels);
    let planes: Vec<u8> = binary.chunks(3073).flat_map(|record| record[1..].to_vec()).collect();
    let mut out = b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(".to_vec();
    labels.iter().for_each(|&label| out.extend([b'K', label]));
    out.extend(b"eU\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87R");
    out.extend(b"(K\x01K");
    out.push(labels.len() as u8);
    out.extend(b"M\x00\x0c\x86cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
    out.extend(b"\x89T");
    out.extend((planes.len() as u32).to_le_bytes());
    out.extend(planes);
    out.extend(b"tbu.");
    out
}

fn python_meta() -> Vec<u8> {
    let mut out = b"\x80\x02}q\x01U\x0blabel_namesq\x02]q\x03(".to_vec();
    for name in CLASSES.lines() {
        out.extend([b'U', name.len() as u8]);
        out.extend(name.bytes());
    }
    out.extend(b"es.");
    out
}

fn cifar_files(python: bool) -> Vec<(String, Vec<u8>)> {
    let names = (1..=5).map(|n| format!("data_batch_{n}")).chain(["test_batch".to_owned()]);
    let mut files: Vec<_> = names
        .map(|name| match python {
            true => (name, python_batch(&[3, 0, 9])),
            false => (format!("{name}.bin"), binary_batch(&[3, 0, 9])),
        })
        .collect();
    files.push(match python {
        true => ("batches.meta".to_owned(), python_meta()),
        false => ("batches.meta.txt".to_owned(), CLASSES.as_bytes().to_vec()),
    });
    files
}

/// The classes are those of the images that are there.
fn check_cifar(data: &Dataset, ending: &str) {
    assert_eq!(data.classes, ["airplane", "cat", "truck"]);
    assert_eq!(data.train.len(), 15);
    assert!(data.val.is_none() && data.skipped.is_empty(), "{:?}", data.skipped);
    let first = &data.test.as_ref().unwrap()[1];
    assert_eq!((first.picture.path(), first.label), (format!("test_batch{ending}#1").as_str(), 0));
    assert_eq!(first.picture.bytes().unwrap().len(), 3072);
    let image = first.picture.decode().unwrap();
    assert_eq!((image.width, image.height, &image.pixels[..4]), (32, 32, &[1, 100, 200, 0][..]));
}

#[test]
fn cifar_is_read_in_both_versions_from_folder_and_archive() {
    for python in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let ending = if python { "" } else { ".bin" };
        let name = if python { "cifar-10-batches-py" } else { "cifar-10-batches-bin" };
        fs::create_dir(root.path().join(name)).unwrap();
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(gz);
        for (file, bytes) in cifar_files(python) {
            fs::write(root.path().join(name).join(&file), &bytes).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, format!("{name}/{file}"), bytes.as_slice()).unwrap();
        }
        let archive = archive.into_inner().unwrap().finish().unwrap();
        let path = root.path().join("cifar.tar.gz");
        fs::write(&path, &archive).unwrap();
        check_cifar(&open(&root.path().join(name)), ending);
        check_cifar(&open(root.path()), ending);
        check_cifar(&open(&path), ending);

        fs::write(&path, &archive[..archive.len() / 2]).unwrap();
        let message = refusal(&path);
        assert!(
            message.contains("DATA/cifar.tar.gz is not a CIFAR-10 file: the archive is damaged"),
            "{message}"
        );
    }
}

#[test]
fn bad_cifar_files_are_refused_in_words() {
    let open_with = |name: &str, bytes: Option<Vec<u8>>, python: bool| {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in cifar_files(python) {
            fs::write(root.path().join(&file), content).unwrap();
        }
        match bytes {
            Some(bytes) => fs::write(root.path().join(name), bytes).unwrap(),
            None => fs::remove_file(root.path().join(name)).unwrap(),
        }
        match Dataset::open(root.path(), &OpenOptions::default()) {
            Ok(data) => format!("{:?}", named(&data.skipped)),
            Err(_) => refusal(root.path()),
        }
    };
    let cut = |bytes: Vec<u8>| Some(bytes[..5000].to_vec());
    for (found, expected) in [
        (
            open_with("data_batch_2.bin", cut(binary_batch(&[1, 2])), false),
            "DATA/data_batch_2.bin is not a CIFAR-10 file: 5000 bytes are no whole number of images (3073 bytes \
             each): it is cut short",
        ),
        (
            open_with("data_batch_2.bin", Some(binary_batch(&[1, 77])), false),
            "DATA/data_batch_2.bin is not a CIFAR-10 file: image 1 has the label 77; there are 10",
        ),
        (open_with("data_batch_2.bin", None, false), r#"[("data_batch_2.bin", "missing", true)]"#),
        (
            open_with("batches.meta.txt", None, false),
            "DATA/batches.meta.txt is not a CIFAR-10 file: the file with the class names is not there",
        ),
        (
            open_with("batches.meta.txt", Some(b"cat\ndog\n".to_vec()), false),
            "DATA/batches.meta.txt is not a CIFAR-10 file: it names 2 classes, not 10",
        ),
        (
            open_with("test_batch", Some(b"cos\nsystem\n(S'true'\ntR.".to_vec()), true),
            "DATA/test_batch is not a CIFAR-10 file: GLOBAL at byte 0 names os.system, which is not on the list of \
             allowed names",
        ),
        (
            open_with("test_batch", Some(b"\x80\x02}q\x01U\x06labels]s.".to_vec()), true),
            "DATA/test_batch is not a CIFAR-10 file: its \"data\" is no u8 array [0, 3072]",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("photos.tar.gz");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    gz.write_all(&[0; 1024]).unwrap();
    gz.finish().unwrap();
    assert_eq!(
        refusal(&path),
        "DATA/photos.tar.gz is not a CIFAR-10 file: other archives are not read: unpack it and name its folder"
    );
}

#[test]
fn images_without_labels_are_files_as_named_and_folders_in_order() {
    let root = folder(&["b/2.png", "b/1.png", "b/notes.txt", "a.dat", "c/readme.txt"]);
    let at = |name: &str| root.path().join(name);
    let (pictures, skipped) = open_unlabelled(&[at("b"), at("a.dat")]).unwrap();
    let names: Vec<_> = pictures.iter().map(|p| PathBuf::from(p.path())).collect();
    assert_eq!(names, [at("b/1.png"), at("b/2.png"), at("a.dat")]);
    assert_eq!(skipped.len(), 1);
    assert!(pictures.iter().all(|p| p.decode().is_ok()));
    let message = open_unlabelled(&[at("b"), at("a.da")]).unwrap_err().to_string();
    assert!(message.contains("a.da does not exist; did you mean"), "{message}");
    let message = open_unlabelled(&[at("c")]).unwrap_err().to_string();
    assert!(message.contains("c holds no images (") && message.contains("readme.txt"), "{message}");
}
