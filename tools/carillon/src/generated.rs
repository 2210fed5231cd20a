//! What is generated from the command line itself: completion scripts and manual pages.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "carillon", &mut script);
    output::write(&script)?;
    Ok(Verdict::Fine)
}

/// Writes a manual page per command.
pub(crate) fn manual(directory: &Path) -> Result<Verdict, Failure> {
    let write = || {
        std::fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Cli::command(), directory)
    };
    write().map_err(|error| Failure::new(format!("{} cannot be written: {error}", directory.display())))?;
    Ok(Verdict::Fine)
}
