//! `carillon top`: how often each interrupt and each of dom0's events comes, now or in a recording.

mod rates;
mod screen;
mod watch;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::cli::TopArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::hosts;
use crate::live;
use crate::output::Output;

use rates::Rates;
use watch::Watch;

pub(crate) use watch::listen;

/// Shows the rates asked for.
pub(crate) fn run(args: &TopArgs, out: Output) -> Result<Verdict, Failure> {
    let format = args.output.format();
    if let Some(recording) = args.instead.host() {
        for host in hosts::load(&recording)? {
            out.print(&Rates::of_recording(&host)?, format)?;
        }
        return Ok(Verdict::Fine);
    }
    let interval = Duration::from_nanos(args.interval_ns);
    let xen = live::hypervisor()?;
    let mut watch = Watch::start(&xen)?;
    let batches = if args.once { Some(NonZeroU32::MIN) } else { args.batch };
    match batches {
        Some(batches) => {
            for _ in 0..batches.get() {
                out.print(&watch.next(interval)?, format)?;
            }
        }
        None => screen::show(out, &mut watch, interval)?,
    }
    Ok(Verdict::Fine)
}
