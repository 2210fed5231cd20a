//! Another project's local APIC beside the library's, where that one is complete: what is in service, how it was triggered, the
//! processor priority, and which ends are told to the I/O APICs.
#![expect(
    unsafe_code,
    reason = "the other local APIC asks its host for an unsafe function, which is never called here"
)]

use std::cell::RefCell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;
use x86_vlapic::EmulatedLocalApic;
use x86_vlapic::X86AccessWidth;
use x86_vlapic::X86GuestPhysAddr;
use x86_vlapic::X86HostPhysAddr;
use x86_vlapic::X86HostVirtAddr;
use x86_vlapic::X86TimerCallback;
use x86_vlapic::X86VcpuId;
use x86_vlapic::X86VlapicError;
use x86_vlapic::X86VlapicHostOps;
use x86_vlapic::X86VlapicResult;
use x86_vlapic::X86VmId;

const NOW: Moment = Moment { bus: 0, tsc: 0 };
const PAGE: usize = 0xfee0_0000;

/// The other local APIC overlooks the vectors 16 to 31 in service when it looks for the highest.
const LOWEST: u8 = 32;

/// A page for the other local APIC; it lives as long as the test.
#[repr(align(4096))]
struct Frame([u8; 4096]);

/// What the other local APIC asks its host for: memory, and nothing else.
struct OtherHost;

impl X86VlapicHostOps for OtherHost {
    type TimerHandle = u32;

    fn alloc_frame() -> Option<X86HostPhysAddr> {
        let frame: &'static mut Frame = Box::leak(Box::new(Frame([0; 4096])));
        Some(X86HostPhysAddr::from_usize((&raw mut frame.0).expose_provenance()))
    }

    fn dealloc_frame(_frame: X86HostPhysAddr) {}

    fn phys_to_virt(address: X86HostPhysAddr) -> X86HostVirtAddr {
        X86HostVirtAddr::from_usize(address.as_usize())
    }

    fn virt_to_phys(address: X86HostVirtAddr) -> X86HostPhysAddr {
        X86HostPhysAddr::from_usize(address.as_usize())
    }

    fn current_time_nanos() -> u64 {
        0
    }

    fn register_timer(_deadline: u64, _callback: X86TimerCallback) -> X86VlapicResult<u32> {
        Err(X86VlapicError::Unsupported)
    }

    unsafe fn register_hard_timer(_deadline: u64, _callback: X86TimerCallback) -> X86VlapicResult<u32> {
        Err(X86VlapicError::Unsupported)
    }

    fn cancel_timer(_timer: u32) -> X86VlapicResult {
        Ok(())
    }

    fn current_vm_id() -> X86VmId {
        0
    }

    fn current_vm_vcpu_num() -> usize {
        1
    }

    fn current_vm_active_vcpus() -> usize {
        1
    }

    fn active_vcpus(_vm: X86VmId) -> Option<usize> {
        Some(1)
    }

    fn inject_interrupt(_vm: X86VmId, _vcpu: X86VcpuId, _vector: u8) -> X86VlapicResult {
        Ok(())
    }
}

/// Our host.
struct OurHost {
    bus: ApicBus,
    ended: RefCell<Vec<u8>>,
}

impl Host for OurHost {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        if let Action::EndOfInterrupt(vector) = action {
            self.ended.borrow_mut().push(vector.number());
        }
    }
}

fn other(apic: &EmulatedLocalApic<OtherHost>, register: ApicRegister) -> u32 {
    let address = X86GuestPhysAddr::from_usize(PAGE + usize::from(register.offset()));
    let value = apic.handle_mmio_read(address, X86AccessWidth::Dword).expect("a register");
    u32::try_from(value).expect("32 bits")
}

proptest! {
    #[test]
    fn another_local_apic_serves_and_ends_the_same(
        steps in vec((any::<bool>(), LOWEST..=255), 0..120),
    ) {
        let host = OurHost { bus: ApicBus::new(&[ApicId(0)]).expect("one"), ended: RefCell::default() };
        let config = LocalApicConfig {
            vcpu: VcpuId(0),
            id: ApicId(0),
            role: ProcessorRole::Bootstrap,
            features: ApicFeatures::default(),
            physical_bits: 46,
        };
        let mut ours = LocalApic::new(config, &host);
        let spurious = ApicRegister::SpuriousVector.offset();
        ours.write_mmio(NOW, spurious, AccessWidth::Dword, 0x1ff, &host).expect("enabled");
        let theirs = EmulatedLocalApic::<OtherHost>::new(0, 0);
        for (ends, vector) in steps {
            if ends {
                ours.end_of_interrupt(&host);
                let told: Vec<u8> = theirs.handle_eoi().into_iter().collect();
                assert_eq!(host.ended.take(), told);
            } else {
                // One without requests cannot tell a vector that waits from the same one served.
                let trigger = if vector % 4 == 1 { TriggerMode::Level } else { TriggerMode::Edge };
                let destination = Destination::Physical(0);
                ours.receive(&Message { destination, delivery: DeliveryMode::Fixed, vector, trigger }, &host);
            }
            // What the processor takes is put into service there, for that one has no requests.
            while ours.has_interrupt() {
                let Acknowledged::Vector(vector) = ours.acknowledge() else { panic!("a vector") };
                let bank = vector.index() / 32;
                let tmr = ApicRegister::at_offset(0x180 + u16::try_from(bank).expect("8") * SLOT_SIZE);
                let tmr = ours.page(NOW).get(tmr.expect("a bank"));
                theirs.accept_interrupt(vector.number(), tmr >> (vector.index() % 32) & 1 == 1);
            }
            let page = ours.page(NOW);
            assert_eq!(page.get(ApicRegister::ProcessorPriority), other(&theirs, ApicRegister::ProcessorPriority));
            for bank in 0..8 {
                let [isr, tmr] = [0x100, 0x180].map(|base| {
                    ApicRegister::at_offset(base + bank * SLOT_SIZE).expect("a bank")
                });
                let served = page.get(isr);
                assert_eq!(served, other(&theirs, isr), "{isr}");
                // How a vector is triggered is known there once it is served.
                assert_eq!(page.get(tmr) & served, other(&theirs, tmr) & served, "{tmr}");
            }
        }
    }
}
