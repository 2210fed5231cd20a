//! Colours that can be told apart on a light and on a dark page alike.
//!
//! Charts keep their colours when the page changes its scheme, so each must reach 3:1 against both backgrounds
//! (WCAG 2.2, 1.4.11: graphical objects). Texts, grids and frames follow the page by its style sheet.

use crate::SpanKind;

/// The runs' colours, in their order; a ninth run takes the first again.
const RUNS: [&str; 8] = ["#d0453c", "#2a7fd4", "#1b9168", "#a65cc9", "#b07a14", "#c9487f", "#5f7f8f", "#7a8a2a"];

/// The colour of the `index`th run.
pub(super) fn run(index: usize) -> &'static str {
    RUNS[index % RUNS.len()]
}

/// The colour of what lasted.
pub(super) fn span(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Vcpu => "#7c8794",
        SpanKind::HostHandler => "#2a7fd4",
        SpanKind::Retention => "#b07a14",
        SpanKind::Dom0Blocked => "#d0453c",
    }
}

/// The colour of a dom0 vCPU, apart from the guests'.
pub(super) const DOM0_VCPU: &str = "#1b9168";

#[cfg(test)]
mod tests {
    use super::DOM0_VCPU;
    use super::RUNS;
    use super::span;
    use crate::SpanKind;

    /// `--card` of the style sheet, light and dark.
    const BACKGROUNDS: [&str; 2] = ["#ffffff", "#1b1f26"];

    /// Relative luminance (WCAG 2.2, definitions).
    fn luminance(colour: &str) -> f64 {
        let channel = |from: usize| {
            let value =
                f64::from(u8::from_str_radix(&colour[from..from + 2], 16).expect("two hexadecimal digits")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn every_colour_reaches_three_to_one_on_light_and_dark() {
        let kinds = [SpanKind::Vcpu, SpanKind::HostHandler, SpanKind::Retention, SpanKind::Dom0Blocked].map(span);
        for background in BACKGROUNDS {
            assert!(include_str!("page.css").contains(background), "{background} is not the page's");
            for colour in RUNS.into_iter().chain(kinds).chain([DOM0_VCPU]) {
                let (a, b) = (luminance(colour), luminance(background));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 3.0, "{colour} on {background}: {contrast:.2}");
            }
        }
    }
}
