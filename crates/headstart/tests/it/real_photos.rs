//! Real photos through the real weights: padding, batch norm's eps and the normalisation are all in this number.

use headstart::data::{Picture, open_unlabelled};
use headstart::graph::Precision;
use headstart::models::Home;
use headstart::{Classifier, Pool, Prediction, Quiet, Session};

#[test]
fn the_embedded_network_knows_88_of_100_imagenet_photos_in_every_precision() {
    let Some(archive) = headstart_testing::shared_data("imagenet-100.tar") else { return };
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(folder.path()).unwrap();
    let (home, pool, stop) = (Home::at(folder.path()), Pool::new(0), false.into());
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
    let mut classifier = Classifier::open("tf_efficientnet_lite0", &home).unwrap();
    let (pictures, skipped) = open_unlabelled(&[folder.path().join("imagenet-100")]).unwrap();
    assert_eq!((pictures.len(), skipped.len()), (100, 0));
    // A photo's name begins with the number of its class.
    let number = |path: &str| path.rsplit('/').next().unwrap()[..4].parse::<usize>().unwrap();
    let all: Vec<&Picture> = pictures.iter().collect();
    let mut exact = Vec::new();
    for (precision, most_changes) in [(Precision::F32, 0), (Precision::Bf16, 3), (Precision::Int8, 3)] {
        classifier.backbone.lower(&session, precision, &all).unwrap();
        let mut answers = Vec::new();
        let each = &mut |answer: Result<Prediction, _>| {
            answers.push(answer.unwrap().index.unwrap());
            true
        };
        classifier.predict(&session, &pictures, 1, each).unwrap();
        let right = pictures.iter().zip(&answers).filter(|(p, a)| number(p.path()) == **a).count();
        assert!(right >= 88 - most_changes, "{right} of 100 in {precision}; PyTorch has 89");
        if precision == Precision::F32 {
            exact.clone_from(&answers);
        }
        let changes = exact.iter().zip(&answers).filter(|(e, a)| e != a).count();
        assert!(changes <= most_changes, "{changes} other answers in {precision}");
    }
}
