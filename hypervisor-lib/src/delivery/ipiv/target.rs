//! What becomes of an interrupt that a processor has posted, wherever its target is (SDM vol. 3C, 30.1.6, 30.6).
//!
//! A processor that sends finds the descriptor whether the vCPU runs or not, and does not exit. So whether the vCPU comes to
//! know depends on the descriptor alone, and that on the hypervisor, which changes it as the vCPU goes from place to place:
//!
//! ```text
//!            NV := notification vector, NDST := core, SN := 0, look at PIR
//! Preempted ──────────────────────────────────────────────────────────────► on a core: Guest ⇄ Host
//!     ▲  NV as it is, SN := 1                                                  │      │
//!     └────────────────────────────────────────────────────────────────────────┘      │ NV := wake-up vector, SN := 0,
//!                                                   Blocked ◄─────────────────────────┘ look at ON
//! ```

/// Where a vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetPlace {
    /// On a core, in guest mode.
    Guest,
    /// On a core, in the hypervisor, which enters it again.
    Host,
    /// It waits for a core.
    Preempted,
    /// It waits for an interrupt.
    Blocked,
}

/// The notification vector in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotificationVector {
    /// The one that the VMCS of the vCPU names: in guest mode the core takes the posted vectors over without an exit.
    Posted,
    /// The host's wake-up vector: its handler lets every vCPU run that sleeps on that core and has something posted.
    WakeUp,
}

/// The bit ON of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outstanding {
    /// Clear.
    Off,
    /// Set: a notification is on its way, or the host has taken it and not yet looked at the vectors.
    On,
}

/// The bit SN of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suppress {
    /// Clear.
    Off,
    /// Set: no notification is wanted.
    On,
}

/// What a poster does, having set the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notification {
    /// It sets ON, and sends the notification vector to the notification destination.
    Send,
    /// Nothing: one is outstanding.
    Outstanding,
    /// Nothing: it is suppressed. A processor's posts are never urgent, as an IOMMU's can be.
    Suppressed,
}

/// What a processor that posts does, by the descriptor's bits.
#[must_use]
pub const fn notify(outstanding: Outstanding, suppress: Suppress) -> Notification {
    match (outstanding, suppress) {
        (Outstanding::Off, Suppress::Off) => Notification::Send,
        (Outstanding::On, Suppress::Off) => Notification::Outstanding,
        (_, Suppress::On) => Notification::Suppressed,
    }
}

/// What comes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// The guest takes the vector without an exit.
    Delivered,
    /// The core leaves the guest, and finds the vector when it enters it again.
    DeliveredByExit,
    /// The vector is found when the guest is entered next.
    FoundAtEntry,
    /// The host lets the vCPU run.
    Woken,
    /// The guest runs on and does not know, until it exits for something else: the descriptor is wrong for its place.
    Late,
    /// The vCPU sleeps and does not know: the descriptor is wrong for its place.
    SleptOver,
}

/// What comes of the first notification since the vCPU has come to its place, by what its descriptor says.
#[must_use]
pub const fn consequence(place: TargetPlace, vector: NotificationVector, suppress: Suppress) -> Consequence {
    match (place, vector, suppress) {
        (TargetPlace::Guest, NotificationVector::Posted, Suppress::Off) => Consequence::Delivered,
        (TargetPlace::Guest, NotificationVector::WakeUp, Suppress::Off) => Consequence::DeliveredByExit,
        (TargetPlace::Guest, _, Suppress::On) => Consequence::Late,
        (TargetPlace::Host | TargetPlace::Preempted, _, _) => Consequence::FoundAtEntry,
        (TargetPlace::Blocked, NotificationVector::WakeUp, Suppress::Off) => Consequence::Woken,
        (TargetPlace::Blocked, _, _) => Consequence::SleptOver,
    }
}

impl TargetPlace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Host, Self::Preempted, Self::Blocked];

    /// What the descriptor of a vCPU at this place is to say. While it is preempted the vector does not matter.
    #[must_use]
    pub const fn descriptor(self) -> (NotificationVector, Suppress) {
        match self {
            Self::Guest | Self::Host => (NotificationVector::Posted, Suppress::Off),
            Self::Preempted => (NotificationVector::Posted, Suppress::On),
            Self::Blocked => (NotificationVector::WakeUp, Suppress::Off),
        }
    }

    /// What is to be looked at once the descriptor says so, since a poster may have gone by what it said before.
    #[must_use]
    pub const fn look_again(self) -> LookAgain {
        match self {
            Self::Guest | Self::Host => LookAgain::Posted,
            Self::Preempted => LookAgain::Nothing,
            Self::Blocked => LookAgain::Outstanding,
        }
    }
}

/// What is to be looked at after a descriptor has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookAgain {
    /// Nothing.
    Nothing,
    /// The posted vectors: those posted under SN were told to nobody. If there are any, set ON.
    Posted,
    /// ON: if it is set, the notification went out as the vector of before. Do not sleep, or send the wake-up vector oneself.
    Outstanding,
}

#[cfg(test)]
mod tests {
    use super::Consequence;
    use super::LookAgain;
    use super::Notification;
    use super::NotificationVector;
    use super::Outstanding;
    use super::Suppress;
    use super::TargetPlace;
    use super::consequence;
    use super::notify;

    /// A vCPU's descriptor and what its host has noticed, step by step.
    struct Target {
        place: TargetPlace,
        vector: NotificationVector,
        outstanding: Outstanding,
        suppress: Suppress,
        has_posted: bool,
        knows: bool,
    }

    impl Target {
        fn at(place: TargetPlace) -> Self {
            let (vector, suppress) = place.descriptor();
            Self { place, vector, outstanding: Outstanding::Off, suppress, has_posted: false, knows: false }
        }

        fn post(&mut self) {
            self.has_posted = true;
            if notify(self.outstanding, self.suppress) == Notification::Send {
                self.outstanding = Outstanding::On;
                self.knows |= !matches!(
                    consequence(self.place, self.vector, Suppress::Off),
                    Consequence::Late | Consequence::SleptOver | Consequence::FoundAtEntry
                );
            }
        }

        fn move_to(&mut self, place: TargetPlace) {
            (self.vector, self.suppress) = place.descriptor();
            self.place = place;
            self.knows |= match place.look_again() {
                LookAgain::Nothing => false,
                LookAgain::Posted => self.has_posted,
                LookAgain::Outstanding => self.outstanding == Outstanding::On,
            };
        }
    }

    #[test]
    fn at_every_place_its_descriptor_lets_nothing_be_late_or_slept_over() {
        for place in TargetPlace::ALL {
            let (vector, suppress) = place.descriptor();
            let expected = match place {
                TargetPlace::Guest => Consequence::Delivered,
                TargetPlace::Host | TargetPlace::Preempted => Consequence::FoundAtEntry,
                TargetPlace::Blocked => Consequence::Woken,
            };
            assert_eq!(consequence(place, vector, suppress), expected);
        }
    }

    #[test]
    fn the_descriptor_of_another_place_loses_interrupts_of_a_vcpu_that_sleeps() {
        let slept_over = TargetPlace::ALL.map(|other| {
            let (vector, suppress) = other.descriptor();
            consequence(TargetPlace::Blocked, vector, suppress) == Consequence::SleptOver
        });
        assert_eq!(slept_over, [true, true, true, false]);
    }

    #[test]
    fn an_interrupt_posted_before_a_move_is_known_after_it() {
        for before in [TargetPlace::Host, TargetPlace::Preempted] {
            for after in [TargetPlace::Guest, TargetPlace::Blocked] {
                // A vCPU goes to sleep from its core only.
                if (before, after) == (TargetPlace::Preempted, TargetPlace::Blocked) {
                    continue;
                }
                let mut target = Target::at(before);
                target.post();
                target.post();
                target.move_to(after);
                assert!(target.knows, "from {before:?} to {after:?}");
            }
        }
        for place in [TargetPlace::Guest, TargetPlace::Blocked] {
            let mut target = Target::at(place);
            target.post();
            assert!(target.knows, "{place:?}");
        }
    }

    #[test]
    fn only_the_first_of_several_posts_notifies_and_none_while_suppressed() {
        assert_eq!(notify(Outstanding::Off, Suppress::Off), Notification::Send);
        assert_eq!(notify(Outstanding::On, Suppress::Off), Notification::Outstanding);
        assert_eq!(notify(Outstanding::Off, Suppress::On), Notification::Suppressed);
        assert_eq!(notify(Outstanding::On, Suppress::On), Notification::Suppressed);
    }
}
