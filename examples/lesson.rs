//! The lesson on transfer learning: load a pre-trained network, print it, freeze it, replace its head, train the
//! head, then unfreeze the last block and train on with a low rate.
//!
//! `cargo run --release --example lesson -- CIFAR10_FOLDER [IMAGES]`
#![expect(clippy::print_stdout, reason = "a program")]

use headstart::data::{Dataset, Item, OpenOptions, Preprocess, View};
use headstart::graph::{Freeze, Graph, Params, Trunk, backward, forward};
use headstart::models::{Home, Pretrained};
use headstart::optim::{Optimizer, Rule};
use headstart::{Pool, loss::cross_entropy, tensor::Rng, tensor::Tensor};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let data = Dataset::open(args.next().ok_or("name a folder of classes")?, &OpenOptions::default())?;
    let mut items = data.train;
    Rng::new(0).shuffle(&mut items);
    items.truncate(args.next().map_or(Ok(500), |n| n.parse())?);

    let net = Pretrained::open("tf_efficientnet_lite0", &Home::from_env()?)?;
    let (mut params, head) = (net.params, net.architecture.classifier);
    let graph = net.graph.with_classes(head, data.classes.len())?;
    params.insert(format!("{head}.weight"), Tensor::zeros([data.classes.len(), 1280]));
    params.insert(format!("{head}.bias"), Tensor::zeros([data.classes.len()]));

    let freeze = Freeze::everything().unfreeze(&graph, head)?;
    for layer in graph.summary(&freeze).layers {
        println!("{:<22} {:<58} {:?}", layer.name, layer.op, layer.output);
    }
    train(&graph, &mut params, &freeze, &items, &net.cfg.input, 1e-2)?;
    train(&graph, &mut params, &freeze.unfreeze(&graph, "blocks.6")?, &items, &net.cfg.input, 1e-4)
}

/// Three epochs of SGD on what `freeze` leaves free; the frozen part runs once.
fn train(
    g: &Graph,
    params: &mut Params,
    freeze: &Freeze,
    items: &[Item],
    pre: &Preprocess,
    lr: f64,
) -> Result<()> {
    let (pool, split) = (Pool::new(0), g.split(freeze)?);
    let trunk = Trunk::compile(&split.trunk, params)?;
    let cached = pool.map(items.len(), |i| {
        let (mut image, mut out) = (vec![0.0; pre.values()], vec![0.0; trunk.output().len()]);
        pre.apply(&items[i].picture.decode()?, View::Center, &mut image);
        trunk.run_one(&image, &mut out);
        Ok(out)
    });
    let cached = cached.into_iter().collect::<std::result::Result<Vec<_>, headstart::data::ImageError>>()?;
    let mut optimizer = Optimizer::new(Rule::sgd(0.9))?;
    for epoch in 1..=3 {
        let mut sum = 0.0;
        for (x, y) in cached.chunks(32).zip(items.chunks(32)) {
            let shape = [&[x.len()], split.tail.input().dims()].concat();
            let activations = forward(&split.tail, params, Tensor::new(shape, x.concat())?, &pool)?;
            let targets: Vec<usize> = y.iter().map(|item| item.label).collect();
            let (loss, gradient) = cross_entropy(activations.output(), &targets, None)?;
            sum += loss * x.len() as f32;
            for (name, gradient) in backward(&split.tail, params, &activations, gradient, freeze, &pool)? {
                let param = params.get_mut(&name).ok_or("a trained parameter")?;
                optimizer.step(&name, param.data_mut(), gradient.data(), lr)?;
            }
        }
        println!("epoch {epoch}: loss {:.4}", sum / items.len() as f32);
    }
    Ok(())
}
