//! Upcalls, masks, EOIs and moves against senders.

use guest_shim::EoiMode;
use guest_shim::EventAbi;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::VcpuEvents;
use guest_shim::Work;
use hypervisor_abi::Port;
use hypervisor_abi::sync::Ordering;
use loom::sync::Arc;
use loom::thread;

use crate::explore;
use crate::lock::LoomLock;
use crate::machine::Bitmaps;
use crate::machine::Guest;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Queues;
use crate::machine::TestAbi;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;

type Abi<T> = <T as TestAbi>::Abi<'static>;

/// A guest with one vCPU set up, or two, and all its ports unmasked.
struct World<T: TestAbi> {
    guest: Arc<Guest<'static, Abi<T>, LoomLock>>,
    vcpus: Vec<VcpuEvents<'static, Abi<T>>>,
}

impl<T: TestAbi + 'static> World<T>
where
    Abi<T>: Send + Sync,
{
    fn new(machine: &'static Machine<LoomLock>, vcpus: usize) -> Self {
        let guest = guest::<T, _>(machine, 4);
        let vcpus = [V0, V1].into_iter().take(vcpus).map(|vcpu| bring_up::<T, _>(machine, &guest, vcpu)).collect();
        Self { guest: Arc::new(guest), vcpus }
    }

    fn ipi(&self, eoi: EoiMode) -> Port {
        let port = self.guest.bind_ipi(V0, eoi).expect("a free port");
        self.guest.unmask(port).expect("a bound port");
        port
    }

    /// Runs something on another thread.
    fn spawn<R: Send + 'static>(
        &self,
        run: impl FnOnce(&Guest<'static, Abi<T>, LoomLock>) -> R + Send + 'static,
    ) -> thread::JoinHandle<R> {
        let guest = Arc::clone(&self.guest);
        thread::spawn(move || run(&guest))
    }

    fn sender(&self, port: Port) -> thread::JoinHandle<()> {
        self.spawn(move |guest| guest.send(port).expect("an open port"))
    }

    /// One call of a vCPU's handler, if it is called; late events are left unfinished.
    fn handle(&mut self, vcpu: usize) -> Vec<Port> {
        take(&mut self.vcpus[vcpu], &self.guest)
    }

    /// What the vCPUs take until none of them is called.
    fn drain(&mut self) -> Vec<Port> {
        let mut taken = Vec::new();
        while let Some(vcpu) = self.vcpus.iter().position(VcpuEvents::is_upcall_pending) {
            taken.extend(self.handle(vcpu));
        }
        taken
    }
}

/// One call of a vCPU's handler, if it is called.
fn take<A: EventAbi>(vcpu: &mut VcpuEvents<'static, A>, guest: &Guest<'static, A, LoomLock>) -> Vec<Port> {
    let mut taken = Vec::new();
    if vcpu.is_upcall_pending() {
        let round = vcpu.handle(guest, Time(0), |port| {
            taken.push(port);
            Served::Unfinished
        });
        let _ = round.expect("a hypervisor that refuses nothing");
    }
    taken
}

fn join<R>(threads: impl IntoIterator<Item = thread::JoinHandle<R>>) {
    for thread in threads {
        thread.join().expect("a thread that ends");
    }
}

fn sorted(mut ports: Vec<Port>) -> Vec<Port> {
    ports.sort_unstable();
    ports
}

/// Runs a test with both ABIs.
macro_rules! explore_both_abis {
    ($($(#[$doc:meta])* fn $name:ident<$abi:ident>($preemptions:literal, $machine:ident) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                fn run<$abi: TestAbi + 'static>($machine: &'static Machine<LoomLock>)
                where
                    Abi<$abi>: Send + Sync,
                $body

                $(#[$doc])*
                #[test]
                fn with_the_2_level_abi() {
                    explore($preemptions, run::<Bitmaps>);
                }

                $(#[$doc])*
                #[test]
                fn with_the_fifo_abi() {
                    explore($preemptions, run::<Queues>);
                }
            }
        )*
    };
}

explore_both_abis! {
    fn two_senders_and_the_upcall_lose_nothing_and_repeat_nothing<T>(2, machine) {
        let mut world = World::<T>::new(machine, 1);
        let ports = [world.ipi(EoiMode::Early), world.ipi(EoiMode::Late)];
        let senders = ports.map(|port| world.sender(port));
        let mut taken = world.handle(0);
        join(senders);
        taken.extend(world.drain());
        assert_eq!(sorted(taken), ports);
    }

    /// The hypervisor finds the upcall pending already, and calls nobody: the vCPU must see the event all the same.
    fn a_send_that_finds_an_upcall_for_nothing_under_way_is_not_lost<T>(3, machine) {
        let mut world = World::<T>::new(machine, 1);
        let port = world.ipi(EoiMode::Early);
        machine.shared().vcpu_info[0].evtchn_upcall_pending.store(1, Ordering::SeqCst);
        let sender = world.sender(port);
        let mut taken = world.handle(0);
        join([sender]);
        taken.extend(world.drain());
        assert_eq!(taken, [port]);
    }

    /// Xen e33d4257fc: the old tail is raised again beside another port.
    fn r02_an_old_tail_raised_again_is_not_lost<T>(2, machine) {
        let mut world = World::<T>::new(machine, 1);
        let ports = [world.ipi(EoiMode::Early), world.ipi(EoiMode::Early)];
        world.guest.send(ports[0]).expect("an open port");
        assert_eq!(world.drain(), [ports[0]]);
        let senders = ports.map(|port| world.sender(port));
        let mut taken = world.handle(0);
        join(senders);
        taken.extend(world.drain());
        assert_eq!(sorted(taken), ports);
    }

    /// Xen 70ccddb14a: the queue is emptied while a port is appended to it.
    fn r04_a_port_appended_to_a_queue_that_is_emptied_is_not_lost<T>(3, machine) {
        let mut world = World::<T>::new(machine, 1);
        let ports = [world.ipi(EoiMode::Early), world.ipi(EoiMode::Early)];
        world.guest.send(ports[0]).expect("an open port");
        let sender = world.sender(ports[1]);
        let mut taken = world.handle(0);
        join([sender]);
        taken.extend(world.drain());
        assert_eq!(sorted(taken), ports);
    }

    /// XSA-332: an event comes while its port is unmasked.
    fn r22_an_unmask_beside_a_send_delivers_once<T>(3, machine) {
        let mut world = World::<T>::new(machine, 1);
        let port = world.ipi(EoiMode::Early);
        world.guest.mask(port).expect("a bound port");
        let sender = world.sender(port);
        world.guest.unmask(port).expect("a bound port");
        join([sender]);
        assert_eq!(world.drain(), [port]);
    }

    /// XSA-332: one event is unmasked on two vCPUs.
    fn r22_two_unmasks_beside_a_send_deliver_once<T>(2, machine) {
        let mut world = World::<T>::new(machine, 1);
        let port = world.ipi(EoiMode::Early);
        world.guest.mask(port).expect("a bound port");
        let sender = world.sender(port);
        let unmasker = world.spawn(move |guest| guest.unmask(port).expect("a bound port"));
        world.guest.unmask(port).expect("a bound port");
        join([sender, unmasker]);
        assert_eq!(world.drain(), [port]);
    }

    fn a_mask_set_and_cleared_beside_the_upcall_loses_nothing<T>(2, machine) {
        let mut world = World::<T>::new(machine, 1);
        let port = world.ipi(EoiMode::Late);
        world.guest.send(port).expect("an open port");
        let owner = world.spawn(move |guest| {
            guest.mask(port).expect("a bound port");
            guest.unmask(port).expect("a bound port");
        });
        let mut taken = world.handle(0);
        join([owner]);
        taken.extend(world.drain());
        assert_eq!(taken, [port]);
        // And its EOI lets the next one through.
        let _ = world.vcpus[0].eoi(&world.guest, port, Time(0), Work::Done).expect("an EOI");
        world.guest.send(port).expect("an open port");
        assert_eq!(world.drain(), [port]);
    }

    fn an_eoi_beside_a_send_delivers_the_next_event_once<T>(2, machine) {
        let mut world = World::<T>::new(machine, 1);
        let port = world.ipi(EoiMode::Late);
        world.guest.send(port).expect("an open port");
        assert_eq!(world.drain(), [port]);
        let sender = world.sender(port);
        let owner = world.spawn(move |guest| {
            guest.mask(port).expect("a bound port");
            guest.unmask(port).expect("a bound port");
        });
        let _ = world.vcpus[0].eoi(&world.guest, port, Time(0), Work::Done).expect("an EOI");
        join([sender, owner]);
        assert_eq!(world.drain(), [port]);
    }

    fn a_port_moved_beside_a_send_is_delivered_once_by_either_vcpu<T>(2, machine) {
        let mut world = World::<T>::new(machine, 2);
        let port = world.guest.offer(PEER, V0, EoiMode::Early).expect("a free port");
        let theirs = machine.connect(&world.guest, port);
        world.guest.unmask(port).expect("a bound port");
        let sender = thread::spawn(move || machine.send_from_peer(theirs));
        let mover = world.spawn(move |guest| guest.move_to(port, V1).expect("a movable port"));
        let mut taken = world.handle(0);
        join([sender, mover]);
        taken.extend(world.drain());
        assert_eq!(taken, [port]);
    }

    fn an_event_moved_while_it_is_taken_is_taken_by_one_vcpu_alone<T>(3, machine) {
        let mut world = World::<T>::new(machine, 2);
        let port = world.guest.offer(PEER, V0, EoiMode::Early).expect("a free port");
        let theirs = machine.connect(&world.guest, port);
        world.guest.unmask(port).expect("a bound port");
        machine.send_from_peer(theirs);
        let mut other = world.vcpus.pop().expect("two vCPUs");
        let mover = world.spawn(move |guest| {
            guest.move_to(port, V1).expect("a movable port");
            let taken = take(&mut other, guest);
            (other, taken)
        });
        let mut taken = world.handle(0);
        let (other, taken_there) = mover.join().expect("a thread that ends");
        world.vcpus.push(other);
        taken.extend(taken_there);
        taken.extend(world.drain());
        assert_eq!(taken, [port]);
    }
}
