//! The IOMMU posts the guest vector itself (VT-d posted interrupts, AMD's guest IRTE).

use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::Arrival;
use super::Delivery;
use super::Notice;
use super::Outcome;
use crate::Vendor;
use crate::vcpu::Residency;
use crate::vcpu::Vcpu;
use crate::virtual_apic::PostedBit;

/// Delivery by posting.
#[derive(Debug)]
pub(super) struct Posted;

impl Delivery for Posted {
    fn post(arrival: Arrival<'_>) -> Outcome {
        post_vector(arrival)
    }
}

/// Makes the source's guest vector wait, as a posting agent does.
pub(super) fn post_vector(Arrival { entry, vcpu, vendor, .. }: Arrival<'_>) -> Outcome {
    let Some(vector) = entry.guest_vector else {
        return Outcome::Waits(Notice::None);
    };
    match vendor {
        Vendor::Intel => post_to_descriptor(vcpu, vector),
        Vendor::Amd => post_to_backing_page(vcpu, vector),
    }
}

/// VT-d and Xen alike: PIR, then ON and a notification unless one is outstanding or suppressed.
fn post_to_descriptor(vcpu: &mut Vcpu, vector: Vector) -> Outcome {
    let (bit, notice) = match vcpu.residency {
        Residency::Running => (vcpu.descriptor.post(vector), Notice::Notification),
        Residency::Runnable => (vcpu.descriptor.post_suppressed(vector), Notice::None),
        Residency::Blocked => (vcpu.descriptor.post(vector), Notice::WakeUpVector),
    };
    match bit {
        PostedBit::Merged => Outcome::Merged,
        PostedBit::Outstanding => Outcome::Waits(Notice::None),
        PostedBit::Notify => Outcome::Waits(notice),
    }
}

/// AMD: the IRR bit of the backing page, then the doorbell, or a GA-log entry whose interrupt wakes the vCPU.
fn post_to_backing_page(vcpu: &mut Vcpu, vector: Vector) -> Outcome {
    let mut one = VectorSet::EMPTY;
    one.insert(vector);
    if !vcpu.apic.merge(&one).is_empty() {
        return Outcome::Merged;
    }
    Outcome::Waits(match vcpu.residency {
        Residency::Running => Notice::Doorbell,
        Residency::Runnable => Notice::None,
        Residency::Blocked => Notice::WakeUpVector,
    })
}
