//! vCPUs between physical CPUs: transitions and plans on the words of a host, with senders in between.

mod avic;
mod host;
mod moves;
mod note;
mod offline;
mod posted;
#[path = "../doubles/posted_host.rs"]
mod posted_host;
mod vectors;
