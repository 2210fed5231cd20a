//! Virtual interrupts against a host interrupt that waits: which goes first, and how often (answers: "Who goes first at an
//! instruction boundary").

use carillon_machine::InterruptFlag;
use carillon_machine::Lapic;
use carillon_machine::Vendor;
use carillon_machine::XEN_TPR;
use carillon_machine::svm;
use carillon_machine::vmx;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::VectorBits;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;
use vector_allocator::Vector;
use vmx::RegisterPage as _;

const NOTIFICATION: u8 = 0xf8;
const WIDTH: vmx::PhysicalWidth = vmx::PhysicalWidth(46);
/// More boundaries than any chain of the tests needs: reaching it would mean that the host interrupt starves.
const PATIENCE: usize = 1000;

fn vector(number: u8) -> Vector {
    Vector::new(number).unwrap()
}

/// What the guest's gates do to IF.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gates {
    Interrupt,
    Trap,
}

/// What happened at a boundary, whoever's.
#[derive(Debug, PartialEq)]
enum Event {
    Delivered,
    Processed,
    Exited,
}

/// A guest of either maker in guest mode.
enum Guest {
    Intel(Box<vmx::Guest>, vmx::Descriptor),
    Amd(Box<svm::Guest>, Box<BackingPage>),
}

impl Guest {
    /// A guest that is entered with these virtual interrupts waiting.
    fn entered(vendor: Vendor, waiting: &[u8]) -> Self {
        match vendor {
            Vendor::Intel => {
                let mut vmcs = vmx::Vmcs { notification_vector: NOTIFICATION.into(), ..vmx::Vmcs::default() };
                let controls = &mut vmcs.controls;
                controls.pin.set_external_interrupt_exiting(true);
                controls.pin.set_process_posted_interrupts(true);
                controls.exit.set_acknowledge_interrupt_on_exit(true);
                controls.primary.set_use_tpr_shadow(true);
                controls.primary.set_activate_secondary(true);
                controls.secondary.set_virtualize_x2apic_mode(true);
                controls.secondary.set_virtual_interrupt_delivery(true);
                let mut page = vmx::VirtualApicPage::new();
                for number in waiting {
                    page.insert(vmx::VectorRegister::Request, vmx::VirtualVector(*number));
                }
                vmcs.status.set_rvi(page.highest(vmx::VectorRegister::Request).unwrap_or_default());
                let mut guest = vmx::Guest::new(vmcs, page);
                assert_eq!(guest.enter(WIDTH), Ok(None));
                Self::Intel(Box::new(guest), vmx::Descriptor::default())
            }
            Vendor::Amd => {
                let control =
                    InterruptControl::new().with_avic(true).with_x2avic(true).with_masks_virtual_interrupts(true);
                let vmcb = svm::Vmcb {
                    control,
                    nested_paging: svm::NestedPaging::On,
                    interrupt_intercept: svm::InterruptIntercept::Exit,
                    ..svm::Vmcb::default()
                };
                let page = Box::new(BackingPage::default());
                for number in waiting {
                    page.set(VectorBits::InterruptRequest, *number);
                }
                let mut guest = svm::Guest::new(vmcb, svm::Processor::default());
                guest.enter(&page).unwrap();
                Self::Amd(Box::new(guest), page)
            }
        }
    }

    /// Something is posted: a notification on Intel, a doorbell on AMD.
    fn post(&mut self, number: u8, lapic: &mut Lapic) {
        match self {
            Self::Intel(_, descriptor) => {
                let _ = descriptor.post(vector(number));
                lapic.accept(vector(NOTIFICATION));
            }
            Self::Amd(guest, page) => {
                page.set(VectorBits::InterruptRequest, number);
                guest.hear_doorbell(page);
            }
        }
    }

    fn boundary(&mut self, flag: InterruptFlag, lapic: &mut Lapic) -> Event {
        match self {
            Self::Intel(guest, descriptor) => {
                guest.vmcs.interrupt_flag = flag;
                match guest.boundary(lapic, descriptor) {
                    vmx::Event::Delivered(_) => Event::Delivered,
                    vmx::Event::Processed => Event::Processed,
                    vmx::Event::Exited(_) => Event::Exited,
                    other => panic!("{other:?} while a host interrupt was ready"),
                }
            }
            Self::Amd(guest, page) => {
                guest.vmcb.interrupt_flag = flag;
                match guest.boundary(page, lapic) {
                    svm::Event::Delivered(_) => Event::Delivered,
                    svm::Event::Exited(_) => Event::Exited,
                    other => panic!("{other:?} while a host interrupt was ready"),
                }
            }
        }
    }
}

/// A guest at a boundary where host vector `host` waits and `first` are pending virtual interrupts. Before each boundary one
/// more of `posts` is posted. Returns the virtual deliveries before the host's exit.
fn deliveries_before_exit(vendor: Vendor, gates: Gates, host: u8, first: &[u8], posts: &[u8]) -> usize {
    let mut guest = Guest::entered(vendor, first);
    let mut lapic = Lapic::new(XEN_TPR);
    lapic.accept(vector(host));
    let mut flag = InterruptFlag::Set;
    let mut deliveries = 0;
    let mut posts = posts.iter().copied();
    for _ in 0..PATIENCE {
        if let Some(posted) = posts.next() {
            guest.post(posted, &mut lapic);
        }
        match guest.boundary(flag, &mut lapic) {
            Event::Delivered => {
                deliveries += 1;
                if gates == Gates::Interrupt {
                    flag = InterruptFlag::Clear;
                }
            }
            Event::Processed => {}
            Event::Exited => return deliveries,
        }
    }
    panic!("the host interrupt never came");
}

fn gates(trap: bool) -> Gates {
    if trap { Gates::Trap } else { Gates::Interrupt }
}

proptest! {
    /// The ordinary case: nothing is posted meanwhile.
    #[test]
    fn on_intel_at_most_one_virtual_delivery_comes_before_a_host_interrupt(
        host in 0x20u8..=0xef, first in vec(16u8.., 0..20), trap in any::<bool>()
    ) {
        let count = deliveries_before_exit(Vendor::Intel, gates(trap), host, &first, &[]);
        assert_eq!(count, usize::from(!first.is_empty()));
    }

    /// The worst case: trap gates, and fresh notifications that outrank the host vector.
    #[test]
    fn on_intel_at_most_fifteen_virtual_deliveries_come_before_a_host_interrupt(
        host in 0x20u8..=0xef, first in vec(16u8.., 0..20), posts in vec(16u8.., 0..200), trap in any::<bool>()
    ) {
        let count = deliveries_before_exit(Vendor::Intel, gates(trap), host, &first, &posts);
        let bound = if trap { 15 } else { 1 };
        assert!(count <= bound, "{count} deliveries, {:?}", gates(trap));
    }

    /// Physical interrupts go first, and doorbells are none.
    #[test]
    fn on_amd_no_virtual_delivery_comes_before_a_host_interrupt(
        host in 0x20u8..=0xef, first in vec(16u8.., 0..20), posts in vec(16u8.., 0..20), trap in any::<bool>()
    ) {
        assert_eq!(deliveries_before_exit(Vendor::Amd, gates(trap), host, &first, &posts), 0);
    }
}

/// The bound of fifteen is tight: one vector of each class, each posted when the one before it has been delivered.
#[test]
fn fifteen_virtual_deliveries_are_reached_by_one_fresh_notification_per_class() {
    // Each class takes two boundaries, processing and delivery; the agent posts the next class at the first of them and
    // repeats itself at the second, where the repeated vector waits for a class that is already in service.
    let posts: Vec<u8> = (2u8..=15).flat_map(|class| [class << 4, class << 4]).collect();
    assert_eq!(deliveries_before_exit(Vendor::Intel, Gates::Trap, 0x58, &[0x10], &posts[..]), 15);
}
