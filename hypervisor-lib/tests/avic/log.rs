//! A small guest-APIC log that overflows: no vCPU sleeps on.

use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GaLogStatus;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Completeness;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::RESTART;
use hypervisor_lib::delivery::avic::RestartStep;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::prop_oneof;
use proptest::proptest;

const ENTRIES: u32 = 4;

/// The IOMMU's side of the log: one entry is left free, so that a full log is not an empty one.
struct Writer<'a> {
    cells: &'a [GaLogCell],
    head: u32,
    tail: u32,
    enabled: bool,
    status: GaLogStatus,
}

impl Writer<'_> {
    fn log(&mut self, tag: u32) {
        if !self.enabled || self.status.has_overflowed() {
            return;
        }
        let next = (self.tail + 8) % (8 * ENTRIES);
        if next == self.head {
            self.status.set_has_overflowed(true);
            return;
        }
        let entry = GaLogEntry::new().with_tag(GaTag(tag)).with_kind(1);
        self.cells[(self.tail / 8) as usize].0.store(entry.into(), Ordering::Release);
        self.tail = next;
    }

    fn take(&mut self, step: RestartStep, head: u32) {
        match step {
            RestartStep::Disable => self.enabled = false,
            RestartStep::ClearOverflow => {
                assert!(!self.enabled, "the bit is cleared while the log runs");
                self.status.set_has_overflowed(false);
            }
            RestartStep::SetHead => self.head = head,
            RestartStep::Enable => self.enabled = true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Interrupt(u32),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![3 => (0..8_u32).prop_map(Step::Interrupt), 1 => Just(Step::Drain)], 0..60)
}

proptest! {
    #[test]
    fn after_a_round_no_vcpu_sleeps_over_an_interrupt(steps in steps()) {
        let cells: Vec<GaLogCell> = (0..ENTRIES).map(|_| GaLogCell::default()).collect();
        let status = GaLogStatus::new();
        let mut writer = Writer { cells: &cells, head: 0, tail: 0, enabled: true, status };
        let mut log = GaLog::new(&cells).expect("a size");
        let mut sleeps_over = [false; 8];
        for step in steps.into_iter().chain([Step::Drain]) {
            match step {
                Step::Interrupt(vcpu) => {
                    sleeps_over[vcpu as usize] = true;
                    writer.log(vcpu);
                }
                Step::Drain => {
                    let mut told = Vec::new();
                    let drained = log.drain(writer.tail, writer.status, |tag| told.push(tag.0)).expect("a tail");
                    assert!(told.len() < ENTRIES as usize);
                    told.iter().for_each(|vcpu| sleeps_over[*vcpu as usize] = false);
                    match drained.completeness {
                        Completeness::Complete => writer.head = drained.head,
                        Completeness::EntriesLost => {
                            RESTART.into_iter().for_each(|step| writer.take(step, drained.head));
                            sleeps_over = [false; 8];
                        }
                    }
                    assert_eq!(sleeps_over, [false; 8]);
                    assert!(writer.enabled && !writer.status.has_overflowed() && writer.head == writer.tail);
                }
            }
        }
    }
}
