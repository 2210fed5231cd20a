//! Senders against the owner of an inbox.

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Inbox;
use hypervisor_lib::delivery::Notification;
use vector_allocator::Vector;

use crate::machine::explore;

/// An inbox, and whether its owner has been kicked.
struct Vcpu {
    inbox: Inbox,
    kicked: AtomicBool,
}

impl Vcpu {
    fn new() -> Arc<Self> {
        Arc::new(Self { inbox: Inbox::default(), kicked: AtomicBool::new(false) })
    }

    fn notify(&self, notification: Notification) {
        if notification == Notification::Due {
            assert!(!self.kicked.swap(true, Ordering::AcqRel), "kicked twice before it looked");
        }
    }

    fn post(&self, vector: u8, trigger: TriggerMode) {
        self.notify(self.inbox.post(Vector::new(vector).expect("a legal vector"), trigger));
    }

    /// An entry of the vCPU, which looks without having been kicked.
    fn look(&self) -> Vec<u8> {
        let mut taken = Vec::new();
        let _ = self.inbox.take(|trigger, word, bits| {
            assert_eq!(trigger == TriggerMode::Level, word == 3, "level-triggered vectors are in the last word");
            taken.extend(
                (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| u8::try_from(word * 64 + bit).expect("a byte")),
            );
        });
        taken
    }

    /// What a kick makes it do.
    fn answer(&self) -> Vec<u8> {
        if self.kicked.swap(false, Ordering::AcqRel) { self.look() } else { Vec::new() }
    }
}

#[test]
fn whatever_two_senders_leave_is_taken_once_by_an_owner_that_answers_its_kicks() {
    explore(3, || {
        let vcpu = Vcpu::new();
        let senders = [(0x31, TriggerMode::Edge), (0xf1, TriggerMode::Level)].map(|(vector, trigger)| {
            let vcpu = Arc::clone(&vcpu);
            thread::spawn(move || vcpu.post(vector, trigger))
        });
        let mut taken = vcpu.answer();
        taken.extend(vcpu.answer());
        senders.into_iter().for_each(|sender| sender.join().expect("a sender that ends"));
        taken.extend(vcpu.answer());
        taken.sort_unstable();
        assert_eq!(taken, [0x31, 0xf1]);
        assert!(vcpu.inbox.is_empty());
    });
}

#[test]
fn a_post_that_finds_another_outstanding_is_seen_by_whoever_answers_that() {
    explore(4, || {
        let vcpu = Vcpu::new();
        let data = Arc::new(AtomicU32::new(0));
        vcpu.post(0x31, TriggerMode::Edge);
        let sender = {
            let (vcpu, data) = (Arc::clone(&vcpu), Arc::clone(&data));
            thread::spawn(move || {
                data.store(1, Ordering::Relaxed);
                vcpu.post(0x32, TriggerMode::Edge);
            })
        };
        let mut heard = false;
        let mut handle = |taken: Vec<u8>| {
            if taken.contains(&0x32) {
                assert_eq!(data.load(Ordering::Relaxed), 1, "the interrupt overtook what it is about");
                assert!(!heard, "delivered twice");
                heard = true;
            }
        };
        handle(vcpu.answer());
        sender.join().expect("a sender that ends");
        handle(vcpu.answer());
        assert!(heard, "nobody will look at the second vector");
    });
}

#[test]
fn the_same_vector_sent_again_is_delivered_after_what_it_is_about() {
    explore(4, || {
        let vcpu = Vcpu::new();
        let data = Arc::new(AtomicU32::new(0));
        vcpu.post(0x31, TriggerMode::Edge);
        let sender = {
            let (vcpu, data) = (Arc::clone(&vcpu), Arc::clone(&data));
            thread::spawn(move || {
                data.store(1, Ordering::Relaxed);
                vcpu.post(0x31, TriggerMode::Edge);
            })
        };
        let mut seen = false;
        let mut handle = |taken: Vec<u8>| seen |= taken == [0x31] && data.load(Ordering::Relaxed) == 1;
        handle(vcpu.answer());
        sender.join().expect("a sender that ends");
        handle(vcpu.answer());
        assert!(seen, "the data was written and nobody will look at it");
    });
}

#[test]
fn a_start_up_after_an_init_is_never_lost_beside_an_nmi() {
    explore(4, || {
        let vcpu = Vcpu::new();
        let senders = [0, 1].map(|sender| {
            let vcpu = Arc::clone(&vcpu);
            thread::spawn(move || {
                if sender == 0 {
                    vcpu.notify(vcpu.inbox.post_init());
                    vcpu.notify(vcpu.inbox.post_start_up(0x12));
                } else {
                    vcpu.notify(vcpu.inbox.post_nmi());
                }
            })
        });
        let (mut inits, mut starts, mut nmis) = (0, Vec::new(), 0);
        let mut answer = || {
            if vcpu.kicked.swap(false, Ordering::AcqRel) {
                let signals = vcpu.inbox.take(|_, _, _| panic!("a vector"));
                inits += u32::from(signals.init());
                starts.extend(signals.start_up());
                nmis += u32::from(signals.nmi());
            }
        };
        answer();
        senders.into_iter().for_each(|sender| sender.join().expect("a sender that ends"));
        answer();
        assert_eq!((inits, starts.as_slice(), nmis), (1, [0x12].as_slice(), 1));
    });
}
