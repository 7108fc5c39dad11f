//! Pixels equal Pillow's and torchvision's. `tests/fixtures/make.py` wrote what they make of each file.

use std::path::{Path, PathBuf};

use headstart_data::{Decode, ImageError, Interpolation, Picture, Preprocess, RgbImage, View, image};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// Every encoded fixture.
fn encoded() -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(fixtures("decode")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e != "rgb"));
    files.sort();
    assert!(files.len() > 40, "{} fixtures", files.len());
    files
}

fn read_rgb(path: &Path) -> RgbImage {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    RgbImage { width: number(0), height: number(4), pixels: bytes[8..].to_vec() }
}

/// The share of pixels with every channel within one grey level, and the largest difference.
fn agreement(found: &RgbImage, expected: &RgbImage) -> (f64, u8) {
    assert_eq!((found.width, found.height), (expected.width, expected.height));
    let worst = |(a, b): (&[u8], &[u8])| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let apart: Vec<u8> =
        found.pixels.chunks_exact(3).zip(expected.pixels.chunks_exact(3)).map(worst).collect();
    let near = apart.iter().filter(|&&d| d <= 1).count();
    (near as f64 / apart.len() as f64, apart.into_iter().max().unwrap())
}

#[test]
fn every_kind_of_file_decodes_as_pillow_decodes_it() {
    let mut wrong = Vec::new();
    for file in encoded() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        match image::decode(&std::fs::read(&file).unwrap()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(found) => {
                let (near, worst) = agreement(&found, &read_rgb(&file.with_extension("rgb")));
                // JPEG has one right answer; lossless formats too.
                let exact = !name.starts_with("webp_lossy") && !name.starts_with("tiff_");
                if near < 0.999 || exact && worst > 0 {
                    wrong.push(format!("{name}: {near:.4} within one level, at most {worst} apart"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_cut_short_is_an_error_and_never_a_half_grey_image() {
    let mut wrong = Vec::new();
    for file in encoded() {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        for percent in [10, 20, 50, 70, 90, 97] {
            let cut = &bytes[..bytes.len() * percent / 100];
            let whole = image::decode(&bytes).unwrap();
            match image::decode(cut) {
                Ok(found) if found == whole => {} // what was cut off was not part of the image
                Ok(_) => wrong.push(format!("{name} at {percent} %: decoded")),
                Err(ImageError::Truncated { .. }) => {}
                Err(error) => wrong.push(format!("{name} at {percent} %: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn preprocessing_equals_torchvision() {
    use Interpolation::{Bicubic, Bilinear};
    for (name, source, resize, crop, interpolation) in [
        ("down_bilinear", "jpeg_420.jpg", 24, 20, Bilinear),
        ("down_bicubic", "jpeg_420.jpg", 24, 21, Bicubic),
        ("up_bilinear", "png_rgb.png", 52, 45, Bilinear),
        ("up_bicubic", "png_rgb.png", 52, 44, Bicubic),
        ("same_size", "png_rgb.png", 29, 24, Bicubic),
        ("padded_landscape", "png_rgb.png", 12, 19, Bilinear),
        ("padded_both", "png_rgb.png", 12, 25, Bilinear),
        ("portrait", "jpeg_exif_6.jpg", 20, 19, Bicubic),
    ] {
        let image = image::decode(&std::fs::read(fixtures("decode").join(source)).unwrap()).unwrap();
        let (mean, std) = ([0.0; 3], [1.0; 3]);
        let preprocess =
            Preprocess { resize, crop, interpolation, mean, std, decode: Decode::Exact, style: None };
        let found = preprocess.pixels(&image, View::Center);
        let expected = read_rgb(&fixtures("transform").join(format!("{name}.rgb")));
        assert_eq!(agreement(&found, &expected), (1.0, 0), "{name}");
    }
}

#[test]
fn normalised_values_are_torchs_to_the_bit() {
    let image = image::decode(&std::fs::read(fixtures("decode").join("jpeg_420.jpg")).unwrap()).unwrap();
    let preprocess = Preprocess {
        resize: 14,
        crop: 12,
        interpolation: Interpolation::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        decode: Decode::Exact,
        style: None,
    };
    let mut found = vec![0.0; preprocess.values()];
    preprocess.apply(&image, View::Center, &mut found);
    let bytes = std::fs::read(fixtures("transform").join("normalised.f32")).unwrap();
    let expected: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(found, expected);
}

#[test]
fn scaled_decoding_is_pillows_draft() {
    for source in
        ["jpeg_420", "jpeg_422", "jpeg_444", "jpeg_gray", "jpeg_cmyk", "jpeg_progressive", "jpeg_exif_6"]
    {
        let bytes = std::fs::read(fixtures("decode").join(format!("{source}.jpg"))).unwrap();
        for part in [2, 4, 8] {
            let name = format!("{source}_{part}");
            // 29 pixels are the shorter side of each.
            let found = image::decode_scaled(&bytes, 29 / part).unwrap();
            assert_eq!(agreement(&found, &read_rgb(&fixtures("scaled").join(name + ".rgb"))), (1.0, 0));
        }
        assert_eq!(image::decode_scaled(&bytes, 15).unwrap(), image::decode(&bytes).unwrap(), "{source}");
    }
}

#[test]
fn scaled_preprocessing_leaves_twice_the_size_it_resizes_to() {
    let file = fixtures("decode").join("jpeg_420.jpg");
    let picture = Picture::from_file("photo", file);
    let bytes = picture.bytes().unwrap();
    for (resize, decode, width, height) in [
        (7, Decode::Exact, 37, 29),
        (8, Decode::Scaled, 37, 29),
        (7, Decode::Scaled, 19, 15),
        (3, Decode::Scaled, 10, 8),
        (1, Decode::Scaled, 5, 4),
    ] {
        let preprocess = Preprocess {
            resize,
            crop: resize,
            interpolation: Interpolation::Bilinear,
            mean: [0.0; 3],
            std: [1.0; 3],
            decode,
            style: None,
        };
        let image = preprocess.decode(&picture, &bytes).unwrap();
        assert_eq!((image.width, image.height), (width, height), "{resize} {decode:?}");
    }
}
