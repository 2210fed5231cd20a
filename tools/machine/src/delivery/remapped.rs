//! The host took the interrupt and injects a guest vector: into PIR on Intel (`vmx_deliver_posted_intr`), into the
//! backing page on AMD.

use super::Arrival;
use super::Delivery;
use super::Notice;
use super::Outcome;
use super::posted::post_vector;
use crate::vcpu::Residency;

/// Delivery by remapping and injection.
#[derive(Debug)]
pub(super) struct Remapped;

impl Delivery for Remapped {
    fn post(arrival: Arrival<'_>) -> Outcome {
        let residency = arrival.vcpu.residency;
        match post_vector(arrival) {
            Outcome::Waits(_) if residency == Residency::Blocked => Outcome::Waits(Notice::Wake),
            other => other,
        }
    }
}
