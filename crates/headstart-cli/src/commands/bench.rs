//! `headstart bench`: images a second, and what part of the machine's peak that is.

use crate::args::Bench;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::graph::BnStats;
use headstart::{BenchOptions, BenchReport, BenchTrainOptions, BenchTrainReport, bench, bench_train};

pub(crate) fn run(args: &Bench, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    if args.train {
        return train(args, &workplace, printer);
    }
    let options = BenchOptions {
        backbone: args.backbone.clone(),
        precision: args.precision.into(),
        batch: args.batch,
        size: args.size,
        seconds: args.seconds,
        per_layer: args.per_layer,
    };
    let report = bench(&workplace.session(), &options)?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        printer.data(&text(&report))?;
    }
    Ok(Outcome::Fine)
}

fn train(args: &Bench, workplace: &Workplace, printer: &Printer) -> anyhow::Result<Outcome> {
    let options = BenchTrainOptions {
        backbone: args.backbone.clone(),
        batch: args.batch,
        size: args.size,
        seconds: args.seconds,
        unfreeze: args.unfreeze.clone(),
        cached: args.cached,
        stats: if args.batch_statistics { BnStats::Batch { momentum: 0.1 } } else { BnStats::Running },
    };
    let report = bench_train(&workplace.session(), &options)?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        printer.data(&train_text(&report))?;
    }
    Ok(Outcome::Fine)
}

fn train_text(r: &BenchTrainReport) -> String {
    let from = if r.cached { "from the cached activations of" } else { "with the frozen part up to" };
    let [trunk, forward, backward, optimizer] = r.parts_ms;
    format!(
        "{}: {:.1} images/s, {:.1} ms a training step of {} at {} pixels, {from} `{}`\n\
         {} trained values, {} threads, {}; trunk {trunk:.1} ms, forward {forward:.1} ms, backward {backward:.1} ms, \
         optimiser {optimizer:.1} ms; peak {:.0} GFLOP/s\n",
        r.backbone,
        r.images_per_second,
        r.ms_per_step,
        r.batch,
        r.size,
        r.cut,
        r.trainable_parameters,
        r.threads,
        r.isa,
        r.peak_gflops,
    )
}

fn text(r: &BenchReport) -> String {
    let mut text = String::new();
    if !r.layers.is_empty() {
        let mut table = Table::new([
            ("computes", Align::Left),
            ("kernel", Align::Left),
            ("ms", Align::Right),
            ("Gop/s", Align::Right),
            ("of peak", Align::Right),
        ]);
        for l in &r.layers {
            let (rate, share) = match l.layer.macs {
                0 => (String::new(), String::new()),
                _ => (format!("{:.1}", l.gflops), percent(l.fraction_of_peak)),
            };
            table.row([l.layer.nodes.clone(), l.layer.kernel.clone(), format!("{:.3}", l.ms), rate, share]);
        }
        text = format!("{table}\n");
    }
    let (threads, plural) = (r.threads, if r.threads == 1 { "" } else { "s" });
    text += &format!(
        "{} {}, {}, {threads} thread{plural}, batches of {}, {} pixels\n",
        r.backbone, r.precision, r.isa, r.batch, r.size
    );
    text += &format!(
        "{:.1} images a second ({:.1} ms a batch, median of {})\n",
        r.images_per_second, r.ms_per_batch, r.batches
    );
    let share = percent(r.fraction_of_peak);
    text += &format!("{share} of the peak of {:.0} Gop/s; {:.3} GMACs an image", r.peak_gflops, r.gmacs);
    text
}
