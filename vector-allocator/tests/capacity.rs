//! The capacity answer against one that hands everything out piece by piece.

use std::collections::BTreeSet;

use vector_allocator::Arrival;
use vector_allocator::CapacityRequest;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Devices;
use vector_allocator::Domains;
use vector_allocator::EventAbi;
use vector_allocator::Holder;
use vector_allocator::HostLimits;
use vector_allocator::LimitKind;
use vector_allocator::MsiDestination;
use vector_allocator::Signal;
use vector_allocator::Spread;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;
use vector_allocator::capacity;
use vector_allocator::vectors_of_host;

fn request(cpus: u32, queues: u32) -> CapacityRequest {
    CapacityRequest {
        devices: Devices { count: 1, queues, control_interrupts: 1, signal: Signal::MsiX, spread: Spread::OnDemand },
        holder: Holder {
            domains: Domains::Guests(1),
            vcpus: 4,
            arrival: Arrival::EventChannels(EventAbi::Fifo),
            irqs_taken: 0,
            events_taken: 8,
            vectors_taken: 0,
        },
        host: HostLimits::with_defaults(cpus, VectorLayout::xen(XenLayout::default()), DestinationModel::FLAT),
    }
}

fn limit(request: &CapacityRequest, kind: LimitKind) -> (u64, u64, String) {
    let answer = capacity(request);
    let limit = answer.limits.iter().find(|limit| limit.kind == kind).unwrap();
    (limit.needed, limit.available, limit.to_string())
}

/// Leases every vector of every CPU, one by one, until none is left.
fn handed_out(layout: &VectorLayout, model: DestinationModel, cpus: u32) -> u64 {
    let online = CpuSet::first_n(cpus);
    let mut taken: BTreeSet<(u32, u8)> = BTreeSet::new();
    let mut leases = 0;
    for cpu in online.iter() {
        let holders = model.holders(cpu, &online);
        for vector in Vector::all() {
            let is_free = |on: CpuId| layout.leasable(on).contains(vector) && !taken.contains(&(on.0, vector.number()));
            if holders.iter().all(is_free) {
                taken.extend(holders.iter().map(|on| (on.0, vector.number())));
                leases += 1;
            }
        }
    }
    leases
}

#[test]
fn the_vectors_of_a_host_are_as_many_as_can_be_leased_one_by_one() {
    let layouts = [VectorLayout::xen(XenLayout::default()), VectorLayout::linux()];
    let models = [1, 2, 3, 8, 16].map(|cluster_size| DestinationModel::Logical { cluster_size });
    for layout in &layouts {
        for model in
            models.into_iter().chain([DestinationModel::Physical, DestinationModel::Logical { cluster_size: 0 }])
        {
            for cpus in 0..20 {
                let counted = vectors_of_host(layout, model, cpus);
                assert_eq!(counted, handed_out(layout, model, cpus), "{} {model:?} {cpus}", layout.name());
            }
        }
    }
}

/// Interrupts that devices of `queues` queues take, counted one by one.
fn interrupts(devices: &Devices) -> u64 {
    let mut count = 0;
    for _ in 0..devices.queues + devices.control_interrupts {
        count += 1;
    }
    while devices.signal == Signal::Msi && count & (count - 1) != 0 {
        count += 1;
    }
    count
}

/// Whether a request fits, by handing out everything it needs.
fn fits_by_trial(request: &CapacityRequest) -> bool {
    let host = &request.host;
    let per_device = interrupts(&request.devices);
    let most = match (request.devices.signal, host.destination) {
        (Signal::MsiX, _) => 2048,
        (Signal::Msi, MsiDestination::Remapped) => 32,
        (Signal::Msi, _) => 1,
    };
    let mut vectors = vectors_of_host(&host.layout, host.model, host.cpus);
    let mut irqs = host.nr_irqs.map_or((host.cpus * 208).max(8 * host.gsis), |set| set) - host.gsis;
    let Domains::Guests(domains) = request.holder.domains else { panic!("guests only") };
    for _ in 0..domains {
        let mut pirqs = host.extra_guest_irqs;
        let mut events = host.max_event_channels - request.holder.events_taken;
        let mut linux = request.holder.vcpus * 203;
        let mut managed = vec![203u32; request.holder.vcpus as usize];
        for _ in 0..request.devices.count {
            for _ in 0..per_device {
                let pools = [&mut irqs, &mut pirqs];
                if vectors == 0 || pools.iter().any(|pool| **pool == 0) {
                    return false;
                }
                vectors -= 1;
                for pool in pools {
                    *pool -= 1;
                }
                let arrival = match request.holder.arrival {
                    Arrival::EventChannels(_) => &mut events,
                    Arrival::LocalApic(_) => &mut linux,
                };
                if *arrival == 0 {
                    return false;
                }
                *arrival -= 1;
            }
            // Each managed queue reserves on one CPU at least, and together they cover all CPUs.
            let is_managed = matches!(request.holder.arrival, Arrival::LocalApic(_))
                && request.devices.spread == Spread::Managed
                && request.devices.queues > 0;
            let reservations = request.devices.queues.max(request.holder.vcpus).next_multiple_of(request.holder.vcpus);
            for turn in (0..reservations).filter(|_| is_managed) {
                let cpu = (turn % request.holder.vcpus) as usize;
                if managed[cpu] == 0 {
                    return false;
                }
                managed[cpu] -= 1;
            }
        }
    }
    per_device <= most
}

#[test]
fn over_a_grid_of_requests_the_answer_is_that_of_handing_everything_out() {
    let mut both_ways = [0, 0];
    for count in [1, 2, 40, 204] {
        for queues in [0, 1, 3, 7, 8, 15, 31, 32, 200, 202, 203, 2047, 2048] {
            for (cpus, domains) in [(1, 1), (4, 1), (4, 3), (16, 2)] {
                for (arrival, spread, signal, destination) in [
                    (Arrival::EventChannels(EventAbi::Fifo), Spread::OnDemand, Signal::MsiX, MsiDestination::Bits8),
                    (
                        Arrival::LocalApic(MsiDestination::Bits8),
                        Spread::OnDemand,
                        Signal::Msi,
                        MsiDestination::Remapped,
                    ),
                    (
                        Arrival::LocalApic(MsiDestination::Bits8),
                        Spread::Managed,
                        Signal::MsiX,
                        MsiDestination::Remapped,
                    ),
                    (Arrival::LocalApic(MsiDestination::Bits8), Spread::Managed, Signal::Msi, MsiDestination::Bits8),
                ] {
                    for extra in [32, 100_000] {
                        let mut request = request(cpus, queues);
                        request.devices.count = count;
                        request.devices.signal = signal;
                        request.devices.spread = spread;
                        request.holder.domains = Domains::Guests(domains);
                        request.holder.arrival = arrival;
                        request.host.destination = destination;
                        request.host.extra_guest_irqs = extra;
                        request.host.model = DestinationModel::Physical;
                        request.host.nr_irqs = Some(100_000);
                        let fits = fits_by_trial(&request);
                        both_ways[usize::from(fits)] += 1;
                        assert_eq!(capacity(&request).fits(), fits, "{request:?}");
                    }
                }
            }
        }
    }
    assert!(both_ways.iter().all(|count| *count > 100), "{both_ways:?}");
}

#[test]
fn the_largest_number_of_queues_is_the_last_that_fits() {
    for cpus in [1, 4, 8, 16, 64] {
        for extra in [16, 32, 64, 512, 4096] {
            for signal in [Signal::MsiX, Signal::Msi] {
                let mut request = request(cpus, 0);
                request.host.extra_guest_irqs = extra;
                request.devices.signal = signal;
                request.host.destination = MsiDestination::Remapped;
                request.devices.count = 3;
                let with = |queues| {
                    let devices = Devices { queues, ..request.devices };
                    capacity(&CapacityRequest { devices, ..request.clone() }).fits()
                };
                let counted = (0..3000).take_while(|queues| with(*queues)).last();
                assert_eq!(capacity(&request).largest_queues, counted);
            }
        }
    }
}

#[test]
fn a_forty_queue_nic_names_the_extra_guest_irqs_it_needs() {
    let answer = capacity(&request(16, 40));
    assert!(!answer.fits());
    let binding = answer.binding().unwrap();
    assert_eq!(binding.to_string(), "physical interrupts of a domain: 41 of 32; start Xen with extra_guest_irqs=41");
    assert_eq!(answer.largest_queues, Some(31));
}

#[test]
fn a_cluster_has_no_more_vectors_than_one_cpu_and_physical_destinations_are_the_way_out() {
    let mut request = request(8, 200);
    request.host.extra_guest_irqs = 4096;
    let (needed, available, text) = limit(&request, LimitKind::HostVectors);
    assert_eq!((needed, available), (201, 189));
    assert!(text.ends_with("x2apic_phys=1"), "{text}");
    request.host.model = DestinationModel::Physical;
    assert_eq!(limit(&request, LimitKind::HostVectors).1, 189 + 7 * 202);
}

#[test]
fn dom0_of_the_recorded_host_has_the_624_irqs_its_pirq_647_shows() {
    let mut request = request(4, 8);
    request.holder.domains = Domains::Dom0;
    // PIRQs are handed out from the top: 24 GSIs and 624 more make 647 the first.
    assert_eq!(limit(&request, LimitKind::DomainIrqs).1, 647 + 1 - 24);
    assert!(capacity(&request).limits.iter().all(|limit| limit.kind != LimitKind::EventChannels));
}

#[test]
fn plain_msis_come_in_powers_of_two_and_several_only_with_remapping() {
    let mut request = request(16, 8);
    request.devices.signal = Signal::Msi;
    assert_eq!(limit(&request, LimitKind::DeviceInterrupts).1, 1);
    assert!(limit(&request, LimitKind::DeviceInterrupts).2.ends_with("iommu=intremap"));
    request.host.destination = MsiDestination::Remapped;
    // Eight queues and one for control are nine, and nine are handed out as sixteen.
    assert_eq!(limit(&request, LimitKind::DeviceInterrupts), (16, 32, "interrupts of a device: 16 of 32".into()));
    assert_eq!(limit(&request, LimitKind::DomainIrqs).0, 16);
}

#[test]
fn event_channels_run_out_by_grant_and_by_abi() {
    let mut request = request(64, 1100);
    request.host.extra_guest_irqs = 4096;
    request.holder.arrival = Arrival::EventChannels(EventAbi::TwoLevel32);
    assert_eq!(limit(&request, LimitKind::EventChannels).0, 1109);
    assert!(limit(&request, LimitKind::EventChannels).2.ends_with("max_event_channels=1109"));
    assert_eq!(limit(&request, LimitKind::EventPorts).1, 1023);
    request.holder.arrival = Arrival::EventChannels(EventAbi::TwoLevel64);
    assert_eq!(limit(&request, LimitKind::EventPorts).1, 4095);
}

#[test]
fn apic_ids_past_eight_bits_need_remapping() {
    let mut request = request(4, 1);
    request.host.highest_apic_id = 255;
    assert_eq!(capacity(&request).binding().unwrap().kind, LimitKind::HostDestination);
    request.host.destination = MsiDestination::Bits15;
    assert!(capacity(&request).fits());
    request.holder.arrival = Arrival::LocalApic(MsiDestination::Bits8);
    request.holder.vcpus = 129;
    assert_eq!(capacity(&request).binding().unwrap().kind, LimitKind::DomainDestination);
}

#[test]
fn numbers_from_a_damaged_file_are_answered_without_panic() {
    let mut request = request(u32::MAX, u32::MAX);
    request.devices.count = u32::MAX;
    request.devices.control_interrupts = u32::MAX;
    request.holder.domains = Domains::Guests(u32::MAX);
    request.host.gsis = u32::MAX;
    assert!(!capacity(&request).fits());
    request.host.cpus = 0;
    request.holder.vcpus = 0;
    assert!(!capacity(&request).fits());
}

#[test]
fn dom0s_irqs_follow_its_vcpus_where_they_are_fewer_than_the_bits_of_the_cpus() {
    let available = |cpus: u32, vcpus: u32, gsis: u32, nr_irqs: Option<u32>| {
        let mut request = request(cpus, 8);
        request.holder.domains = Domains::Dom0;
        request.holder.vcpus = vcpus;
        (request.host.gsis, request.host.nr_irqs) = (gsis, nr_irqs);
        limit(&request, LimitKind::DomainIrqs).1
    };
    assert_eq!(available(64, 2, 24, None), 2 * 208);
    assert_eq!(available(64, 7, 24, None), 7 * 208);
    assert_eq!(available(64, 64, 24, None), 7 * 208, "64 has seven bits");
    assert_eq!(available(1, 1, 24, None), 208 - 24, "one CPU's interrupts are all there are");
    assert_eq!(available(64, 4, 24, Some(500)), 500 - 24);
    assert_eq!(available(64, 4, 32_000, None), 32_768 - 32_000, "a page has 32768 bits");
}

#[test]
fn three_hundred_cpus_by_physical_destinations_need_interrupt_remapping_and_are_told_so() {
    let mut request = request(300, 4);
    request.host.model = DestinationModel::Physical;
    let answer = capacity(&request);
    assert_eq!(answer.largest_queues, None);
    let binding = answer.binding().unwrap().to_string();
    assert!(binding.ends_with("CPUs with higher APIC ids need interrupt remapping: iommu=intremap"), "{binding}");
    request.host.destination = MsiDestination::Remapped;
    assert!(capacity(&request).fits());
}

/// A remedy above what Xen's 32 bits or a domain's ports hold would be none.
#[test]
fn every_limit_that_is_not_met_has_a_remedy_that_xen_accepts_or_says_that_there_is_none() {
    let mut unmet = BTreeSet::new();
    for queues in [40, 3000, 200_000, u32::MAX] {
        for count in [1, 64, u32::MAX] {
            for (guests, signal, abi) in [
                (Domains::Dom0, Signal::MsiX, EventAbi::Fifo),
                (Domains::Guests(3), Signal::Msi, EventAbi::TwoLevel64),
                (Domains::Guests(u32::MAX), Signal::MsiX, EventAbi::Fifo),
            ] {
                let mut request = request(300, queues);
                request.devices.count = count;
                request.devices.signal = signal;
                request.holder.domains = guests;
                request.holder.arrival = Arrival::EventChannels(abi);
                for limit in capacity(&request).limits.into_iter().filter(|limit| !limit.is_met()) {
                    let remedy = limit.remedy.clone().unwrap_or_else(|| panic!("{limit} has no remedy"));
                    let numbers = remedy.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
                    for number in numbers {
                        assert!(number.parse::<u32>().is_ok(), "{limit}");
                    }
                    if limit.kind == LimitKind::EventChannels || limit.kind == LimitKind::EventPorts {
                        assert_eq!(remedy.starts_with("cannot be reached"), limit.needed > 131_071, "{limit}");
                    }
                    unmet.insert(limit.kind.to_string());
                }
            }
        }
    }
    assert_eq!(unmet.len(), 7, "{unmet:?}");
}
