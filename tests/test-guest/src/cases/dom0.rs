//! The guest and dom0: a channel between them, and a page both write.

use guest_shim::EoiMode;
use hypervisor_abi::DomainId;
use hypervisor_abi::sync::Ordering::SeqCst;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::bed;
use crate::bed::Abi;
use crate::bed::FIRST;
use crate::bed::Vcpu;
use crate::mailbox::MAILBOX;
use crate::mailbox::Request;

/// How many events dom0 sends.
const EVENTS: u32 = 300;

/// The argument of [`Request::Ping`].
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Offer {
    port: u32,
    count: u32,
}

/// dom0 connects to a port, sends, and finds each event's number echoed in the shared page as it was announced.
pub(super) fn shared_page<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let port = channels.offer(DomainId::DOM0, FIRST, EoiMode::Late).expect("a port");
    channels.unmask(port).expect("a port");
    MAILBOX.sequence.store(0, SeqCst);
    MAILBOX.echo.store(0, SeqCst);
    MAILBOX.ask(Request::Ping, 0, Offer { port: port.0, count: EVENTS }.as_bytes());
    for number in 1..=EVENTS {
        assert_eq!(vcpu.wait(&channels), [port]);
        assert_eq!(MAILBOX.sequence.load(SeqCst), number);
        MAILBOX.echo.store(number, SeqCst);
        channels.send(port).expect("connected");
    }
    assert_eq!(MAILBOX.wait_for_answer(&mut []), i64::from(EVENTS));
}
