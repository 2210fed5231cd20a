//! The virtual-APIC page as the processor keeps it: evaluation and delivery of virtual interrupts
//! (SDM vol. 3C, 30.1–30.2).

use vector_allocator::Vector;
use vector_allocator::VectorSet;

/// A vCPU's virtual interrupt state: what waits, what is in service, and whether one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualApic {
    virr: VectorSet,
    visr: VectorSet,
    vtpr: u8,
    vppr: u8,
    recognition: Recognition,
}

/// Whether a pending virtual interrupt is recognised: a flag of the processor, set only by evaluation
/// (SDM vol. 3C, 30.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// The next boundary that allows it delivers the highest waiting vector.
    Recognised,
    /// Nothing is delivered until something evaluates again.
    NotRecognised,
}

impl Default for VirtualApic {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualApic {
    /// A virtual APIC with nothing waiting.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            virr: VectorSet::EMPTY,
            visr: VectorSet::EMPTY,
            vtpr: 0,
            vppr: 0,
            recognition: Recognition::NotRecognised,
        }
    }

    /// RVI: the highest vector that waits. Software and hardware keep the field at this value.
    #[must_use]
    pub const fn rvi(&self) -> Option<Vector> {
        self.virr.highest()
    }

    /// SVI: the highest vector in service.
    #[must_use]
    pub const fn svi(&self) -> Option<Vector> {
        self.visr.highest()
    }

    /// The virtual processor priority, VPPR.
    #[must_use]
    pub const fn vppr(&self) -> u8 {
        self.vppr
    }

    /// Whether a virtual interrupt is recognised.
    #[must_use]
    pub const fn recognition(&self) -> Recognition {
        self.recognition
    }

    /// The vectors that wait (VIRR).
    #[must_use]
    pub const fn waiting(&self) -> &VectorSet {
        &self.virr
    }

    /// Makes `vectors` wait; returns those that waited already. Evaluates nothing.
    pub const fn merge(&mut self, vectors: &VectorSet) -> VectorSet {
        let twice = self.virr.intersection(vectors);
        self.virr = self.virr.union(vectors);
        twice
    }

    /// VM entry: PPR virtualization, then evaluation.
    pub const fn enter(&mut self) {
        self.virtualize_ppr();
        self.evaluate();
    }

    /// Evaluation of pending virtual interrupts: RVI's class must exceed VPPR's (SDM vol. 3C, 30.2.1).
    pub const fn evaluate(&mut self) {
        self.recognition = match self.virr.highest() {
            Some(rvi) if rvi.number() >> 4 > self.vppr >> 4 => Recognition::Recognised,
            _ => Recognition::NotRecognised,
        };
    }

    /// Delivery of the recognised vector (SDM vol. 3C, 30.2.2): it goes into service, its class becomes the priority, and
    /// recognition ends whatever else waits.
    pub const fn deliver(&mut self) -> Option<Vector> {
        let (Recognition::Recognised, Some(vector)) = (self.recognition, self.virr.highest()) else {
            return None;
        };
        self.virr.remove(vector);
        self.visr.insert(vector);
        self.vppr = vector.number() & 0xf0;
        self.recognition = Recognition::NotRecognised;
        Some(vector)
    }

    /// EOI virtualization (SDM vol. 3C, 30.1.4): the highest vector in service leaves it; PPR virtualization; evaluation.
    pub const fn eoi(&mut self) -> Option<Vector> {
        let served = self.visr.highest();
        if let Some(vector) = served {
            self.visr.remove(vector);
        }
        self.virtualize_ppr();
        self.evaluate();
        served
    }

    /// TPR virtualization with virtual-interrupt delivery (SDM vol. 3C, 30.1.2).
    pub const fn set_tpr(&mut self, tpr: u8) {
        self.vtpr = tpr;
        self.virtualize_ppr();
        self.evaluate();
    }

    /// PPR virtualization (SDM vol. 3C, 30.1.3).
    const fn virtualize_ppr(&mut self) {
        let svi = match self.visr.highest() {
            Some(vector) => vector.number(),
            None => 0,
        };
        self.vppr = if self.vtpr >> 4 >= svi >> 4 { self.vtpr } else { svi & 0xf0 };
    }
}

/// A posted-interrupt descriptor (SDM vol. 3C, 30.6): what was posted, and whether a notification is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostedDescriptor {
    pir: VectorSet,
    outstanding: bool,
}

/// What a posting agent does after it set its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostedBit {
    /// It was the first since the last processing: a notification is due.
    Notify,
    /// A notification is already on its way.
    Outstanding,
    /// The very vector is already posted: the two are one.
    Merged,
}

impl Default for PostedDescriptor {
    fn default() -> Self {
        Self::new()
    }
}

impl PostedDescriptor {
    /// A descriptor in which nothing is posted.
    #[must_use]
    pub const fn new() -> Self {
        Self { pir: VectorSet::EMPTY, outstanding: false }
    }

    /// Posts `vector`: sets its bit in PIR, and ON if nothing was outstanding.
    pub const fn post(&mut self, vector: Vector) -> PostedBit {
        match (self.pir.insert(vector), core::mem::replace(&mut self.outstanding, true)) {
            (false, _) => PostedBit::Merged,
            (true, true) => PostedBit::Outstanding,
            (true, false) => PostedBit::Notify,
        }
    }

    /// Posts `vector` while notifications are suppressed (SN): sets its bit in PIR alone.
    pub const fn post_suppressed(&mut self, vector: Vector) -> PostedBit {
        if self.pir.insert(vector) { PostedBit::Outstanding } else { PostedBit::Merged }
    }

    /// Posted-interrupt processing, steps 3 and 5: clears ON, takes PIR out.
    pub const fn take(&mut self) -> VectorSet {
        self.outstanding = false;
        core::mem::replace(&mut self.pir, VectorSet::EMPTY)
    }

    /// What is posted and not yet processed.
    #[must_use]
    pub const fn posted(&self) -> &VectorSet {
        &self.pir
    }
}

#[cfg(test)]
mod tests {
    use vector_allocator::Vector;
    use vector_allocator::VectorSet;

    use super::PostedBit;
    use super::PostedDescriptor;
    use super::Recognition;
    use super::VirtualApic;

    fn vector(number: u8) -> Vector {
        Vector::new(number).unwrap()
    }

    fn waiting(numbers: &[u8]) -> VectorSet {
        numbers.iter().copied().map(vector).collect()
    }

    #[test]
    fn over_all_pairs_recognition_needs_a_class_above_the_one_in_service() {
        for served in Vector::all() {
            for waits in Vector::all() {
                let mut apic = VirtualApic::new();
                apic.merge(&waiting(&[served.number()]));
                apic.enter();
                assert_eq!(apic.deliver(), Some(served));
                apic.merge(&waiting(&[waits.number()]));
                apic.evaluate();
                let expected = waits.class().outranks(served.class());
                assert_eq!(apic.recognition() == Recognition::Recognised, expected, "{waits} over {served}");
                assert_eq!(apic.deliver(), expected.then_some(waits));
            }
        }
    }

    #[test]
    fn delivery_ends_recognition_although_a_higher_vector_waits() {
        let mut apic = VirtualApic::new();
        apic.merge(&waiting(&[0x40]));
        apic.enter();
        assert_eq!(apic.deliver(), Some(vector(0x40)));
        apic.merge(&waiting(&[0x80]));
        assert_eq!(apic.deliver(), None, "a change of VIRR alone evaluates nothing");
        assert_eq!(apic.eoi(), Some(vector(0x40)));
        assert_eq!(apic.deliver(), Some(vector(0x80)));
    }

    #[test]
    fn a_task_priority_holds_its_class_back_until_it_is_lowered() {
        let mut apic = VirtualApic::new();
        apic.merge(&waiting(&[0x5f]));
        apic.set_tpr(0x50);
        assert_eq!(apic.deliver(), None);
        apic.set_tpr(0x4f);
        assert_eq!(apic.deliver(), Some(vector(0x5f)));
        assert_eq!(apic.vppr(), 0x50);
    }

    #[test]
    fn one_notification_is_sent_until_the_posted_bits_are_taken() {
        let mut descriptor = PostedDescriptor::new();
        assert_eq!(descriptor.post(vector(0x80)), PostedBit::Notify);
        assert_eq!(descriptor.post(vector(0x80)), PostedBit::Merged);
        assert_eq!(descriptor.post(vector(0x81)), PostedBit::Outstanding);
        assert_eq!(descriptor.take(), waiting(&[0x80, 0x81]));
        assert_eq!(descriptor.post(vector(0x80)), PostedBit::Notify);
    }
}
