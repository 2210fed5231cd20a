//! Which path an interrupt takes to its guest, and why, for C.

use std::ffi::c_char;

use hypervisor_lib::fabric;
use hypervisor_lib::fabric::classify;

use crate::call::enter;
use crate::pointer::Plain;
use crate::pointer::from_c;
use crate::pointer::input;
use crate::pointer::output;
use crate::pointer::text_output;
use crate::status::Failure;
use crate::status::Status;

/// How a domain is virtualized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DomainKind {
    /// Paravirtual.
    Pv = 0,
    /// Hardware virtualization with a device model.
    Hvm = 1,
    /// Hardware virtualization without a device model.
    Pvh = 2,
}

/// What a domain is and what its interrupt controllers can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DomainFeatures {
    /// One of `carillon_domain_kind`.
    pub kind: u32,
    /// Not 0: it may map physical IRQs to events (`hvm_pirq=1`; always so for PV).
    pub pirqs: u32,
    /// Not 0: its local APIC is virtualized by hardware in the mode it uses.
    pub apic_virtualized: u32,
    /// Not 0: the IOMMU posts its device interrupts (`iommu=intpost`).
    pub posting: u32,
}

/// How an interrupt signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Signal {
    /// The hypervisor handles it itself.
    Hypervisor = 0,
    /// MSI or MSI-X of an assigned device, to one destination.
    DeviceMsi = 1,
    /// MSI or MSI-X of an assigned device, to several destinations or by lowest priority.
    DeviceMsiMulticast = 2,
    /// A line of an IO-APIC from an assigned device.
    DeviceIntx = 3,
    /// A front-end or back-end, xenstore, the console, a virtual IRQ, another vCPU.
    Virtual = 4,
    /// A device the device model emulates.
    Emulated = 5,
}

/// How an interrupt reaches its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Path {
    /// It does not: the hypervisor's own handler takes it.
    Hypervisor = 0,
    /// The host takes it and sets an event channel pending.
    PirqEvent = 1,
    /// The host takes it and sets it in an emulated local APIC.
    SoftwareApic = 2,
    /// The host takes it and hands a guest vector to the virtualized local APIC.
    Remapped = 3,
    /// The IOMMU posts it: no host vector.
    Posted = 4,
    /// The host takes it and asserts the guest's virtual line.
    LevelInjected = 5,
    /// An event channel, without any physical interrupt.
    Event = 6,
    /// The device model injects it.
    DeviceModel = 7,
}

/// A path, and what of it matters to arbitration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Route {
    /// One of `carillon_path`.
    pub path: u32,
    /// 1 if a host vector is taken on its way, so that it takes part in arbitration, else 0.
    pub takes_host_vector: u32,
}

// SAFETY: integers.
unsafe impl Plain for DomainFeatures {}

/// Which kind of domain a number is.
pub(crate) fn domain_kind(number: u32) -> Result<fabric::DomainKind, Failure> {
    const ALL: [(DomainKind, fabric::DomainKind); 3] = [
        (DomainKind::Pv, fabric::DomainKind::Pv),
        (DomainKind::Hvm, fabric::DomainKind::Hvm),
        (DomainKind::Pvh, fabric::DomainKind::Pvh),
    ];
    let found = ALL.into_iter().find(|(kind, _)| *kind as u32 == number);
    found.map(|(_, kind)| kind).ok_or_else(|| Failure::value("kind of domain", number))
}

fn signal(number: u32) -> Result<fabric::Signal, Failure> {
    const ALL: [(Signal, fabric::Signal); 6] = [
        (Signal::Hypervisor, fabric::Signal::Hypervisor),
        (Signal::DeviceMsi, fabric::Signal::DeviceMsi),
        (Signal::DeviceMsiMulticast, fabric::Signal::DeviceMsiMulticast),
        (Signal::DeviceIntx, fabric::Signal::DeviceIntx),
        (Signal::Virtual, fabric::Signal::Virtual),
        (Signal::Emulated, fabric::Signal::Emulated),
    ];
    let found = ALL.into_iter().find(|(signal, _)| *signal as u32 == number);
    found.map(|(_, signal)| signal).ok_or_else(|| Failure::value("signal", number))
}

const fn path(path: fabric::Path) -> Path {
    match path {
        fabric::Path::Hypervisor => Path::Hypervisor,
        fabric::Path::PirqEvent => Path::PirqEvent,
        fabric::Path::SoftwareApic => Path::SoftwareApic,
        fabric::Path::Remapped => Path::Remapped,
        fabric::Path::Posted => Path::Posted,
        fabric::Path::LevelInjected => Path::LevelInjected,
        fabric::Path::Event => Path::Event,
        fabric::Path::DeviceModel => Path::DeviceModel,
    }
}

/// Tells which path an interrupt takes to a domain, and why.
///
/// @param features       The domain.
/// @param features_size  The size of the structure.
/// @param signal         One of `carillon_signal`: how the interrupt signals.
/// @param route          The path.
/// @param route_size     The size of the structure.
/// @param buffer         Where the reason goes, with a zero at its end; null with size 0 to ask for its size only.
/// @param size           The size of the buffer.
/// @param needed         The size the reason needs, with its zero. If the buffer is too small for it, the path is written
///                       all the same.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_classify(
    features: *const DomainFeatures,
    features_size: usize,
    signal: u32,
    route: *mut Route,
    route_size: usize,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> Status {
    enter(|| {
        let features = from_c!(input(features, features_size, "features"))?;
        let route = from_c!(output(route, route_size, "route"))?;
        let reason = from_c!(text_output(buffer, size, needed))?;
        let features = fabric::DomainFeatures {
            kind: domain_kind(features.kind)?,
            pirqs: features.pirqs != 0,
            apic_virtualized: features.apic_virtualized != 0,
            posting: features.posting != 0,
        };
        let found = classify(features, self::signal(signal)?);
        let takes_host_vector = u32::from(found.path.takes_host_vector());
        route.write(Route { path: path(found.path) as u32, takes_host_vector });
        reason.write(found.reason.to_string().as_bytes())
    })
}
