//! What an adaptation is asked for, and the names of the methods.

use super::alignment::{Alignment, alignments};
use super::consensus::{self, CONSENSUS};
use super::few::{self, FEW};
use super::namings::Way;
use super::objective::{Objective, objectives};
use super::pull::{Pull, pulls};
use super::standardise::Standardise;
use super::statistics::Statistics;
use crate::Error;
use headstart_data::Style;
use headstart_graph::nearest;
use std::path::PathBuf;

/// How the model comes to the target: up to four parts, each on what the one before it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method {
    /// How the source is redrawn; a head is fitted to it then.
    pub style: Option<Style>,
    /// How batch norm statistics are estimated anew on the target.
    pub statistics: Option<Statistics>,
    /// The method that makes a head from cached features: the name of an [`super::Alignment`], `consensus` or `few`.
    pub head: Option<&'static str>,
    /// What the tail is trained for: the name of an [`super::Objective`] or a [`super::Pull`].
    pub tail: Option<&'static str>,
}

/// The heads that a redrawn source is tried with, besides its own.
const STYLED: [&str; 2] = ["prototypes", "self-training"];

impl Method {
    /// The model as it is.
    pub const NONE: Method = Method { style: None, statistics: None, head: None, tail: None };

    /// The method of that name: `none`, or parts with `+` between them, each of another kind: a style, one of
    /// [`Statistics`], the name of an [`super::Alignment`], that of an objective for the tail. An objective for norms alone brings
    /// `adabn` with it. The name of a [`super::Pull`] stands alone: it starts from the model as it is.
    ///
    /// # Errors
    /// Where a part is unknown, with the nearest, or is of the kind of another one, or a redrawn source is asked to be seen by
    /// the target's statistics.
    pub fn parse(text: &str) -> Result<Method, Error> {
        let mut found = Method::NONE;
        for part in text.split('+').filter(|_| text != "none") {
            let (style, head) = (style(part), heads().into_iter().find(|h| *h == part));
            let statistics = Statistics::ALL.into_iter().find(|s| s.name() == part);
            let tail = objectives().into_iter().find(|o| o.name() == part);
            let pull = pulls().into_iter().find(|p| p.name() == part).map(|p| p.name());
            let trains = tail.map(|o| o.name()).or(pull);
            let taken = match (style, statistics, head, trains) {
                (Some(_), ..) => found.style.is_some(),
                (_, Some(_), ..) => found.statistics.is_some(),
                (.., Some(_), _) => found.head.is_some(),
                (.., Some(_)) => found.tail.is_some(),
                _ => return Err(Method::unknown(part)),
            };
            if pull.is_some() && part != text {
                let known = format!("{part} alone: it starts from the model as it is");
                return Err(Error::UnknownMethod { found: text.to_owned(), known });
            }
            if taken {
                let known =
                    "at most one style, one of adabn and dsbn, one method for the head and one for the tail";
                return Err(Error::UnknownMethod { found: text.to_owned(), known: known.to_owned() });
            }
            found.style = style.or(found.style);
            found.statistics = statistics.or(found.statistics);
            found.head = head.or(found.head);
            found.tail = trains.or(found.tail);
        }
        if objectives().iter().any(|o| Some(o.name()) == found.tail && o.norms_only) {
            found.statistics = found.statistics.or(Some(Statistics::AdaBn));
        }
        if found.style.is_some() && found.statistics.is_some() {
            let known = "a style, or batch norm statistics (adabn, dsbn, tent), which are of pictures as they are: not both";
            return Err(Error::UnknownMethod { found: text.to_owned(), known: known.to_owned() });
        }
        Ok(found)
    }

    fn unknown(part: &str) -> Error {
        let mut names = vec!["auto", "none"];
        names.extend(Statistics::ALL.map(Statistics::name));
        names.extend(Style::ALL.map(Style::name));
        names.extend(heads());
        names.extend(objectives().iter().map(Objective::name));
        names.extend(pulls().iter().map(Pull::name));
        let near = nearest(part, names.iter().copied());
        let hint = near.first().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        let known = format!("{}, or some of these with + between them{hint}", names.join(", "));
        Error::UnknownMethod { found: part.to_owned(), known }
    }

    /// Those on features alone, of the source as it is, that need no label of the target.
    pub fn plain() -> Vec<Method> {
        let of = |name| Method { head: Some(name), ..Method::NONE };
        let mut all = vec![Method::NONE];
        all.extend(heads().into_iter().filter(|name| *name != FEW).map(of));
        all
    }

    /// Those by statistics of the target, likewise.
    pub fn restated(statistics: Statistics) -> Vec<Method> {
        let own = Method { statistics: Some(statistics), ..Method::NONE };
        let mut all = vec![own];
        // A consensus is of all spaces as it is, and AdaBN standardises what the head reads.
        let done = (statistics == Statistics::AdaBn).then_some(Standardise.name());
        let heads =
            heads().into_iter().filter(|name| ![CONSENSUS, FEW].contains(name) && Some(*name) != done);
        all.extend(heads.map(|name| Method { head: Some(name), ..own }));
        all
    }

    /// Those of the source redrawn.
    pub fn styled(style: Style) -> Vec<Method> {
        let own = Method { style: Some(style), ..Method::NONE };
        let mut all = vec![own];
        all.extend(STYLED.map(|name| Method { head: Some(name), ..own }));
        all
    }

    /// Those that train the tail from what this one leaves; an objective for norms alone from `statistics` where this one leaves
    /// them as they are.
    pub fn tails(self, statistics: Statistics) -> Vec<Method> {
        let tail = |o: Objective| Method {
            statistics: self.statistics.or(o.norms_only.then_some(statistics)),
            tail: Some(o.name()),
            ..self
        };
        objectives().into_iter().filter(|o| self.style.is_none() || !o.norms_only).map(tail).collect()
    }

    /// Those that train the tail and the head on both domains.
    pub fn joint() -> Vec<Method> {
        pulls().iter().map(|pull| Method { tail: Some(pull.name()), ..Method::NONE }).collect()
    }

    /// How its answers come about.
    pub(super) fn way(&self) -> Way {
        Way { style: self.style, statistics: self.statistics }
    }

    /// What it trains both domains for, if it does.
    pub(super) fn pull(&self) -> Option<Pull> {
        pulls().into_iter().find(|pull| Some(pull.name()) == self.tail)
    }

    /// Whether it looks at the source.
    pub fn needs_source(&self) -> bool {
        let of = |name| alignments().iter().any(|a| a.name() == name && a.needs_source());
        self.style.is_some()
            || self.statistics == Some(Statistics::Dsbn)
            || self.pull().is_some()
            || [Some(CONSENSUS), Some(FEW)].contains(&self.head)
            || self.head.is_some_and(of)
    }

    /// Whether it is for networks with batch norm alone.
    pub fn needs_norms(&self) -> bool {
        self.statistics.is_some()
    }

    /// What its last part does, in a few words.
    pub fn about(&self) -> &'static str {
        if let Some(pull) = self.pull() {
            pull.about()
        } else if let Some(name) = self.tail {
            objectives().iter().find(|o| o.name() == name).map_or("", |o| o.about())
        } else if self.head == Some(CONSENSUS) {
            consensus::ABOUT
        } else if self.head == Some(FEW) {
            few::ABOUT
        } else if let Some(name) = self.head {
            alignments().iter().find(|a| a.name() == name).map_or("", |a| a.about())
        } else if self.style.is_some() {
            "a head fitted to the source redrawn so that it looks more like the target"
        } else if let Some(statistics) = self.statistics {
            statistics.about()
        } else {
            "the model as it is"
        }
    }

    /// Its name on the command line.
    pub fn name(&self) -> String {
        let parts =
            [self.style.map(Style::name), self.statistics.map(Statistics::name), self.head, self.tail];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join("+") }
    }
}

fn heads() -> Vec<&'static str> {
    let mut all: Vec<&str> = alignments().iter().map(|a| a.name()).collect();
    all.extend([CONSENSUS, FEW]);
    all
}

fn style(name: &str) -> Option<Style> {
    Style::ALL.into_iter().find(|s| s.name() == name)
}

/// What [`super::adapt()`] is asked for.
#[derive(Debug, Clone)]
pub struct AdaptOptions {
    /// The model file.
    pub model: PathBuf,
    /// Labelled images of the domain that it was trained on.
    pub source: Option<PathBuf>,
    /// Images of the other domain; labels that their folders may tell are not looked at.
    pub target: PathBuf,
    /// A few labelled images of the other domain to learn from: 1 to 10 a class.
    pub few: Option<PathBuf>,
    /// Labelled images of the other domain, to measure on alone.
    pub eval: Option<PathBuf>,
    /// The method; `None` lets the label-free score choose.
    pub method: Option<Method>,
    /// Seconds from the start in which, without a method, one more that trains on both domains is begun; 0 for none of them.
    pub budget: f64,
    /// What of the network a method for the tail trains, as for fine-tuning.
    pub unfreeze: Vec<String>,
    /// Passes over the target of such a method, at most: it stops where the label-free score has not grown for three.
    pub epochs: usize,
    /// What random choices are drawn from.
    pub seed: u64,
    /// The model file to write.
    pub output: PathBuf,
}

impl AdaptOptions {
    /// A choice among all methods that need no more than this.
    pub fn new(model: PathBuf, target: PathBuf, output: PathBuf) -> AdaptOptions {
        AdaptOptions {
            model,
            source: None,
            target,
            few: None,
            eval: None,
            method: None,
            budget: 0.0,
            unfreeze: vec!["last".to_owned()],
            epochs: 10,
            seed: 0,
            output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_read_as_it_is_named() {
        let mut all = Method::plain();
        all.extend(Statistics::ALL.into_iter().flat_map(Method::restated));
        all.extend(Style::ALL.into_iter().flat_map(Method::styled));
        all.extend(all.clone().into_iter().flat_map(|m| m.tails(Statistics::AdaBn)));
        all.extend(Method::joint());
        for method in all {
            assert_eq!(Method::parse(&method.name()).unwrap(), method, "{}", method.name());
        }
        assert_eq!(Method::parse("tent").unwrap().name(), "adabn+tent");
        for wrong in [
            "adabn+adabn",
            "adabn+dsbn",
            "dsbn+edges",
            "edges+lines",
            "edges+adabn",
            "edges+tent",
            "adabn+mmd",
            "mmd+coral",
            "prototypes+coral",
            "tent+shot",
            "",
            "coral+",
        ] {
            assert!(Method::parse(wrong).is_err(), "{wrong}");
        }
        let error = Method::parse("edges+prototype").unwrap_err().to_string();
        assert!(error.contains("`prototype`") && error.ends_with("did you mean `prototypes`?"), "{error}");
    }
}
