//! Random sequences of operations against the plainest possible notion of what a guest must see: after each of them, every
//! vCPU that is called takes exactly the events that are pending for it, each once.

use guest_shim::EoiMode;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::VcpuEvents;
use guest_shim::Work;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FifoPriority;
use parking_lot::RawMutex;
use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;

use crate::machine::Bitmaps;
use crate::machine::Guest;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Queues;
use crate::machine::TestAbi;
use crate::machine::bring_up;
use crate::machine::guest;

const VCPUS: u32 = 3;
const PORTS: usize = 6;

/// One step of a sequence; ports and vCPUs are indices.
#[derive(Clone, Copy, Debug)]
enum Op {
    Send(usize),
    Mask(usize),
    Unmask(usize),
    Eoi(usize),
    Move(usize, u32),
    SetPriority(usize, u8),
    /// Closes the port and opens another one in its place.
    Renew(usize, EoiMode),
    /// One vCPU takes its events; the others are not called yet.
    HandleOne(usize),
    /// All vCPUs take their events until none is called any more.
    HandleAll,
}

fn op() -> impl Strategy<Value = Op> {
    let port = 0..PORTS;
    prop_oneof![
        6 => port.clone().prop_map(Op::Send),
        2 => port.clone().prop_map(Op::Mask),
        3 => port.clone().prop_map(Op::Unmask),
        2 => port.clone().prop_map(Op::Eoi),
        2 => (port.clone(), 0..VCPUS).prop_map(|(port, vcpu)| Op::Move(port, vcpu)),
        1 => (port.clone(), 0..16_u8).prop_map(|(port, priority)| Op::SetPriority(port, priority)),
        1 => (port, any::<bool>()).prop_map(|(port, late)| Op::Renew(port, if late { EoiMode::Late } else { EoiMode::Early })),
        2 => (0..VCPUS as usize).prop_map(Op::HandleOne),
        3 => proptest::strategy::Just(Op::HandleAll),
    ]
}

/// What the guest must see of a port.
#[derive(Clone, Copy, Debug)]
struct Naive {
    port: Port,
    theirs: Port,
    eoi: EoiMode,
    is_pending: bool,
    is_masked: bool,
    awaits_eoi: bool,
}

impl Naive {
    /// An event that may be delivered now is delivered and gone.
    fn deliver(&mut self) -> bool {
        let is_delivered = self.is_pending && !self.is_masked && !self.awaits_eoi;
        if is_delivered {
            self.is_pending = false;
            self.awaits_eoi = self.eoi == EoiMode::Late;
        }
        is_delivered
    }
}

struct Run<'m, T: TestAbi> {
    machine: &'m Machine<RawMutex>,
    guest: Guest<'m, T::Abi<'m>, RawMutex>,
    vcpus: Vec<VcpuEvents<'m, T::Abi<'m>>>,
    ports: Vec<Naive>,
}

impl<'m, T: TestAbi> Run<'m, T> {
    fn new(machine: &'m Machine<RawMutex>) -> Self {
        let guest = guest::<T, _>(machine, 128);
        let vcpus = (0..VCPUS).map(|vcpu| bring_up::<T, _>(machine, &guest, VcpuId(vcpu))).collect();
        let mut run = Self { machine, guest, vcpus, ports: Vec::new() };
        for port in 0..PORTS {
            let eoi = if port % 2 == 0 { EoiMode::Early } else { EoiMode::Late };
            let renewed = run.open(eoi);
            run.ports.push(renewed);
        }
        run
    }

    fn open(&self, eoi: EoiMode) -> Naive {
        let port = self.guest.offer(PEER, VcpuId(0), eoi).expect("a free port");
        let theirs = self.machine.connect(&self.guest, port);
        Naive { port, theirs, eoi, is_pending: false, is_masked: true, awaits_eoi: false }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Send(at) => {
                self.machine.send_from_peer(self.ports[at].theirs);
                self.ports[at].is_pending = true;
            }
            Op::Mask(at) => {
                self.guest.mask(self.ports[at].port).expect("a bound port");
                self.ports[at].is_masked = true;
            }
            Op::Unmask(at) => {
                self.guest.unmask(self.ports[at].port).expect("a bound port");
                self.ports[at].is_masked = false;
            }
            Op::Eoi(at) => {
                let vcpu = &mut self.vcpus[at % VCPUS as usize];
                vcpu.eoi(&self.guest, self.ports[at].port, Time(0), Work::Done).expect("an EOI");
                self.ports[at].awaits_eoi = false;
            }
            Op::Move(at, vcpu) => self.guest.move_to(self.ports[at].port, VcpuId(vcpu)).expect("a movable port"),
            Op::SetPriority(at, priority) => {
                // Only the FIFO ABI has priorities; the other one's refusal changes nothing.
                let _ = self.guest.set_priority(self.ports[at].port, FifoPriority::from_low_bits(priority));
            }
            Op::Renew(at, eoi) => {
                self.guest.close(self.ports[at].port).expect("a bound port");
                self.machine.peer().close(self.machine, self.ports[at].theirs).expect("an open port");
                self.ports[at] = self.open(eoi);
            }
            Op::HandleOne(vcpu) => {
                for port in self.handle(vcpu) {
                    self.expect_owned(port, vcpu);
                    let naive = self.ports.iter_mut().find(|naive| naive.port == port).expect("a port of the test");
                    assert!(naive.deliver(), "{port} has no event to deliver: {naive:?}");
                }
            }
            Op::HandleAll => self.handle_all(),
        }
    }

    fn expect_owned(&self, port: Port, vcpu: usize) {
        let owner = self.guest.bound(port).expect("a bound port").vcpu;
        assert_eq!(owner.index(), vcpu, "{port} was delivered by another vCPU than its own");
    }

    fn handle(&mut self, vcpu: usize) -> Vec<Port> {
        let mut taken = Vec::new();
        let round = self.vcpus[vcpu].handle(&self.guest, Time(0), |port| {
            taken.push(port);
            Served::Unfinished
        });
        assert_eq!(round, Ok(Round::Done));
        taken
    }

    fn handle_all(&mut self) {
        let mut taken = Vec::new();
        // An event is passed on once at most, from its last vCPU to its present one.
        for _ in 0..3 {
            for vcpu in 0..self.vcpus.len() {
                if self.vcpus[vcpu].is_upcall_pending() {
                    for port in self.handle(vcpu) {
                        self.expect_owned(port, vcpu);
                        taken.push(port);
                    }
                }
            }
        }
        assert!(self.vcpus.iter().all(|vcpu| !vcpu.is_upcall_pending()));
        let mut expected: Vec<Port> =
            self.ports.iter_mut().filter_map(|naive| naive.deliver().then_some(naive.port)).collect();
        expected.sort_unstable();
        taken.sort_unstable();
        assert_eq!(taken, expected);
        for naive in &self.ports {
            assert_eq!(self.guest.is_pending(naive.port), naive.is_pending, "{naive:?}");
        }
    }
}

fn run<T: TestAbi>(ops: &[Op]) {
    let machine = Machine::<RawMutex>::new(VCPUS, 127);
    let mut run = Run::<T>::new(&machine);
    for op in ops {
        run.step(*op);
    }
    run.handle_all();
    assert_eq!(machine.guest().dropped_events(), 0);
}

proptest! {
    #[test]
    fn a_guest_sees_each_event_once_with_the_2_level_abi(ops in vec(op(), 0..80)) {
        run::<Bitmaps>(&ops);
    }

    #[test]
    fn a_guest_sees_each_event_once_with_the_fifo_abi(ops in vec(op(), 0..80)) {
        run::<Queues>(&ops);
    }
}

/// Every sequence of four steps on one port, exhaustively.
#[test]
fn a_guest_sees_each_event_once_in_every_short_sequence() {
    let ops = [
        Op::Send(1),
        Op::Mask(1),
        Op::Unmask(1),
        Op::Eoi(1),
        Op::Move(1, 1),
        Op::HandleOne(0),
        Op::HandleAll,
        Op::Renew(1, EoiMode::Late),
    ];
    let count = ops.len();
    for number in 0..count.pow(4) {
        let sequence = [0, 1, 2, 3].map(|digit| ops[number / count.pow(digit) % count]);
        let sequence = [&[Op::Unmask(1)], &sequence[..]].concat();
        run::<Bitmaps>(&sequence);
        run::<Queues>(&sequence);
    }
}
