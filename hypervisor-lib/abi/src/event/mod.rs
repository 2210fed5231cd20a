//! Event channels (`public/event_channel.h`): operations, their arguments, and the words shared with the guest.
//!
//! There are two ABIs. The older one keeps two bitmaps in [`SharedInfo64`](crate::SharedInfo64); the FIFO ABI keeps one
//! [`EventWord`] a port in an [`EventArray`], and one [`ControlBlock`] a vCPU with the heads of its queues.

mod argument;
mod fifo;
mod op;
mod port;
mod word;

pub use argument::AllocUnbound;
pub use argument::BindInterdomain;
pub use argument::BindIpi;
pub use argument::BindPirq;
pub use argument::BindVcpu;
pub use argument::BindVirq;
pub use argument::Close;
pub use argument::ExpandArray;
pub use argument::InitControl;
pub use argument::Reset;
pub use argument::Send;
pub use argument::SetPriority;
pub use argument::Status;
pub use argument::Unmask;
pub use argument::WILL_SHARE;
pub use fifo::ControlBlock;
pub use fifo::EVENT_WORDS_PER_PAGE;
pub use fifo::EventArray;
pub use fifo::FIFO_CHANNELS;
pub use fifo::FIFO_QUEUES;
pub use fifo::FifoPriority;
pub use fifo::IllegalFifoPriority;
pub use fifo::LINK_BITS;
pub use fifo::MAX_EVENT_ARRAY_PAGES;
pub use op::ChannelState;
pub use op::EventOp;
pub use port::Port;
pub use word::BUSY;
pub use word::BUSY_BIT;
pub use word::EventWord;
pub use word::EventWordValue;
pub use word::LINK_MASK;
pub use word::LINKED;
pub use word::LINKED_BIT;
pub use word::MASKED;
pub use word::MASKED_BIT;
pub use word::PENDING;
pub use word::PENDING_BIT;
