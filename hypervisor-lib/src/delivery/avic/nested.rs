//! What of a guest hypervisor's interrupt control word reaches the processor when its own guest runs.

use hypervisor_abi::avic::InterruptControl;

/// The control word to run a guest's guest with, of the one the guest asks for: by an allow-list. AVIC and x2AVIC are never in
/// it: the tables the word would make the processor follow are the guest's, whose addresses are not the host's. The virtual
/// interrupt flag and virtual NMIs are not offered to guest hypervisors either.
///
/// The processor masks the guest's guest's interrupts apart from the host's, whatever the guest asks for.
#[must_use]
pub const fn nested_control(asked: InterruptControl) -> InterruptControl {
    InterruptControl::new()
        .with_task_priority(asked.task_priority())
        .with_interrupt_pending(asked.interrupt_pending())
        .with_priority(asked.priority())
        .with_ignore_task_priority(asked.ignore_task_priority())
        .with_vector(asked.vector())
        .with_masks_virtual_interrupts(true)
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::avic::InterruptControl;

    use super::nested_control;

    /// KVM passed on the AVIC bit of a guest hypervisor's control word, and the guest's guest read host memory through
    /// tables of its own (CVE-2021-3653).
    #[test]
    fn r75_no_bit_a_guest_hypervisor_sets_switches_avic_on() {
        const ALLOWED: u64 = 0x0000_00ff_011f_010f;
        for bit in 0..u64::BITS {
            let asked = InterruptControl::from(1 << bit);
            let granted = u64::from(nested_control(asked)) & !(1 << 24);
            let expected = u64::from(asked) & ALLOWED & !(1 << 24);
            assert_eq!(granted, expected, "bit {bit}");
        }
        let granted = nested_control(InterruptControl::from(u64::MAX));
        assert!(!granted.avic() && !granted.x2avic());
        assert_eq!(u64::from(granted), ALLOWED);
        assert!(nested_control(InterruptControl::new()).masks_virtual_interrupts());
    }
}
