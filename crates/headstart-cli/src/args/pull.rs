//! `--pull`: the only way in which a command other than `models pull` asks the network.

use crate::printer::Printer;
use clap::Args as ClapArgs;

#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Pull {
    /// Get the network's weights first where they are not on this machine, as `headstart models pull` does.
    #[cfg(feature = "download")]
    #[arg(long)]
    pull: bool,
}

impl Pull {
    /// Gets the weights of `names`, where that is asked for.
    ///
    /// # Errors
    /// Where they cannot be had.
    #[cfg(feature = "download")]
    pub(crate) fn before(self, names: &[&str], printer: &Printer) -> anyhow::Result<()> {
        if self.pull { crate::commands::pull::absent(names, printer) } else { Ok(()) }
    }

    /// Nothing: this build asks no network.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(feature = "download"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature")]
    pub(crate) fn before(self, _: &[&str], _: &Printer) -> anyhow::Result<()> {
        Ok(())
    }
}
