//! The main job on the recorded hosts: who owns which vector, where a guest outranks dom0, what mends it, and what that does.

use carillon_sim::Replayed;
use carillon_sim::SpanLimit;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;
use serde::Serialize;
use vector_allocator::Goal;

use crate::comparison::Comparison;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::inspect;
use crate::inspect::Inspection;
use crate::output::Answer;
use crate::output::Format;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;
use crate::plan;
use crate::plan::HostPlan;
use crate::plan::Steps;
use crate::simulate;
use crate::subject::Subject;

/// What to do after the main job: commands that work as they stand, but for the names of files.
const NEXT: [(&str, &str); 6] = [
    ("carillon explain dumps", "how to record a host of yours; it changes nothing there"),
    ("carillon inspect --from DIR", "the same picture of it"),
    ("carillon plan --from DIR --steps", "what to move, step by step, and what stops the rest"),
    ("carillon simulate --from DIR --report out.html", "before and after, as a page with a timeline to zoom"),
    ("carillon simulate question-2013", "does a guest's vector 0x80 pre-empt dom0's SAS controller?"),
    ("carillon capacity --guests 2 --devices 1 --queues 8 --vcpus 8", "whether that many devices fit"),
];

/// The main job's answer.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct MainJob(Vec<Host>);

/// All about one host.
#[derive(Debug, Serialize)]
struct Host {
    inspection: Inspection,
    plan: HostPlan,
    comparison: Comparison,
}

/// Does the main job on every recorded host that comes with the program.
pub(crate) fn run(out: Output) -> Result<Verdict, Failure> {
    let hosts: Result<Vec<Host>, Failure> = Recorded::ALL.into_iter().map(host).collect();
    out.print(&MainJob(hosts?), Format::Page)?;
    Ok(Verdict::Fine)
}

fn host(recorded: Recorded) -> Result<Host, Failure> {
    let host = HostSnapshot::recorded(recorded).map_err(|error| Failure::caused(&error))?;
    let subject = Subject::recorded(&host, Replayed::default())?;
    Ok(Host {
        inspection: inspect::inspect(&host),
        plan: plan::plan(&host, &Goal::default(), Steps::Hidden),
        comparison: simulate::compare(&subject, &[], &[], &[], SpanLimit(0))?,
    })
}

impl Answer for MainJob {
    fn show(&self, page: &mut Page) {
        for host in &self.0 {
            host.inspection.show(page);
            host.plan.show(page);
            page.heading("Simulated, before (recorded) and after the plan (planned)");
            host.comparison.show_host_latency(page);
            host.comparison.show_verdicts(page);
        }
        page.title("What to do next");
        let width = NEXT.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, what) in NEXT {
            page.verbatim(Tone::Plain, &format!("  {command:<width$}  {what}"));
        }
        page.line(
            Tone::Faint,
            "The program is target/release/carillon; `cargo install --path tools/carillon` puts it into your path.",
        );
    }
}
