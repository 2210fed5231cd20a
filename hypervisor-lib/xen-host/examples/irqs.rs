//! Prints what Xen says about its IRQs now: their vectors, CPUs and domains. Runs in dom0 as root.

use std::error::Error;
use std::io;
use std::io::Write;

use carillon_xen_host::ConsoleReader;
use carillon_xen_host::DebugKey;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::Privcmd;

fn main() -> Result<(), Box<dyn Error>> {
    let xen = Hypervisor::new(Privcmd::open()?)?;
    let mut console = ConsoleReader::default();
    console.read(&xen)?;
    io::stdout().write_all(&console.dump(&xen, DebugKey::Irqs)?.text)?;
    Ok(())
}
