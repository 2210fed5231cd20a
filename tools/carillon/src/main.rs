//! See, plan and simulate which interrupt outranks which on a Xen host: the main job on two recorded hosts.
#![forbid(unsafe_code)]

mod failure;
mod main_job;
mod page;

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;

use page::Colours;
use page::Page;

fn main() -> ExitCode {
    let out = std::io::stdout();
    let colours = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() { Colours::On } else { Colours::Off };
    let mut page = Page::new(colours, 120);
    match main_job::main_job(&mut page) {
        // A reader that has seen enough closes the pipe: no error.
        Ok(()) => {
            let _ = out.lock().write_all(page.into_text().as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("carillon: {failure}");
            ExitCode::FAILURE
        }
    }
}
