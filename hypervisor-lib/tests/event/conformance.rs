//! The conformance suite on this crate's own hypervisor side. On real Xen, the same suite runs in `tests/test-guest`.

use carillon_conformance::Abi;
use carillon_conformance::Bed;
use carillon_conformance::ForeignVirqs;
use carillon_conformance::Ports;
use carillon_conformance::Who;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::WordSize;

use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::guest::control_place;
use crate::host::TestHost;
use crate::host::domain;

/// This crate's own hypervisor side.
struct Ours {
    host: TestHost,
    abi: Abi,
}

impl Ours {
    fn new(abi: Abi) -> Self {
        let word_size = if abi == Abi::TwoLevel32 { WordSize::Bits32 } else { WordSize::Bits64 };
        let host = TestHost::new((0..3).map(|id| DomainConfig { word_size, ..domain(id) }));
        if abi == Abi::Fifo {
            for id in 0..3 {
                Guest::new(&host, id).use_fifo(1);
            }
        }
        Self { host, abi }
    }
}

impl Bed for Ours {
    fn abi(&self) -> Abi {
        self.abi
    }

    fn number(&self, who: Who) -> u16 {
        match who {
            Who::Dom0 => 0,
            Who::One => 1,
            Who::Two => 2,
        }
    }

    fn foreign_virqs(&self) -> ForeignVirqs {
        ForeignVirqs::Refused
    }

    fn call(&self, caller: Who, op: EventOp, argument: &mut [u8]) -> i64 {
        let called = self.host.get(self.number(caller)).event_channel_hypercall(&self.host, op, argument);
        called.map_or_else(Errno::hypercall_result, |()| 0)
    }

    fn mask(&self, who: Who, port: u32) {
        Guest::new(&self.host, self.number(who)).mask(Port(port));
    }

    fn consume(&self, who: Who, vcpu: u32) -> Ports {
        Guest::new(&self.host, self.number(who)).consume(VcpuId(vcpu)).into_iter().map(|port| port.0).collect()
    }

    fn spare_frames(&self) -> [u64; 2] {
        [control_place(VcpuId(0)).gfn + 1, ARRAY_GFN + 8]
    }
}

/// One test for each part of the suite and each ABI.
macro_rules! conformance {
    ($($part:ident$(($($argument:expr),*))?,)*) => {
        $(mod $part {
            use carillon_conformance::Abi;
            use carillon_conformance::$part;

            use super::Ours;

            #[test]
            fn holds_with_2_levels_of_64_bit_words() {
                $part(&Ours::new(Abi::TwoLevel64) $($(, $argument)*)?);
            }

            #[test]
            fn holds_with_2_levels_of_32_bit_words() {
                $part(&Ours::new(Abi::TwoLevel32) $($(, $argument)*)?);
            }

            #[test]
            fn holds_with_fifo_queues() {
                $part(&Ours::new(Abi::Fifo) $($(, $argument)*)?);
            }
        })*
    };
}

conformance!(
    connections(carillon_conformance::Who::Two),
    moves,
    offers,
    offers_for_others,
    interrupts,
    foreign_virqs,
    global_virqs,
    pirqs,
    masks,
    refusals,
    limits,
    reset,
    strangers,
);

#[test]
fn queues_hold() {
    carillon_conformance::queues(&Ours::new(Abi::Fifo));
}

#[test]
fn a_domain_connects_to_itself() {
    for abi in [Abi::TwoLevel64, Abi::TwoLevel32, Abi::Fifo] {
        carillon_conformance::connections(&Ours::new(abi), Who::One);
    }
}
