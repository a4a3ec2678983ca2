//! `orderhub completions` and `orderhub man`: what a package installs for the shell and for man.

use std::io::{self, Write as _};

use clap::Args;
use clap_complete::Shell;

use super::{CliError, command, output};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script with which a shell completes commands, flags and values.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "orderhub", &mut script);
    output(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, which has all commands and settings.
pub(super) fn man() -> Result<(), CliError> {
    let mut page = Vec::new();
    page_of(&clap_mangen::Man::new(command()), &mut page)
        .map_err(|error| CliError::Failed(error.to_string()))?;
    // The library refers to a page for each command, and this one has them all.
    let page =
        String::from_utf8_lossy(&page).replace("orderhub\\-", "orderhub ").replace("(1)", "");
    output(&page)
}

/// The library's own synopsis would name each of a hundred settings.
fn page_of(man: &clap_mangen::Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    writeln!(page, ".SH SYNOPSIS\n\\fBorderhub\\fR [\\fIsettings\\fR] [\\fIcommand\\fR]")?;
    man.render_description_section(page)?;
    man.render_subcommands_section(page)?;
    man.render_options_section(page)?;
    man.render_version_section(page)
}
