//! Two CPUs: one runs the vCPU, the other posts to it all the time, by the library's protocol and with real notifications.
//! In between the vCPU moves from one to the other.
//!
//! A vector is posted again once its handler has run, so that none is merged with another: at the end each has been delivered
//! exactly as often as it was posted. At times nothing is posted until everything has come, so that a vector that was
//! overlooked is not found by luck with the next.

use alloc::boxed::Box;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::posted::Blocked;
use hypervisor_lib::delivery::posted::Blocking;
use hypervisor_lib::delivery::posted::Offline;
use hypervisor_lib::delivery::posted::Preempted;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Running;
use hypervisor_lib::delivery::posted::wake_up;
use spinning_top::Spinlock;
use vector_allocator::CpuId;

use super::hypervisor::Hypervisor;
use super::hypervisor::KEY;
use super::load;
use super::load::Between;
use super::side::NOW;
use super::side::message;
use super::side::new_vcpu;
use super::vcpu::gates;
use super::vcpu::interrupted;
use super::vcpu::reason;
use super::vcpu::skip;
use crate::checks::Failure;
use crate::checks::Posting;
use crate::checks::Reach;
use crate::checks::Tally;
use crate::cpu;
use crate::cpu::vmread;
use crate::entry;
use crate::entry::Launch;
use crate::memory::VMCS;
use crate::println;
use crate::random::Numbers;
use crate::random::Seed;
use crate::second;
use crate::second::SECOND;
use crate::vmcs;
use crate::vmcs::field;

/// How many vectors are posted in each check.
const POSTS: u64 = 3000;
/// How often somebody looks before something counts as lost.
const PATIENCE: u32 = 100_000;
/// The lowest vector that is posted, and how many there are.
const LOWEST: u8 = 0x20;
const VECTORS: u16 = 0xd0;

/// Whether the vCPU moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moves {
    Never,
    Often,
}

/// Runs the checks.
pub(super) fn run(seed: Seed, tally: &mut Tally) {
    second::start();
    let mut check = 200;
    for protocol in [Protocol::Xen, Protocol::Kvm] {
        for moves in [Moves::Never, Moves::Often] {
            for between in [Between::Pauses, Between::Halts] {
                check += 1;
                let scene = Scene::new(protocol, moves, between, seed, check);
                second::give(Box::leak(Box::new(move || scene.take_part(SECOND))));
                scene.take_part(CpuId::BOOT);
                scene.wait_for_all();
                let what = match moves {
                    Moves::Never => "stays",
                    Moves::Often => "moves",
                };
                tally.record(
                    format_args!(
                        "two CPUs, protocol {protocol:?}: a vCPU that {} and {what} gets all of {} posted vectors, {} \
                         moves, {} blocked, {} exits",
                        if between == Between::Halts { "halts" } else { "runs" },
                        scene.posts.load(Ordering::SeqCst),
                        scene.moved.load(Ordering::SeqCst),
                        scene.blocked.load(Ordering::SeqCst),
                        scene.exits.load(Ordering::SeqCst),
                    ),
                    scene.verdict(),
                );
            }
        }
    }
}

/// What both CPUs share.
struct Scene {
    host: &'static Hypervisor,
    moves: Moves,
    between: Between,
    seed: Seed,
    check: u64,
    /// The vCPU, while nobody runs it.
    vcpu: Spinlock<Option<Resting>>,
    /// Which CPU runs it, or is to.
    runner: AtomicU32,
    /// How often each vector was posted.
    posted: [AtomicU64; 256],
    posts: AtomicU64,
    moved: AtomicU32,
    blocked: AtomicU32,
    exits: AtomicU32,
    is_over: AtomicBool,
    /// What went wrong first.
    trouble: Spinlock<Option<&'static str>>,
    /// How many CPUs have nothing left to do.
    left: AtomicU32,
}

/// A vCPU that nobody runs, and why.
struct Resting {
    apic: VcpuApic<Apicv>,
    state: State,
}

enum State {
    Offline(Offline<'static, Hypervisor>),
    Preempted(Preempted<'static, Hypervisor>),
    Blocked(Blocked<'static, Hypervisor>),
}

impl State {
    fn load(self, cpu: CpuId) -> Running<'static, Hypervisor> {
        match self {
            Self::Offline(state) => state.load(cpu),
            Self::Preempted(state) => state.load(cpu),
            Self::Blocked(state) => state.load(cpu),
        }
    }
}

impl Scene {
    fn new(protocol: Protocol, moves: Moves, between: Between, seed: Seed, check: u64) -> &'static Self {
        let host = Hypervisor::new(protocol);
        load::reset(between);
        vmcs::load_for_engine(host.page_address(), host.descriptor_address(), Posting::On);
        vmcs::load_guest_under_load();
        cpu::clear_vmcs(&VMCS);
        let state = State::Offline(Offline::new(host, KEY).expect("the host knows its vCPU"));
        let apic = new_vcpu(Reach::Msrs, Apicv::new(ApicvLevel::Posting), host);
        Box::leak(Box::new(Self {
            host,
            moves,
            between,
            seed,
            check,
            vcpu: Spinlock::new(Some(Resting { apic, state })),
            runner: AtomicU32::new(CpuId::BOOT.0),
            posted: [const { AtomicU64::new(0) }; 256],
            posts: AtomicU64::new(0),
            moved: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            exits: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            trouble: Spinlock::new(None),
            left: AtomicU32::new(0),
        }))
    }

    /// What a CPU does: runs the vCPU whenever it is its turn, and posts otherwise.
    fn take_part(&self, me: CpuId) {
        let mut numbers = self.seed.numbers(self.check << 8 | u64::from(me.0));
        while !self.is_over() {
            let resting = if self.is_turn_of(me) { self.vcpu.lock().take() } else { None };
            match resting {
                Some(resting) => self.run(me, resting, &mut numbers),
                None => self.post(me, &mut numbers),
            }
        }
        self.left.fetch_add(1, Ordering::SeqCst);
    }

    fn wait_for_all(&self) {
        while self.left.load(Ordering::SeqCst) < 2 {
            core::hint::spin_loop();
        }
        cpu::take_interrupts();
    }

    fn verdict(&self) -> Result<(), Failure> {
        if let Some(trouble) = *self.trouble.lock() {
            return Err(Failure::Wrong(trouble));
        }
        for vector in 0..=u8::MAX {
            let (posted, delivered) = (self.count(vector).load(Ordering::SeqCst), load::delivered(vector));
            // Deviation D4: a notification whose vectors an entry has taken already delivers FF.
            if posted != delivered && vector != u8::MAX {
                println!("     vector {vector:02X} was posted {posted} times and delivered {delivered} times");
                return Err(Failure::Wrong("posted and delivered vectors differ"));
            }
        }
        if self.moves == Moves::Never && self.between == Between::Pauses && self.exits.load(Ordering::SeqCst) != 1 {
            return Err(Failure::Wrong("the guest was left for what was posted"));
        }
        if self.moves == Moves::Often && self.moved.load(Ordering::SeqCst) < 20 {
            return Err(Failure::Wrong("the vCPU has hardly moved"));
        }
        if self.between == Between::Halts && self.blocked.load(Ordering::SeqCst) < 20 {
            return Err(Failure::Wrong("the vCPU has hardly blocked"));
        }
        Ok(())
    }

    fn count(&self, vector: u8) -> &AtomicU64 {
        &self.posted[usize::from(vector)]
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn is_turn_of(&self, me: CpuId) -> bool {
        self.runner.load(Ordering::SeqCst) == me.0
    }

    fn end(&self, trouble: Option<&'static str>) {
        if let Some(trouble) = trouble {
            self.trouble.lock().get_or_insert(trouble);
        }
        self.is_over.store(true, Ordering::SeqCst);
        load::call_after(0);
    }

    /// Posts a few vectors, and then often waits for all of them.
    fn post(&self, me: CpuId, numbers: &mut Numbers) {
        for _ in 0..=numbers.below(6) {
            if self.posts.load(Ordering::SeqCst) >= POSTS {
                break;
            }
            let vector = LOWEST + numbers.below(VECTORS).to_le_bytes()[0];
            let delivered = load::delivered(vector);
            let again =
                self.count(vector).compare_exchange(delivered, delivered + 1, Ordering::SeqCst, Ordering::SeqCst);
            if again.is_ok() {
                self.posts.fetch_add(1, Ordering::SeqCst);
                self.host.bus().send(&message(vector, TriggerMode::Edge), self.host);
            }
        }
        let is_last = self.posts.load(Ordering::SeqCst) >= POSTS;
        if !is_last && !numbers.once_in(3) {
            return;
        }
        for _ in 0..PATIENCE {
            let has_come = |vector| self.count(vector).load(Ordering::SeqCst) == load::delivered(vector);
            if (LOWEST..=u8::MAX - 1).all(has_come) {
                if is_last {
                    self.end(None);
                }
                return;
            }
            if self.is_turn_of(me) || self.is_over() {
                return;
            }
            core::hint::spin_loop();
        }
        self.end(Some("a posted vector is not delivered"));
    }

    /// Runs the vCPU until it rests again.
    fn run(&self, me: CpuId, resting: Resting, numbers: &mut Numbers) {
        let Resting { mut apic, state } = resting;
        cpu::take_interrupts();
        cpu::make_current(&VMCS);
        vmcs::load_host_of(me);
        let mut running = state.load(me);
        let mut launch = Launch::Launch;
        load::call_after(self.quota(numbers));
        if self.is_over() {
            load::call_after(0);
        }
        loop {
            apic.enter(gates(), NOW, self.host);
            if entry::enter(launch).is_err() {
                return self.end(Some("a VM entry failed"));
            }
            launch = Launch::Resume;
            apic.exited(interrupted(), self.host);
            self.exits.fetch_add(1, Ordering::SeqCst);
            let [low, high, ..] = vmread(field::EXIT_REASON).to_le_bytes();
            match u16::from_le_bytes([low, high]) {
                reason::VMCALL => {
                    skip();
                    return self.rest(me, apic, State::Preempted(running.preempt()), Moves::Often);
                }
                reason::HLT => {
                    skip();
                    if apic.wakes(gates(), self.host) {
                        continue;
                    }
                    match running.block() {
                        Blocking::Running(still) => running = still,
                        Blocking::Blocked(blocked) => {
                            self.blocked.fetch_add(1, Ordering::SeqCst);
                            self.wait_until_woken(me);
                            let moves = if numbers.once_in(2) { Moves::Often } else { Moves::Never };
                            return self.rest(me, apic, State::Blocked(blocked), moves);
                        }
                    }
                }
                reason::EXTERNAL_INTERRUPT => {
                    let [vector, ..] = vmread(field::EXIT_INTERRUPTION).to_le_bytes();
                    cpu::end_of_interrupt();
                    if vector == super::WAKE_UP {
                        wake_up(self.host, me);
                    }
                }
                _ => return self.end(Some("the guest was left for something unknown")),
            }
        }
    }

    /// After how many interrupts the vCPU is to move.
    fn quota(&self, numbers: &mut Numbers) -> i64 {
        match self.moves {
            Moves::Never => i64::MAX,
            Moves::Often => 1 + i64::from(numbers.below(20)),
        }
    }

    fn wait_until_woken(&self, me: CpuId) {
        for _ in 0..PATIENCE {
            cpu::take_interrupts();
            if load::take_wake_up(me) {
                wake_up(self.host, me);
            }
            if self.host.take_woken() || self.is_over() {
                return;
            }
        }
        self.end(Some("a blocked vCPU is not woken"));
    }

    /// Puts the vCPU down, for this CPU or the other.
    fn rest(&self, me: CpuId, apic: VcpuApic<Apicv>, state: State, moves: Moves) {
        cpu::clear_vmcs(&VMCS);
        *self.vcpu.lock() = Some(Resting { apic, state });
        if moves == Moves::Often && self.moves == Moves::Often {
            self.moved.fetch_add(1, Ordering::SeqCst);
            self.runner.store(1 - me.0, Ordering::SeqCst);
        }
    }
}
