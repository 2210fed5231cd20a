//! What a hypervisor lets a guest do to MSRs.

/// What the MSR bitmap (Intel) or permission map (AMD) says of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interception {
    /// It exits to the hypervisor.
    Intercept,
    /// The processor carries it out.
    PassThrough,
}
