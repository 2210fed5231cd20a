//! Renders a report: `cargo run -p carillon-sim --example render_report -- out.html [report.json]`.
//!
//! Without a JSON file it renders the sample the tests use. A picture of it, as in the README:
//! `chromium --headless --no-sandbox --hide-scrollbars --window-size=1200,1180 --screenshot=report.png out.html`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::error::Error;
use std::fs;

use carillon_sim::report;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: render_report out.html [report.json]")?;
    let report = match arguments.next() {
        Some(json) => serde_json::from_str(&fs::read_to_string(json)?)?,
        None => sample::report(),
    };
    fs::write(out, report::html(&report)?)?;
    Ok(())
}
