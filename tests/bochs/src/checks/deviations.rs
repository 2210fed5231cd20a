//! Where Bochs departs from the manual. Each departure is pinned: the CPU must do what was seen, and the model must not.
//! A Bochs that mends one fails here, and is to be noticed.

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::Activity;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::GuestInterruptStatus;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VectorRegister;
use carillon_machine::vmx::VirtualVector;
use carillon_machine::vmx::Width;
use vector_allocator::Vector;

use super::Failure;
use super::Tally;
use super::guests;
use super::guests::Extras;
use super::guests::Posting;
use super::guests::Reach;
use crate::comparison::Pair;
use crate::cpu::Capabilities;
use crate::event::Event;
use crate::event::Listed;
use crate::memory::VIRTUAL_APIC;
use crate::println;
use crate::program::Operation;

/// A vector of the host that is no notification.
const HOST_VECTOR: u8 = 0xe3;

/// Runs the checks: those that need posting only where there is posting.
pub(crate) fn run(capabilities: &Capabilities, tally: &mut Tally) {
    let mut pin = |what: &str, result| tally.record(format_args!("deviation {what}"), result);
    pin("D1: a virtual interrupt does not wake HLT", d1(capabilities));
    pin("D2: an external interrupt delivers a recognised virtual one although IF is 0", d2(capabilities));
    pin("D7: a self-IPI in x2APIC mode is not stored at 3F0H", d7(capabilities));
    pin(
        "D8: without APIC-register virtualization reads of 0B0H and 300H exit, as in old editions of the manual",
        d8(capabilities),
    );
    pin(
        "D9: without APIC-register virtualization writes inside VEOI and VICR_LO do not exit as accesses",
        d9(capabilities),
    );
    if capabilities.posts {
        pin("D3: after VM entry with IF = 0 an external interrupt waits until the guest writes IF", d3(capabilities));
        pin("D4: a notification with nothing posted and nothing waiting delivers FF", d4(capabilities));
        pin("D5: a notification wakes HLT although the priority holds its vector back", d5(capabilities));
        pin("D6: a descriptor that is not page-aligned is refused", d6(capabilities));
        pin(
            "D11: without TPR shadow posted-interrupt processing is accepted, though no virtual interrupt is delivered",
            d11(capabilities),
        );
        pin("D10: posted-interrupt processing takes RVI from the whole of VIRR", d10(capabilities));
    }
}

/// Whether an operation of a guest like this shows D8 or D9, and has no place in a comparison.
pub(super) fn shows(extras: Extras, operation: Operation) -> bool {
    let (offset, width, is_read) = match operation {
        Operation::ReadPage(offset, width) => (offset, width, true),
        Operation::WritePage(offset, width, _) => (offset, width, false),
        _ => return false,
    };
    let inside = offset.bytes() - offset.slot().bytes();
    extras == Extras::Delivery
        && [PageOffset::VEOI, PageOffset::VICR_LO].contains(&offset.slot())
        && inside + width.bytes() <= 4
        && (is_read == (inside == 0))
}

fn host_vector() -> Vector {
    Vector::new(HOST_VECTOR).expect("a legal vector")
}

fn guest(posting: Posting, interrupt_flag: InterruptFlag) -> Guest {
    guests::guest(Reach::Msrs, Extras::Both, posting, interrupt_flag)
}

fn external(rvi: u8, svi: u8) -> Event {
    let status = GuestInterruptStatus::new().with_rvi(VirtualVector(rvi)).with_svi(VirtualVector(svi));
    Event::Exit { reason: 1, qualification: u32::from(HOST_VECTOR), status }
}

/// Runs a program on both sides, which must do what is expected of each.
fn expect(pair: &mut Pair, program: &[Operation], model: &[Event], cpu: &[Event]) -> Result<(), Failure> {
    let (modelled, seen) = (pair.twin.run(program), pair.processor.run(program));
    if modelled != model {
        println!("     the model did {}, the manual says {}", Listed(modelled), Listed(model));
        return Err(Failure::Wrong("the model does not follow the manual"));
    }
    if seen == cpu {
        return Ok(());
    }
    println!("     the CPU did {}, it used to do {}", Listed(seen), Listed(cpu));
    if seen == model {
        return Err(Failure::Wrong("this Bochs follows the manual: the deviation is mended, take the pin out"));
    }
    Err(Failure::Wrong("this Bochs departs from the manual in another way"))
}

fn d1(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut asleep = guest(Posting::Off, InterruptFlag::Set);
    asleep.vmcs.activity = Activity::Hlt;
    let mut pair = Pair::new(asleep, capabilities.width);
    pair.inject(0x51);
    expect(&mut pair, &[], &[Event::Interrupt(0x51)], &[Event::Idle])?;
    // The same by the instruction: STI holds the interrupt back until HLT is done.
    let mut pair = Pair::new(guest(Posting::Off, InterruptFlag::Clear), capabilities.width);
    pair.inject(0x51);
    expect(&mut pair, &[Operation::StiHlt], &[Event::Interrupt(0x51)], &[Event::Idle])
}

fn d2(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut pair = Pair::new(guest(Posting::Off, InterruptFlag::Clear), capabilities.width);
    pair.inject(0x73);
    pair.interrupt(host_vector());
    let delivered_first = [external(0, 0x73), Event::Interrupt(0x73)];
    expect(&mut pair, &[Operation::Cli], &[external(0x73, 0)], &delivered_first)
}

fn d3(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut pair = Pair::new(guest(Posting::Off, InterruptFlag::Clear), capabilities.width);
    pair.interrupt(host_vector());
    expect(&mut pair, &[Operation::Nothing], &[external(0, 0)], &[])?;
    expect(&mut pair, &[Operation::Cli], &[], &[external(0, 0)])
}

fn d4(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut pair = Pair::new(guest(Posting::On, InterruptFlag::Set), capabilities.width);
    pair.post(&[]);
    expect(&mut pair, &[Operation::Nothing], &[], &[Event::Interrupt(0xff)])
}

fn d5(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut asleep = guest(Posting::On, InterruptFlag::Set);
    asleep.vmcs.activity = Activity::Hlt;
    asleep.page.set_word(PageOffset::VTPR, 0xf0);
    let mut pair = Pair::new(asleep, capabilities.width);
    pair.post(&[Vector::new(0x77).expect("a legal vector")]);
    expect(&mut pair, &[], &[Event::Idle], &[])
}

fn d6(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut aligned_to_64 = guest(Posting::On, InterruptFlag::Set);
    aligned_to_64.vmcs.descriptor_address += 64;
    let mut pair = Pair::new(aligned_to_64, capabilities.width);
    expect(&mut pair, &[Operation::Nothing], &[], &[Event::EntryFailed(7)])
}

fn d7(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut pair = Pair::new(guest(Posting::Off, InterruptFlag::Clear), capabilities.width);
    expect(&mut pair, &[Operation::WriteMsr(0x83f, 0x44)], &[], &[])?;
    let stored = pair.twin.guest.page.word(PageOffset::SELF_IPI);
    match (stored, VIRTUAL_APIC.load(usize::from(PageOffset::SELF_IPI.bytes()) / 4)) {
        (0x44, 0) => Ok(()),
        (0x44, 0x44) => Err(Failure::Wrong("this Bochs follows the manual: the deviation is mended, take the pin out")),
        (0x44, _) => Err(Failure::Wrong("this Bochs departs from the manual in another way")),
        _ => Err(Failure::Wrong("the model does not follow the manual")),
    }
}

fn d8(capabilities: &Capabilities) -> Result<(), Failure> {
    let exit = |qualification| Event::Exit { reason: 44, qualification, status: GuestInterruptStatus::new() };
    let mut pair = Pair::new(delivery_by_page(), capabilities.width);
    let program = [PageOffset::VEOI, PageOffset::VICR_LO].map(|offset| Operation::ReadPage(offset, Width::Doubleword));
    let seen = [exit(0x0b0), Event::Value(0), exit(0x300), Event::Value(0)];
    expect(&mut pair, &program, &[Event::Value(0), Event::Value(0)], &seen)
}

fn d9(capabilities: &Capabilities) -> Result<(), Failure> {
    let exit = |reason, qualification| Event::Exit { reason, qualification, status: GuestInterruptStatus::new() };
    let mut pair = Pair::new(delivery_by_page(), capabilities.width);
    let program = [0x0b1, 0x302].map(|at| Operation::WritePage(PageOffset::of_address(at), Width::Byte, 1));
    let access = [exit(44, 0x10b1), exit(44, 0x1302)];
    expect(&mut pair, &program, &access, &[exit(56, 0x0b1), exit(56, 0x302)])
}

fn delivery_by_page() -> Guest {
    guests::guest(Reach::Page, Extras::Delivery, Posting::Off, InterruptFlag::Clear)
}

fn d10(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut guest = guest(Posting::On, InterruptFlag::Clear);
    // In VIRR, but not in RVI: software that forgot it would find it delivered.
    guest.page.insert(VectorRegister::Request, VirtualVector(0xf8));
    let mut pair = Pair::new(guest, capabilities.width);
    pair.post(&[Vector::new(0x51).expect("a legal vector")]);
    expect(&mut pair, &[Operation::Sti], &[Event::Interrupt(0x51)], &[Event::Interrupt(0xf8)])
}

fn d11(capabilities: &Capabilities) -> Result<(), Failure> {
    let mut guest = guest(Posting::On, InterruptFlag::Set);
    guest.vmcs.controls.primary.set_activate_secondary(false);
    guest.vmcs.controls.primary.set_use_tpr_shadow(false);
    let mut pair = Pair::new(guest, capabilities.width);
    expect(&mut pair, &[Operation::Nothing], &[Event::EntryFailed(7)], &[])
}
