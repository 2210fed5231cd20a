//! Tests and benches that span crates. There is no library here: see `tests/` for what holds between crates (the layers of
//! the house) and `benches/` for the bars.
