//! Posted interrupts: the protocol over a vCPU's descriptor, between posting agents (processors, IOMMUs, the hypervisor
//! itself) and whoever runs the vCPU.
//!
//! ```text
//!                                 load(pCPU)
//!  ┌─────────┐   NDST := pCPU, SN := 0, NV := notification    ┌─────────┐
//!  │ Offline ├───────────────────────────────────────────────►│ Running │◄───────────────┐
//!  │  SN=1   │                                                └┬───────┬┘                │
//!  └─────────┘                                    preempt SN:=1│       │block            │ load(pCPU)
//!    ▲     ▲                                                   ▼       │ list, NV :=     │ off the list, NDST := pCPU
//!    │     │             retire                  ┌───────────────┐     │ wake-up         │ NV := notification
//!    │     └─────────────────────────────────────┤ Preempted SN=1├──┐  ▼                 │
//!    │                                           └───────────────┘  │ ┌────────────────┐ │
//!    │                                                       load ──┘ │ Blocked        ├─┘
//!    └────────────────────────── retire: off the list ────────────────┤ NV = wake-up   │
//!                                                                     └────────────────┘
//! ```
//!
//! | state | NV | SN | NDST | a post |
//! |---|---|---|---|---|
//! | running | notification | 0 | its pCPU | is processed by the pCPU without an exit |
//! | preempted | notification | 1 | (old) | sets its bit and notifies nobody: the vCPU is runnable anyway |
//! | blocked | wake-up | 0 | the pCPU whose list it is on | wakes it through that list |
//!
//! Each transition is one type turned into another, and costs at most three atomic changes of the descriptor. Two things
//! prevent lost wake-ups: a vCPU is on the list *before* its descriptor names the wake-up vector, and whoever changes the
//! vector or lifts the suppression looks afterwards for what was posted before. How that look is made is the only
//! difference between [Xen's protocol and KVM's](Protocol).
//!
//! **Locks**: one a pCPU's list, held for a bounded number of steps for each vCPU on it. Two at once only in
//! [`relocate`], the lower number first. No lock is taken to load or to preempt a vCPU that was not blocked, nor to post.
//!
//! Sources: SDM vol. 3C, 30.6; `xen/arch/x86/hvm/vmx/vmx.c`; Linux's `arch/x86/kvm/vmx/posted_intr.c`.

mod agent;
mod host;
mod residency;
mod wake_list;

pub use agent::Notice;
pub use agent::Urgency;
pub(crate) use agent::change;
pub(crate) use agent::is_posted;
pub use agent::post;
pub use agent::take;
pub use host::PostedVcpu;
pub use host::PostingAction;
pub use host::PostingHost;
pub use host::Protocol;
pub use host::VcpuKey;
pub use residency::Blocked;
pub use residency::Blocking;
pub use residency::Offline;
pub use residency::Preempted;
pub use residency::Running;
pub use wake_list::WakeLists;
pub use wake_list::relocate;
pub use wake_list::wake_up;
