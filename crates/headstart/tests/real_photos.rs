//! Real photos through the real weights: padding, batch norm's eps and the normalisation are all in this number.
#![allow(clippy::unwrap_used)]

use headstart::data::open_unlabelled;
use headstart::models::Home;
use headstart::{Classifier, Pool, Quiet, Session};

#[test]
#[cfg(feature = "embedded-weights")]
fn the_embedded_network_knows_88_of_100_imagenet_photos() {
    let Some(archive) = headstart_testing::shared_data("imagenet-100.tar") else { return };
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(folder.path()).unwrap();
    let (home, pool, stop) = (Home::at(folder.path()), Pool::new(0), false.into());
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
    let classifier = Classifier::open("tf_efficientnet_lite0", &home).unwrap();
    let (pictures, skipped) = open_unlabelled(&[folder.path().join("imagenet-100")]).unwrap();
    assert_eq!((pictures.len(), skipped.len()), (100, 0));
    let mut right = 0;
    let each = &mut |answer: Result<headstart::Prediction, _>| {
        let answer = answer.unwrap();
        // A photo's name begins with the number of its class.
        let name = answer.path.rsplit('/').next().unwrap();
        right += usize::from(name[..4].parse() == Ok(answer.index.unwrap()));
        true
    };
    classifier.predict(&session, &pictures, 1, each).unwrap();
    assert!(right >= 88, "{right} of 100; PyTorch has 89");
}
