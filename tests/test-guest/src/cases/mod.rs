//! The cases, in the order they run, each with the name the runner knows it by.

mod boot;
mod channels;
mod conformance;
mod dom0;
mod far;
mod pirqs;
mod queues;
mod suspending;
mod vcpus;

pub(crate) use far::serve as serve_far;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;

use crate::apic;
use crate::bed::FifoAbi;
use crate::bed::TwoLevelAbi;
use crate::machine::Dom0;
use crate::machine::machine;
use crate::record;

/// A case: a function that panics if what it tests does not hold.
struct Case {
    name: &'static str,
    needs: Needs,
    run: fn(),
}

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Xen,
    Dom0,
    Far,
}

impl Needs {
    /// Why the case cannot be tried here; `None` if it can.
    fn lack(self) -> Option<&'static str> {
        match (self, &machine().xen) {
            (Self::Nothing, _) | (Self::Xen, Some(_)) => None,
            (Self::Xen | Self::Dom0 | Self::Far, None) => Some("there is no Xen"),
            (Self::Dom0 | Self::Far, Some(xen)) if xen.dom0 == Dom0::Absent => Some("dom0 does not serve this guest"),
            (Self::Far, Some(xen)) if xen.far.is_none() => Some("there is no other guest"),
            (Self::Dom0 | Self::Far, Some(_)) => None,
        }
    }
}

/// Names functions of a module: once, or once for each ABI.
macro_rules! cases {
    (
        once { $($needs:ident: $module:ident { $($name:ident,)* })* }
        for each abi { $($abi_needs:ident: $abi_module:ident { $($abi_name:ident,)* })* }
    ) => {
        &[
            $($(Case {
                name: concat!(stringify!($module), ".", stringify!($name)),
                needs: Needs::$needs,
                run: $module::$name,
            },)*)*
            $($(Case {
                name: concat!("two_level.", stringify!($abi_name)),
                needs: Needs::$abi_needs,
                run: $abi_module::$abi_name::<TwoLevelAbi>,
            },)*)*
            $($(Case {
                name: concat!("fifo.", stringify!($abi_name)),
                needs: Needs::$abi_needs,
                run: $abi_module::$abi_name::<FifoAbi>,
            },)*)*
        ]
    };
}

const CASES: &[Case] = cases! {
    once {
        Nothing: boot { start_info, }
        Xen: boot { hypervisor, vcpu_info, }
        Xen: queues { every_priority, first_in_first_out, a_higher_priority_overtakes, refused_priorities, }
        Xen: conformance { queues, }
        Xen: pirqs { refused, }
        Dom0: pirqs { of_dom0, }
    }
    // What follows runs in the domain that the guest was restored in last.
    for each abi {
        Dom0: suspending { checkpoint, save_and_restore, }
        Xen: channels {
            ipi, mask_and_unmask, late_end, loopback, close_and_bind_again, many_ports, timer, reset_and_rebind,
        }
        Xen: vcpus { ipis, moved_port, timers, no_event_is_lost, }
        Dom0: dom0 { shared_page, }
        Xen: conformance { connections, moves, offers, interrupts, foreign_virqs, masks, refusals, limits, reset, }
        Dom0: conformance { offers_for_others, }
        Far: far { both_ways, connections_between_guests, strangers, }
    }
};

/// How many cases have begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// The name of the case that is running.
pub(crate) fn current() -> &'static str {
    let begun = BEGUN.load(Ordering::SeqCst);
    begun.checked_sub(1).and_then(|index| CASES.get(index as usize)).map_or("boot", |case| case.name)
}

/// Runs the cases that have not begun.
pub(crate) fn run_rest() {
    while let Some(case) = CASES.get(BEGUN.fetch_add(1, Ordering::SeqCst) as usize) {
        let name = case.name;
        if let Some(reason) = case.needs.lack() {
            record::write(format_args!("case name={name} verdict=skip reason=\"{reason}\""));
            continue;
        }
        apic::guard();
        (case.run)();
        apic::relax();
        record::write(format_args!("case name={name} verdict=pass"));
    }
    record::write(format_args!("end cases={}", CASES.len()));
}
