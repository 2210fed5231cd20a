//! A result as rows of a table: one per source. The rows of shards can be put one after the other; the header belongs
//! before the first.

use crate::RunResult;
use crate::SourceResult;

/// The names of the columns, with the end of the line.
pub const HEADER: &str = "scenario,policy,path,load,seed,duration_ns,trace_hash,source,label,owner,vector,cpu,raised,\
coalesced,completed,moves,failed_moves,throttled,p50_ns,p99_ns,max_ns,mean_ns,host_p50_ns,host_p99_ns,host_max_ns,\
blocked_times,blocked_total_ns,blocked_max_ns\n";

/// The rows of one result.
#[must_use]
pub fn rows(result: &RunResult) -> String {
    result.sources.iter().map(|source| row(result, source)).collect()
}

fn row(result: &RunResult, source: &SourceResult) -> String {
    let blocked = || result.blocking.iter().filter(|blocking| blocking.victim == source.id);
    let numbers = [
        source.raised,
        source.coalesced,
        source.completed,
        source.moves,
        source.failed_moves,
        source.throttled,
        source.latency.p50_ns,
        source.latency.p99_ns,
        source.latency.max_ns,
    ];
    let ends = [
        source.host_latency.p50_ns,
        source.host_latency.p99_ns,
        source.host_latency.max_ns,
        blocked().map(|blocking| blocking.times).sum(),
        blocked().map(|blocking| blocking.total_ns).sum(),
        blocked().map(|blocking| blocking.max_ns).max().unwrap_or(0),
    ];
    let join = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    format!(
        "{},{},{},{},{},{},{:016x},{},{},{},{},{},{},{:.1},{}\n",
        quoted(&result.scenario),
        result.policy,
        result.path,
        result.load,
        result.seed,
        result.duration_ns,
        result.trace_hash,
        source.id,
        quoted(&source.label),
        quoted(&source.owner),
        source.vector.map(|vector| format!("{vector:02X}")).unwrap_or_default(),
        source.cpu,
        join(&numbers),
        source.latency.mean_ns,
        join(&ends),
    )
}

/// A field as RFC 4180 wants it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::HEADER;
    use super::quoted;
    use super::rows;
    use crate::Run;
    use crate::Shipped;

    #[test]
    fn a_row_has_a_field_for_every_column_and_a_source_has_a_row() {
        let mut scenario = Shipped::named("retention").unwrap().scenario().unwrap();
        scenario.duration_ms = 5.0;
        let result = Run::new(&scenario).unwrap().to_end(|_| {});
        let table = rows(&result);
        assert_eq!(table.lines().count(), result.sources.len());
        for line in table.lines() {
            assert_eq!(line.split(',').count(), HEADER.split(',').count(), "{line}");
        }
    }

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("nic"), "nic");
        assert_eq!(quoted("nic, \"fast\""), "\"nic, \"\"fast\"\"\"");
    }
}
