//! `headstart doctor` and what follows from it, through the binary.

use crate::place::{Place, bytes, err, out};

impl Place {
    /// Two classes of twelve noisy pictures each.
    fn noise(&self) {
        for class in ["red", "blue"] {
            std::fs::create_dir_all(self.path(&format!("data/{class}"))).unwrap();
        }
        for i in 0..12u32 {
            for (class, shift) in [("red", [120, 0, 0]), ("blue", [0, 0, 120])] {
                let path = self.path(&format!("data/{class}/{i:02}.png"));
                let picture = image::RgbImage::from_fn(40, 32, |x, y| {
                    let noise = |c: u32| (x * (17 + i) + y * (31 + 7 * i) + c * 41 + x * y * i) % 97;
                    image::Rgb([0, 1, 2].map(|c| (noise(c) + shift[c as usize]) as u8))
                });
                picture.save(path).unwrap();
            }
        }
    }
}

#[test]
fn files_are_looked_at_without_a_network() {
    let place = Place::new();
    place.noise();
    let report = place.json("doctor data --files-only --json");
    assert_eq!((&report["files"], &report["faults"]), (&24.into(), &0.into()), "{report}");
    assert_eq!(report["balance"]["blue"]["train"], 12);
    for key in ["problems", "duplicates", "leaks", "suspects"] {
        assert_eq!(report[key], serde_json::json!([]), "{key}");
    }
    assert!(report["shift_auc"].is_null());

    std::fs::write(place.path("data/red/13.jpg"), "not a picture").unwrap();
    std::fs::copy(place.path("data/red/00.png"), place.path("data/blue/99.png")).unwrap();
    let output = place.run("doctor data --files-only");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let text = out(&output);
    for part in ["red/13.jpg: not an image", "blue/99.png = red/00.png", "2 things to mend", "1 not_an_image"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_mistyped_path_and_a_list_in_place_of_an_image_are_refused() {
    let place = Place::new();
    place.noise();
    let output = place.run("doctor dat");
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("did you mean data"), "{}", err(&output));
    let photo = bytes(&place.path("data/red/00.png"));
    let output = place.run("doctor data --files-only --fix-list data/red/00.png");
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("is something else"), "{}", err(&output));
    assert_eq!(bytes(&place.path("data/red/00.png")), photo);
    assert_eq!(place.run("doctor data --fix-list nowhere/fix.tsv").status.code(), Some(2));
}

#[test]
#[cfg(feature = "embedded-weights")]
fn a_training_leaves_out_what_the_list_proposes() {
    let place = Place::new();
    place.noise();
    std::fs::write(place.path("data/red/13.jpg"), "").unwrap();
    std::fs::copy(place.path("data/red/00.png"), place.path("data/red/14.png")).unwrap();
    let output = place.run("doctor data --fix-list fix.tsv");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let list = String::from_utf8(bytes(&place.path("fix.tsv"))).unwrap();
    assert!(list.contains("\nred/13.jpg\tempty\tthe file is empty\n"), "{list}");
    assert!(list.contains("\nred/14.png\tduplicate\tthe same image as red/00.png\n"), "{list}");
    // A second list replaces the first.
    assert_eq!(place.run("doctor data --files-only --fix-list fix.tsv").status.code(), Some(1));

    let output = place.run("train data --strict -o a.safetensors");
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    let output = place.run("train data -o a.safetensors");
    assert!(err(&output).contains("`headstart doctor data` looks closer"), "{}", err(&output));
    let report = place.json("train data --strict --exclude fix.tsv -o a.safetensors --json");
    assert_eq!(report["train"]["n"].as_u64().unwrap() + report["val"]["n"].as_u64().unwrap(), 24);
    let excluded = report["skipped"].as_array().unwrap().iter().filter(|s| s["reason"] == "excluded");
    assert_eq!(excluded.count(), 2);
    std::fs::write(place.path("fix.tsv"), "red/77.png\n").unwrap();
    let output = place.run("train data --exclude fix.tsv -o a.safetensors");
    assert!(err(&output).contains("1 of the paths in fix.tsv are not in the data"), "{}", err(&output));
    assert_eq!(place.run("train data --exclude none.tsv -o a.safetensors").status.code(), Some(2));
}
