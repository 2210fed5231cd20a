//! VM entries with controls that fit together or do not: model and CPU must accept and refuse the same.

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::EntryFault;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::PhysicalWidth;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VirtualApicPage;
use carillon_machine::vmx::VirtualVector;
use carillon_machine::vmx::Vmcs;

use super::Failure;
use super::Tally;
use super::guests;
use super::guests::Extras;
use super::guests::Posting;
use super::guests::Reach;
use crate::comparison::Extent;
use crate::comparison::Pair;
use crate::cpu::Capabilities;
use crate::println;
use crate::program::Operation;
use crate::random::Numbers;
use crate::random::Seed;

const ROUNDS: u32 = 3000;

/// Runs the check.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    let mut numbers = seed.numbers(2);
    let mut refused = 0;
    let result = (0..ROUNDS).try_for_each(|round| {
        let guest = any_guest(&mut numbers, capabilities);
        let refusal = guest.check_entry(capabilities.width).err();
        let shadowed = guest.vmcs.controls.primary.use_tpr_shadow();
        if refusal == Some(EntryFault::PostingWithoutDelivery) && !shadowed {
            // Deviation D11.
            return Ok(());
        }
        refused += u32::from(refusal.is_some());
        let program = [Operation::ReadCr8, Operation::Nothing];
        // Without a TPR shadow CR8 is the CPU's own, whose task priority is 0 like an empty page's.
        let mut pair = Pair::new(guest, capabilities.width);
        pair.run(&program, Extent::Registers).map(drop).map_err(|_| {
            if let Some(fault) = refusal {
                println!("     the model's reason: {fault}");
            }
            Failure::Differs { round }
        })
    });
    let sane = if refused == 0 || refused == ROUNDS { Err(Failure::Wrong("all alike")) } else { Ok(()) };
    tally.record(format_args!("{ROUNDS} VM entries, {refused} of them refused"), result.and(sane));
}

/// Controls that mostly fit together.
fn any_guest(numbers: &mut Numbers, capabilities: &Capabilities) -> Guest {
    let posting = if capabilities.posts && numbers.once_in(2) { Posting::On } else { Posting::Off };
    let mut vmcs = guests::vmcs(
        numbers.one_of([Reach::Page, Reach::Msrs]),
        if posting == Posting::On { Extras::Both } else { numbers.one_of(Extras::ALL) },
        posting,
    );
    vmcs.tpr_threshold = u32::from(numbers.below(16));
    let mut page = VirtualApicPage::new();
    page.set_word(PageOffset::VTPR, u32::from(numbers.byte()));
    for _ in 0..numbers.below(3) {
        spoil(&mut vmcs, numbers, capabilities.width);
    }
    if !vmcs.controls.primary.use_tpr_shadow() {
        page.set_word(PageOffset::VTPR, 0);
    }
    Guest::new(vmcs, page)
}

/// Changes one thing, which may or may not contradict the rest.
fn spoil(vmcs: &mut Vmcs, numbers: &mut Numbers, width: PhysicalWidth) {
    let controls = &mut vmcs.controls;
    let misplace = |address: u64, numbers: &mut Numbers| match numbers.below(3) {
        0 => address | 1 << numbers.below(12),
        1 => address | 1 << width.0,
        _ => address | 1 << 63,
    };
    match numbers.below(15) {
        0 => controls.primary.set_use_tpr_shadow(false),
        1 => controls.primary.set_activate_secondary(false),
        2 => controls.primary.set_interrupt_window_exiting(true),
        3 => controls.secondary.set_virtualize_apic_accesses(true),
        4 => controls.secondary.set_virtualize_apic_accesses(false),
        5 => controls.secondary.set_virtualize_x2apic_mode(true),
        6 => controls.secondary.set_apic_register_virtualization(true),
        7 => controls.secondary.set_virtual_interrupt_delivery(numbers.once_in(2)),
        8 => controls.pin.set_external_interrupt_exiting(false),
        9 => controls.exit.set_acknowledge_interrupt_on_exit(false),
        10 => vmcs.virtual_apic_address = misplace(vmcs.virtual_apic_address, numbers),
        11 => vmcs.apic_access_address = misplace(vmcs.apic_access_address, numbers),
        12 => vmcs.tpr_threshold = 1 << numbers.below(32),
        13 => {
            vmcs.status.set_rvi(VirtualVector(numbers.byte()));
            vmcs.status.set_svi(VirtualVector(numbers.byte()));
            vmcs.interrupt_flag = numbers.one_of([InterruptFlag::Set, InterruptFlag::Clear]);
        }
        _ => vmcs.notification_vector = 1 << numbers.below(16),
    }
}
