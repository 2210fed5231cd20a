//! IPI virtualization on the posted-interrupt protocol: a processor that sends reaches a vCPU wherever it is.
#![cfg(not(any(loom, shuttle)))]

use std::cell::RefCell;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_lib::delivery::Interception;
use hypervisor_lib::delivery::ipiv::Assist;
use hypervisor_lib::delivery::ipiv::IcrWrite;
use hypervisor_lib::delivery::ipiv::Interface;
use hypervisor_lib::delivery::ipiv::LookUp;
use hypervisor_lib::delivery::ipiv::Outcome;
use hypervisor_lib::delivery::ipiv::PidTable;
use hypervisor_lib::delivery::ipiv::Rest;
use hypervisor_lib::delivery::ipiv::finish;
use hypervisor_lib::delivery::ipiv::judge;
use hypervisor_lib::delivery::posted::Blocking;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::Offline;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Running;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::delivery::posted::wake_up;
use parking_lot::RawMutex;
use vector_allocator::CpuId;
use vector_allocator::Vector;

const PROTOCOLS: [Protocol; 2] = [Protocol::Xen, Protocol::Kvm];
const NOTIFICATION: u8 = 0xf2;
const WAKE_UP: u8 = 0xf1;
const TARGET: VcpuKey = VcpuKey { domain: DomainId(1), vcpu: VcpuId(1) };
const HERE: CpuId = CpuId(0);
const THERE: CpuId = CpuId(1);

/// A host with two physical CPUs and two vCPUs, whose descriptors stand 64 bytes apart.
struct Machine {
    vcpus: [PostedVcpu; 2],
    lists: WakeLists<RawMutex>,
    protocol: Protocol,
    cells: [PidPointerCell; 2],
    actions: RefCell<Vec<PostingAction>>,
}

impl PostingHost for Machine {
    type Lock = RawMutex;

    fn posted_vcpu(&self, key: VcpuKey) -> Option<&PostedVcpu> {
        self.vcpus.get(key.vcpu.index())
    }

    fn wake_lists(&self) -> &WakeLists<RawMutex> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        vector(NOTIFICATION)
    }

    fn wake_up_vector(&self) -> Vector {
        vector(WAKE_UP)
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn act(&self, action: PostingAction) {
        self.actions.borrow_mut().push(action);
    }
}

fn vector(number: u8) -> Vector {
    Vector::new(number).expect("16 or more")
}

impl Machine {
    fn new(protocol: Protocol) -> Self {
        let machine = Self {
            vcpus: Default::default(),
            lists: WakeLists::new(2),
            protocol,
            cells: Default::default(),
            actions: RefCell::default(),
        };
        for id in 0..2 {
            machine.table().insert(id, 0x1000 + 64 * u64::from(id)).expect("room");
        }
        machine
    }

    fn table(&self) -> PidTable<'_> {
        PidTable::new(&self.cells, 46).expect("two entries")
    }

    fn target(&self) -> Running<'_, Self> {
        Offline::new(self, TARGET).expect("a vCPU").load(THERE)
    }

    /// The processor that runs vCPU 0 carries out a write of its guest: the notification it sends, or what its exit leaves.
    fn write(&self, value: u64) -> Result<Option<Notice>, Rest> {
        let write = IcrWrite::Msr(value, Interception::PassThrough);
        match judge(write, Interface::Msrs, Assist::IpiVirtualization) {
            Outcome::Ipi { vector, target } => match self.table().look_up(target) {
                LookUp::Post { descriptor } => {
                    let index = usize::try_from((descriptor - 0x1000) / 64).expect("small");
                    Ok(post(&self.vcpus[index].descriptor, vector, Urgency::Ordinary))
                }
                LookUp::Exit => Err(finish(Icr::from(value))),
            },
            Outcome::ApicWriteExit(0x300) => Err(finish(Icr::from(value))),
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, number: u8) -> Option<Notice> {
        self.write(1 << 32 | u64::from(number)).expect("a target in the table")
    }

    /// The host's handler of whatever notification has come.
    fn handle(&self, notice: Notice, cpu: CpuId) -> Vec<PostingAction> {
        assert_eq!(notice.destination, self.destination(cpu));
        if notice.vector == WAKE_UP {
            wake_up(self, cpu);
        }
        self.actions.take()
    }
}

fn found(target: &Running<'_, Machine>) -> Vec<u8> {
    let mut vectors = Vec::new();
    target.sync(|word, bits| {
        vectors
            .extend((0..64_u8).filter(|bit| bits >> bit & 1 == 1).map(|bit| u8::try_from(word).expect("4") * 64 + bit));
    });
    vectors
}

#[test]
fn a_target_on_its_core_is_notified_once_there_and_finds_all_that_was_sent() {
    for protocol in PROTOCOLS {
        let machine = Machine::new(protocol);
        let target = machine.target();
        let expected = Notice { vector: NOTIFICATION, destination: machine.destination(THERE) };
        assert_eq!(machine.send(0x51), Some(expected));
        assert_eq!(machine.send(0x62), None, "one is on its way");
        // In guest mode the core takes them over by itself; in the hypervisor it does so at the next entry.
        assert_eq!(found(&target), [0x51, 0x62]);
        assert_eq!(machine.send(0x51), Some(expected));
    }
}

#[test]
fn a_preempted_target_disturbs_nobody_and_finds_what_was_sent_when_it_runs_again() {
    for protocol in PROTOCOLS {
        let machine = Machine::new(protocol);
        let target = machine.target().preempt();
        assert_eq!(machine.send(0x51), None);
        assert_eq!(found(&target.load(HERE)), [0x51], "{protocol:?}");
        assert_eq!(machine.actions.take(), []);
    }
}

#[test]
fn a_target_that_sleeps_is_woken_by_the_senders_processor_alone() {
    for protocol in PROTOCOLS {
        let machine = Machine::new(protocol);
        let Blocking::Blocked(target) = machine.target().block() else { panic!("nothing was posted") };
        let notice = machine.send(0x51).expect("a notification");
        assert_eq!(notice.vector, WAKE_UP);
        assert_eq!(machine.handle(notice, THERE), [PostingAction::Wake(TARGET)], "{protocol:?}");
        assert_eq!(found(&target.load(HERE)), [0x51]);
    }
}

/// The notification goes to the core as the ordinary vector, which says nothing about vCPUs that sleep there.
#[test]
fn an_interrupt_sent_just_before_the_target_sleeps_does_not_let_it_sleep_on() {
    for protocol in PROTOCOLS {
        let machine = Machine::new(protocol);
        let target = machine.target();
        let notice = machine.send(0x51).expect("a notification");
        assert_eq!(machine.handle(notice, THERE), []);
        let running = match target.block() {
            Blocking::Running(running) => running,
            Blocking::Blocked(target) => {
                assert_eq!(machine.actions.take(), [PostingAction::WakeUpSelf(THERE)]);
                wake_up(&machine, THERE);
                assert_eq!(machine.actions.take(), [PostingAction::Wake(TARGET)]);
                target.load(THERE)
            }
        };
        assert_eq!(found(&running), [0x51], "{protocol:?}");
    }
}

#[test]
fn what_exits_has_posted_nothing_and_is_sent_by_software_as_a_whole() {
    let machine = Machine::new(Protocol::Xen);
    let target = machine.target();
    machine.table().remove(0).expect("there");
    // An absent target, a broadcast, everyone by shorthand, by logical destination, an NMI, itself.
    for value in [0x51, 0xffff_ffff_0000_0051, 0x000c_0051, 1 << 32 | 0x851, 1 << 32 | 0x400, 0x0004_0051] {
        assert_eq!(machine.write(value), Err(Rest::Send(Icr::from(value))), "{value:#x}");
    }
    assert_eq!(machine.write(1 << 32 | 0x0f), Err(Rest::IllegalVector(0x0f)));
    assert_eq!(found(&target), []);
}
