//! Domain adaptation: every method on features against NumPy, and the whole of it through the library.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod place;

use headstart::adapt::{Domains, Source, alignments};
use headstart::head::LinearHead;
use headstart::models::Home;
use headstart::{Pool, Quiet, Session};
use headstart_testing::relative_l2;
use headstart_weights::StateDict;
use std::path::Path;

/// The fixture is written by `scripts/fixtures/adapt.py`.
#[test]
fn every_method_on_features_answers_as_numpy_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapt.safetensors");
    let fixture = StateDict::open(&path).unwrap();
    let of = |name: &str| fixture.tensor(name).unwrap();
    let head = LinearHead::new(of("head.weight"), of("head.bias")).unwrap();
    let labels = of("labels").data().iter().map(|&l| l as usize).collect();
    let (source, target) = (Source { features: of("source"), labels }, of("target"));
    let l2 = fixture.metadata()["l2"].parse().unwrap();
    let mut compared = 0;
    for threads in [1, 2] {
        let (home, pool, stop) = (Home::at("unused"), Pool::new(threads), false.into());
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
        for method in alignments() {
            for (with, name) in
                [(true, method.name().to_owned()), (false, format!("{}-without-source", method.name()))]
            {
                let Ok(expected) = fixture.tensor(&name) else { continue };
                let source = with.then_some(&source);
                let domains = Domains { source, target: &target, head: &head, l2, seed: 0 };
                let found = method.align(&session, &domains).unwrap().logits(&pool, &target).unwrap();
                let apart = relative_l2(found.data(), expected.data());
                assert!(apart < 2e-3, "{name}: {apart}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 12);
}
