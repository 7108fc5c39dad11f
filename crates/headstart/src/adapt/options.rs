//! What an adaptation is asked for, and the names of the methods.

use super::alignment::alignments;
use super::objective::objectives;
use crate::Error;
use headstart_graph::nearest;
use std::path::PathBuf;

/// How the model comes to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method {
    /// Whether batch norm statistics are estimated anew first.
    pub statistics: bool,
    /// What is done then.
    pub then: Then,
}

/// What is done after the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// Nothing: the head stays.
    Nothing,
    /// That method makes a head from cached features.
    Head(&'static str),
    /// The tail is trained by that objective.
    Tail(&'static str),
}

impl Method {
    /// The model as it is.
    pub const NONE: Method = Method { statistics: false, then: Then::Nothing };
    /// Statistics alone.
    pub const ADABN: Method = Method { statistics: true, then: Then::Nothing };

    /// The method of that name: `none`, `adabn`, that of an [`super::Alignment`] or of an objective for the tail, or one of these
    /// behind `adabn+`. The tail is always trained on the target's statistics where a network has any.
    ///
    /// # Errors
    /// Where there is none of that name, with the nearest.
    pub fn parse(text: &str) -> Result<Method, Error> {
        let all = Method::all();
        let found = all.iter().find(|m| m.name() == text).copied();
        found.ok_or_else(|| {
            let names: Vec<String> = all.iter().map(Method::name).collect();
            let near = nearest(text, names.iter().map(String::as_str));
            let hint = near.first().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            let known = names.join(", ");
            Error::UnknownMethod { found: text.to_owned(), known: format!("auto, {known}{hint}") }
        })
    }

    /// Every method.
    pub fn all() -> Vec<Method> {
        let heads = || alignments().into_iter().map(|a| Then::Head(a.name()));
        let of = |statistics| move |then| Method { statistics, then };
        let mut all = vec![Method::NONE, Method::ADABN];
        all.extend(heads().map(of(false)));
        all.extend(heads().map(of(true)));
        all.extend(objectives().into_iter().map(|o| Then::Tail(o.name())).map(of(true)));
        all
    }

    /// Whether it looks at the source.
    pub fn needs_source(&self) -> bool {
        let Then::Head(name) = self.then else { return false };
        alignments().iter().any(|a| a.name() == name && a.needs_source())
    }

    /// Whether it is for networks with batch norm alone. (A tail can be trained without the target's statistics.)
    pub fn needs_norms(&self) -> bool {
        match self.then {
            Then::Tail(name) => objectives().iter().any(|o| o.name() == name && o.norms_only),
            _ => self.statistics,
        }
    }

    /// What it does, in a few words.
    pub fn about(&self) -> &'static str {
        match self.then {
            Then::Nothing if self.statistics => "the target's batch norm statistics (Li et al. 2017)",
            Then::Nothing => "the model as it is",
            Then::Head(name) => alignments().iter().find(|a| a.name() == name).map_or("", |a| a.about()),
            Then::Tail(name) => objectives().iter().find(|o| o.name() == name).map_or("", |o| o.about()),
        }
    }

    /// Its name on the command line.
    pub fn name(&self) -> String {
        match (self.statistics, self.then) {
            (false, Then::Nothing) => "none".to_owned(),
            (true, Then::Nothing) => "adabn".to_owned(),
            (false, Then::Head(name)) | (_, Then::Tail(name)) => name.to_owned(),
            (true, Then::Head(name)) => format!("adabn+{name}"),
        }
    }
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
    /// Labelled images of the other domain, to measure on alone.
    pub eval: Option<PathBuf>,
    /// The method; `None` lets the label-free score choose.
    pub method: Option<Method>,
    /// What of the network a method for the tail trains, as for fine-tuning.
    pub unfreeze: Vec<String>,
    /// Passes over the target of such a method.
    pub epochs: usize,
    /// What random choices are drawn from.
    pub seed: u64,
    /// The model file to write.
    pub output: PathBuf,
}
