//! The lesson on transfer learning: load a network, print it, freeze it, replace its head, train that; then unfreeze
//! the last block and train on with a low rate: `cargo run --release --example lesson -- CIFAR10_FOLDER [IMAGES]`
#![expect(clippy::print_stdout, reason = "a program")]

use headstart::data::{Dataset, Item, OpenOptions};
use headstart::graph::{BnStats, Freeze, Trainer, Trunk};
use headstart::models::{Home, Pretrained};
use headstart::optim::{Optimizer, Rule};
use headstart::{Pool, activations, loss::cross_entropy, tensor::Rng, tensor::Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let data = Dataset::open(args.next().ok_or("name a folder of classes")?, &OpenOptions::default())?;
    let mut images = data.train;
    Rng::new(0).shuffle(&mut images);
    images.truncate(args.next().map_or(Ok(500), |n| n.parse())?);

    let mut net = Pretrained::open("tf_efficientnet_lite0", &Home::from_env()?)?;
    net.replace_head(data.classes.len())?;
    let freeze = Freeze::everything().unfreeze(&net.graph, "classifier")?;
    for layer in net.graph.summary(&freeze).layers {
        println!("{:<22} {:<58} {:?}", layer.name, layer.op, layer.output);
    }
    train(&mut net, &freeze, &images, 1e-2)?;
    let freeze = freeze.unfreeze(&net.graph, "blocks.6")?;
    train(&mut net, &freeze, &images, 1e-4)
}

/// Three epochs of SGD on what `freeze` leaves free; the frozen part runs once.
fn train(net: &mut Pretrained, freeze: &Freeze, images: &[Item], lr: f64) -> Result<()> {
    let (pool, split) = (Pool::new(0), net.graph.split(freeze)?);
    let trunk = Trunk::compile(&split.trunk, &net.params)?;
    let inputs = activations(&trunk, &net.input, images, &pool)?;
    let mut trainer = Trainer::new(split.tail, freeze.clone(), BnStats::Running);
    let mut optimizer = Optimizer::new(Rule::sgd(0.9))?;
    for epoch in 1..=3 {
        let mut sum = 0.0;
        for (x, batch) in inputs.data().chunks(32 * inputs.row_len()).zip(images.chunks(32)) {
            let x = Tensor::new([&[batch.len()], trainer.graph().input().dims()].concat(), x.to_vec())?;
            let targets: Vec<usize> = batch.iter().map(|item| item.label).collect();
            let logits = trainer.forward(&net.params, &x, &pool)?;
            let (loss, gradient) = cross_entropy(logits, &targets, None)?;
            let gradients = trainer.backward(&net.params, &gradient, &pool)?;
            optimizer.step_all(&mut net.params, gradients, lr)?;
            sum += loss * batch.len() as f32;
        }
        println!("epoch {epoch}: loss {:.4}", sum / images.len() as f32);
    }
    Ok(())
}
