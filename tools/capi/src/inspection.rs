//! What inspecting a recorded host found, for C.

use std::ffi::c_char;

use carillon_sim::snapshot::HostSnapshot;
use vector_allocator::Assignment;
use vector_allocator::Chance;
use vector_allocator::InversionKind;
use vector_allocator::SourceId;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::latent;

use crate::call::enter;
use crate::document;
use crate::document::HostDocument;
use crate::handle;
use crate::handle::Handle;
use crate::handle::Object;
use crate::pointer::cpus_output;
use crate::pointer::from_c;
use crate::pointer::number;
use crate::pointer::output;
use crate::pointer::text_output;
use crate::status::Failure;
use crate::status::Status;

/// What kind of harm an inversion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Harm {
    /// They do not meet now; after a move their vectors would be in the wrong order.
    Possible = 0,
    /// They do not meet for good: a move draws a new vector, and nobody can tell the order.
    PossibleByLottery = 1,
    /// The guest's vector is above dom0's on the same CPU: when both wait, dom0 is served second.
    Rank = 2,
    /// After a move the guest's source could keep dom0's from being delivered.
    PossibleRetention = 3,
    /// While the guest is slow, for up to 1 ms, dom0's is not delivered on that CPU.
    Retention = 4,
}

/// A guest's interrupt and one of dom0's in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InversionEntry {
    /// One of `carillon_harm`.
    pub harm: u32,
    /// 1 if it would be there only once the guest binds an interrupt it has mapped, else 0.
    pub is_latent: u32,
    /// Xen's number of the guest's interrupt.
    pub guest_irq: u32,
    /// Its host vector.
    pub guest_vector: u32,
    /// Whose it is: the domain's number.
    pub guest_domain: u32,
    /// Xen's number of dom0's interrupt.
    pub dom0_irq: u32,
    /// Its host vector.
    pub dom0_vector: u32,
}

/// What was found.
pub(crate) struct Inspection {
    assignment: Assignment,
    inversions: Vec<vector_allocator::Inversion>,
    /// From here on they are latent.
    latent: usize,
    json: String,
}

impl Object for Inspection {
    const NAME: &'static str = "an inspection";
}

impl Inspection {
    pub(crate) fn of(host: &HostSnapshot) -> Result<Self, Failure> {
        let assignment = host.assignment();
        let mut inversions: Vec<_> = inversions(&assignment).collect();
        let latent_from = inversions.len();
        inversions.extend(latent(&assignment));
        let json = document::json(&HostDocument::of(host, &assignment))?;
        Ok(Self { assignment, inversions, latent: latent_from, json })
    }

    fn entry(&self, index: usize) -> Result<InversionEntry, Failure> {
        let inversion = self.inversion(index)?;
        let source = |id: SourceId| self.assignment.sources.iter().find(|source| source.id == id);
        let vector = |id| source(id).map_or(0, |source| u32::from(source.vector.number()));
        let domain = source(inversion.guest).map(|source| source.owner);
        Ok(InversionEntry {
            harm: harm(inversion.kind) as u32,
            is_latent: u32::from(index >= self.latent),
            guest_irq: inversion.guest.0,
            guest_vector: vector(inversion.guest),
            guest_domain: if let Some(vector_allocator::Owner::Guest(domain)) = domain {
                u32::from(domain.0)
            } else {
                0
            },
            dom0_irq: inversion.dom0.0,
            dom0_vector: vector(inversion.dom0),
        })
    }

    fn inversion(&self, index: usize) -> Result<&vector_allocator::Inversion, Failure> {
        self.inversions.get(index).ok_or_else(|| Failure::index("inversion", index, self.inversions.len()))
    }
}

const fn harm(kind: InversionKind) -> Harm {
    match kind {
        InversionKind::Possible(Chance::VectorsKept) => Harm::Possible,
        InversionKind::Possible(Chance::VectorDrawn) => Harm::PossibleByLottery,
        InversionKind::Rank => Harm::Rank,
        InversionKind::Retention(When::AfterMove) => Harm::PossibleRetention,
        InversionKind::Retention(When::Now) => Harm::Retention,
    }
}

/// Counts the inversions an inspection found: those that are there first, then those that are latent.
///
/// @param inspection  The inspection.
/// @param count       How many there are.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_inspection_inversions(inspection: Handle, count: *mut usize) -> Status {
    enter(|| {
        let count = from_c!(number(count, "count"))?;
        handle::with(inspection, |inspection: &Inspection| {
            count.write(inspection.inversions.len());
            Ok(())
        })
    })
}

/// Tells one inversion.
///
/// @param inspection      The inspection.
/// @param index           Which.
/// @param inversion       The inversion.
/// @param inversion_size  The size of the structure.
/// @param cpus            Where the CPUs go where it holds, or could; null with 0 words if they are not wanted.
/// @param words           How many words.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_inspection_inversion(
    inspection: Handle,
    index: usize,
    inversion: *mut InversionEntry,
    inversion_size: usize,
    cpus: *mut u64,
    words: usize,
) -> Status {
    enter(|| {
        let output = from_c!(output(inversion, inversion_size, "inversion"))?;
        let cpus = from_c!(cpus_output(cpus, words, "cpus"))?;
        handle::with(inspection, |inspection: &Inspection| {
            let entry = inspection.entry(index)?;
            cpus.write(&inspection.inversion(index)?.cpus)?;
            output.write(entry);
            Ok(())
        })
    })
}

/// Tells everything an inspection found, as JSON.
///
/// @param inspection  The inspection.
/// @param buffer      Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
/// @param size        The size of the buffer.
/// @param needed      The size the text needs, with its zero.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_inspection_json(
    inspection: Handle,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> Status {
    enter(|| {
        let output = from_c!(text_output(buffer, size, needed))?;
        handle::with(inspection, |inspection: &Inspection| output.write(inspection.json.as_bytes()))
    })
}
