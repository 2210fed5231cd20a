//! IPI virtualization: what the processor does with a command, against what the hypervisor expects of it.

use carillon_machine::InterruptFlag;
use carillon_machine::InterruptMessage;
use carillon_machine::Lapic;
use carillon_machine::PostedMemory;
use carillon_machine::Signal;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::Event;
use carillon_machine::vmx::Exit;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::Ipi;
use carillon_machine::vmx::MsrBitmap;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::PhysicalWidth;
use carillon_machine::vmx::PidMemory;
use carillon_machine::vmx::VectorRegister;
use carillon_machine::vmx::VirtualApicPage;
use carillon_machine::vmx::VirtualVector;
use carillon_machine::vmx::Vmcs;
use carillon_machine::vmx::Width;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::pid_pointer::PidPointer;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Interception;
use hypervisor_lib::delivery::ipiv::Assist;
use hypervisor_lib::delivery::ipiv::IcrWrite;
use hypervisor_lib::delivery::ipiv::Interface;
use hypervisor_lib::delivery::ipiv::LookUp;
use hypervisor_lib::delivery::ipiv::Outcome;
use hypervisor_lib::delivery::ipiv::PidTable;
use hypervisor_lib::delivery::ipiv::judge;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::post;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

const INTERFACES: [Interface; 3] = [Interface::None, Interface::Page, Interface::Msrs];
const ASSISTS: [Assist; 4] = [Assist::TprShadow, Assist::Registers, Assist::Delivery, Assist::IpiVirtualization];
const DESTINATIONS: [u32; 6] = [0, 1, 0xff, 0x100, 0x0200_0000, u32::MAX];
const WIDTH: PhysicalWidth = PhysicalWidth(46);
const TABLE: u64 = 0x8000;
const DESCRIPTORS: u64 = 0x10_0000;

/// A table, and the descriptors of virtual processors, 64 bytes apart.
struct Memory {
    table: Vec<PidPointerCell>,
    descriptors: Vec<PostedDescriptor>,
}

impl Memory {
    /// Every processor is in the table, and is notified by a vector of its own.
    fn new(processors: usize) -> Self {
        let control = |i| PostedControl::new().with_vector(0xf2).with_destination(PostedDestination::from_bits(i));
        let descriptors: Vec<PostedDescriptor> = (0..).take(processors).map(|i| descriptor(control(i))).collect();
        let pointer = |i: u64| PidPointer::new().with_is_valid(true).with_line((DESCRIPTORS >> 6) + i);
        let table = (0..).take(processors).map(|i| PidPointerCell(u64::from(pointer(i)).into())).collect();
        Self { table, descriptors }
    }

    fn contents(&self) -> Vec<[u64; 5]> {
        self.descriptors.iter().map(contents).collect()
    }
}

impl PostedMemory for Memory {
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor> {
        assert!(address.is_multiple_of(64));
        self.descriptors.get(usize::try_from(address.checked_sub(DESCRIPTORS)? / 64).ok()?)
    }
}

impl PidMemory for Memory {
    fn pid_pointer(&self, address: u64) -> Option<&PidPointerCell> {
        assert!(address.is_multiple_of(8));
        self.table.get(usize::try_from(address.checked_sub(TABLE)? / 8).ok()?)
    }
}

fn descriptor(control: PostedControl) -> PostedDescriptor {
    let descriptor = PostedDescriptor::default();
    descriptor.control.store(control.into(), Ordering::Relaxed);
    descriptor
}

fn contents(descriptor: &PostedDescriptor) -> [u64; 5] {
    let [a, b, c, d] = &descriptor.pir;
    [a, b, c, d, &descriptor.control].map(|word| word.load(Ordering::Relaxed))
}

/// A guest of a hypervisor that has switched on so much.
fn guest(interface: Interface, assist: Assist, interception: Interception) -> Guest {
    let mut vmcs = Vmcs { pid_pointer_table: TABLE, last_pid_pointer: 2, ..Vmcs::default() };
    let controls = &mut vmcs.controls;
    controls.pin.set_external_interrupt_exiting(true);
    controls.primary.set_use_tpr_shadow(true);
    controls.primary.set_use_msr_bitmaps(true);
    controls.primary.set_activate_secondary(true);
    controls.primary.set_activate_tertiary(true);
    controls.secondary.set_virtualize_apic_accesses(interface == Interface::Page);
    controls.secondary.set_virtualize_x2apic_mode(interface == Interface::Msrs);
    controls.secondary.set_apic_register_virtualization(assist >= Assist::Registers);
    controls.secondary.set_virtual_interrupt_delivery(assist >= Assist::Delivery);
    controls.tertiary.set_ipi_virtualization(assist >= Assist::IpiVirtualization);
    if interception == Interception::Intercept {
        vmcs.msr_bitmap = MsrBitmap { read: [u64::MAX; 4], write: [u64::MAX; 4] };
    }
    let guest = Guest::new(vmcs, VirtualApicPage::new());
    assert_eq!(guest.check_entry(WIDTH), Ok(()));
    guest
}

/// Lets the guest write; what it comes to, in the hypervisor's words.
fn write(guest: &mut Guest, write: IcrWrite) -> Outcome {
    let before = guest.page.clone();
    let access = match write {
        IcrWrite::Memory { low, high } => {
            guest.page.set_word(PageOffset::VICR_HI, high);
            guest.write_page(PageOffset::VICR_LO, Width::Doubleword, low)
        }
        IcrWrite::Msr(value, _) => guest.wrmsr(0x830, value),
        IcrWrite::SelfIpiMsr(value, _) => guest.wrmsr(0x83f, value),
        IcrWrite::UserNotification { vector, destination } => {
            guest.notify_user(vector, PostedDestination::from_bits(destination))
        }
    };
    match access {
        Access::Virtual(None) => Outcome::SelfIpi(Vector::new(pending(guest).expect("VIRR has it")).expect("legal")),
        Access::Virtual(Some(ipi)) => match Vector::new(ipi.vector.0) {
            Ok(vector) => Outcome::Ipi { vector, target: ipi.target },
            Err(_) => match send(guest, ipi, &Memory::new(3)).0 {
                Access::Exit(Exit::ApicWrite(offset)) => Outcome::ApicWriteExit(offset.bytes()),
                other => panic!("{ipi:?} is {other:?}"),
            },
        },
        Access::Exit(Exit::ApicWrite(offset)) => Outcome::ApicWriteExit(offset.bytes()),
        Access::Exit(Exit::ApicAccess { offset, .. }) => {
            assert_eq!(offset, PageOffset::VICR_LO);
            Outcome::ApicAccessExit
        }
        Access::Exit(Exit::WriteMsr) => Outcome::MsrExit,
        Access::Exit(other) => panic!("{write:?} exits by {other:?}"),
        Access::GeneralProtection => {
            assert_eq!(guest.page, before, "a fault changes nothing");
            Outcome::GeneralProtection
        }
        Access::Native => Outcome::HostApic,
    }
}

fn pending(guest: &Guest) -> Option<u8> {
    guest.page.highest(VectorRegister::Request).map(|vector| vector.0)
}

fn send(guest: &Guest, ipi: Ipi, memory: &Memory) -> (Access, Vec<Signal>) {
    let mut sent = Vec::new();
    let access = guest.send_ipi(ipi, WIDTH, ApicMode::X2Apic, memory, &mut |signal| sent.push(signal));
    (access, sent)
}

/// Every write of these 64 bits, by each way to send.
fn writes(low: u32, high: u32) -> [IcrWrite; 5] {
    let value = u64::from(high) << 32 | u64::from(low);
    let [vector, ..] = low.to_le_bytes();
    [
        IcrWrite::Memory { low, high },
        IcrWrite::Msr(value, Interception::PassThrough),
        IcrWrite::Msr(value, Interception::Intercept),
        IcrWrite::SelfIpiMsr(value, Interception::PassThrough),
        IcrWrite::UserNotification { vector, destination: high },
    ]
}

/// Compares every way to send these 64 bits under these controls.
fn compare(low: u32, high: u32, interface: Interface, assist: Assist) {
    for command in writes(low, high) {
        let interception = match command {
            IcrWrite::Msr(_, interception) | IcrWrite::SelfIpiMsr(_, interception) => interception,
            IcrWrite::Memory { .. } | IcrWrite::UserNotification { .. } => Interception::PassThrough,
        };
        let mut guest = guest(interface, assist, interception);
        assert_eq!(
            write(&mut guest, command),
            judge(command, interface, assist),
            "{command:x?}, {interface:?}, {assist:?}"
        );
    }
}

/// Every combination of the lower half's fields, the vectors at the borders, and reserved bits one at a time.
#[test]
fn every_class_of_command_under_every_set_of_controls_does_what_the_hypervisor_expects() {
    let fields = (0..1_u32 << 12).map(|fields| fields << 8);
    let plain = fields.flat_map(|fields| [0x00, 0x0f, 0x10, 0x51, 0xff].map(|vector| fields | vector));
    let reserved = (0..32).flat_map(|bit| [0x0000_0051, 0x0004_0051].map(|command| command | 1 << bit));
    for low in plain.chain(reserved) {
        for interface in INTERFACES {
            for assist in ASSISTS {
                compare(low, 0x0200_0000, interface, assist);
            }
        }
    }
    for high in DESTINATIONS {
        for interface in INTERFACES {
            for assist in ASSISTS {
                compare(0x4051, high, interface, assist);
            }
        }
    }
}

/// What the hypervisor finds in the page when a write has exited is what was written.
#[test]
fn the_page_holds_the_command_whether_it_was_sent_or_exits() {
    for low in [0x0000_4051, 0x000c_0051, 0x0000_0400] {
        let value = 0x0000_0102_0000_0000 | u64::from(low);
        let mut by_msr = guest(Interface::Msrs, Assist::IpiVirtualization, Interception::PassThrough);
        by_msr.wrmsr(0x830, value);
        assert_eq!(by_msr.rdmsr(0x830), Access::Virtual(value));
        let mut by_page = guest(Interface::Page, Assist::IpiVirtualization, Interception::PassThrough);
        by_page.write_page(PageOffset::VICR_LO, Width::Doubleword, low);
        assert_eq!(by_page.page.word(PageOffset::VICR_LO), low);
    }
    let destination = PostedDestination::from_bits(0x0001_2300);
    let mut notified = guest(Interface::Page, Assist::Registers, Interception::PassThrough);
    assert_eq!(notified.notify_user(0xec, destination), Access::Exit(Exit::ApicWrite(PageOffset::VICR_LO)));
    let halves = [PageOffset::VICR_LO, PageOffset::VICR_HI].map(|offset| notified.page.word(offset));
    assert_eq!(halves, [0xec, 0x2300_0000]);
}

/// What stands in a table entry: a descriptor of this memory, beside one, or anything.
fn pointers() -> impl Strategy<Value = u64> {
    let good = (0..3_u64).prop_map(|i| DESCRIPTORS + i * 64 + 1);
    prop_oneof![
        4 => good.clone(),
        2 => (good, 0..64).prop_map(|(pointer, bit)| pointer ^ 1_u64 << bit),
        1 => Just(0),
        1 => any::<u64>(),
    ]
}

fn controls() -> impl Strategy<Value = PostedControl> {
    (0..4_u64, 16_u8.., any::<u32>()).prop_map(|(states, vector, destination)| {
        PostedControl::from(states).with_vector(vector).with_destination(PostedDestination::from_bits(destination))
    })
}

proptest! {
    #[test]
    fn any_command_does_what_the_hypervisor_expects(low in any::<u32>(), high in any::<u32>()) {
        for interface in INTERFACES {
            for assist in ASSISTS {
                compare(low, high, interface, assist);
                compare(low & 0x000c_cfff, high, interface, assist);
            }
        }
    }

    #[test]
    fn any_table_is_looked_up_and_any_descriptor_posted_to_as_the_hypervisor_does_itself(
        table in vec(pointers(), 1..6),
        controls in vec(controls(), 3),
        target in prop_oneof![3 => 0..8_u32, 1 => any::<u32>()],
        number in any::<u8>(),
    ) {
        let table: Vec<PidPointerCell> = table.into_iter().map(|entry| PidPointerCell(entry.into())).collect();
        let ours = PidTable::new(&table, 46).expect("1 to 5 entries");
        let mut guest = guest(Interface::Msrs, Assist::IpiVirtualization, Interception::PassThrough);
        guest.vmcs.last_pid_pointer = ours.last_index();
        let found = ours.look_up(target);
        // The same descriptors again, for the hypervisor to post to.
        let expected: Vec<PostedDescriptor> = controls.iter().map(|control| descriptor(*control)).collect();
        let posted = match (found, Vector::new(number)) {
            (LookUp::Post { descriptor }, Ok(vector)) => {
                let index = usize::try_from(descriptor.wrapping_sub(DESCRIPTORS) / 64).expect("64 bits");
                // Beyond our descriptors there is no memory, and nobody is told.
                Some(expected.get(index).and_then(|descriptor| post(descriptor, vector, Urgency::Ordinary)))
            }
            _ => None,
        };
        let memory = Memory { descriptors: controls.iter().map(|control| descriptor(*control)).collect(), table };
        let (access, sent) = send(&guest, Ipi { vector: VirtualVector(number), target }, &memory);
        let exit = Access::Exit(Exit::ApicWrite(PageOffset::VICR_LO));
        assert_eq!(access, if posted.is_some() { Access::Virtual(()) } else { exit });
        let notices = posted.flatten().map(|Notice { vector, destination }| {
            Signal::Interrupt(InterruptMessage::fixed(vector, ApicId(destination.into_bits())))
        });
        assert_eq!(sent, notices.into_iter().collect::<Vec<_>>());
        let expected: Vec<[u64; 5]> = expected.iter().map(contents).collect();
        assert_eq!(memory.contents(), expected);
    }
}

/// Two processors' way: one sends, the other takes the notification without an exit.
#[test]
fn what_one_processor_sends_another_delivers_without_an_exit_of_either() {
    let memory = Memory::new(3);
    let mut sender = guest(Interface::Msrs, Assist::IpiVirtualization, Interception::PassThrough);
    let Access::Virtual(Some(ipi)) = sender.wrmsr(0x830, 2 << 32 | 0x51) else { panic!("it is a plain command") };
    let (access, sent) = send(&sender, ipi, &memory);
    assert_eq!(access, Access::Virtual(()));
    assert_eq!(sent, [Signal::Interrupt(InterruptMessage::fixed(0xf2, ApicId(2)))]);

    let mut target = guest(Interface::Msrs, Assist::IpiVirtualization, Interception::PassThrough);
    target.vmcs.controls.pin.set_process_posted_interrupts(true);
    target.vmcs.controls.exit.set_acknowledge_interrupt_on_exit(true);
    target.vmcs.notification_vector = 0xf2;
    target.vmcs.interrupt_flag = InterruptFlag::Set;
    assert_eq!(target.enter(WIDTH), Ok(None));
    let mut lapic = Lapic::new(0);
    lapic.accept(Vector::new(0xf2).expect("legal"));
    let mut descriptor = &memory.descriptors[2];
    assert_eq!(target.boundary(&mut lapic, &mut descriptor), Event::Processed);
    assert_eq!(target.boundary(&mut lapic, &mut descriptor), Event::Delivered(VirtualVector(0x51)));
    assert_eq!(contents(descriptor)[..4], [0; 4]);
    assert!(!PostedControl::from(contents(descriptor)[4]).outstanding());
}
