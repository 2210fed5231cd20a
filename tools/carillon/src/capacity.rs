//! `carillon capacity`: whether N devices × M queues fit, and which limit binds.

use carillon_sim::snapshot::HostSnapshot;
use serde::Serialize;
use vector_allocator::Arrival;
use vector_allocator::CapacityAnswer;
use vector_allocator::CapacityRequest;
use vector_allocator::DestinationModel;
use vector_allocator::Devices;
use vector_allocator::Domains;
use vector_allocator::EventAbi;
use vector_allocator::Holder;
use vector_allocator::HostLimits;
use vector_allocator::Limit;
use vector_allocator::MsiDestination;
use vector_allocator::Signal;
use vector_allocator::Spread;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use crate::cli::ArrivalName;
use crate::cli::CapacityArgs;
use crate::cli::Destination;
use crate::cli::LayoutName;
use crate::cli::MsiBits;
use crate::cli::SignalName;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::hosts;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;
use crate::quantity::many;

/// The most CPUs that flat logical addressing reaches (SDM vol. 3A, 11.6.2.2).
const FLAT_CPUS: u32 = 8;

/// Whether it fits.
#[derive(Debug, Serialize)]
struct Capacity {
    question: String,
    fits: bool,
    /// The limit that is nearest to its end, or furthest past it.
    binding: Option<Row>,
    limits: Vec<Row>,
    /// The most queues per device that fit, everything else being equal.
    largest_queues: Option<u32>,
}

/// One limit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) limit: String,
    pub(crate) needed: u64,
    pub(crate) available: u64,
    pub(crate) is_met: bool,
    pub(crate) remedy: Option<String>,
}

/// Answers the question of the command line.
pub(crate) fn run(args: &CapacityArgs, out: Output) -> Result<Verdict, Failure> {
    let request = request(args)?;
    let answer = vector_allocator::capacity(&request);
    let capacity = Capacity::of(question(args, &request), &answer);
    out.print(&capacity, args.output.format())?;
    Ok(Verdict::no_if(!capacity.fits))
}

fn request(args: &CapacityArgs) -> Result<CapacityRequest, Failure> {
    let msi_destination = match args.msi_destination {
        MsiBits::Bits8 => MsiDestination::Bits8,
        MsiBits::Bits15 => MsiDestination::Bits15,
        MsiBits::Remapped => MsiDestination::Remapped,
    };
    Ok(CapacityRequest {
        devices: Devices {
            count: args.devices,
            queues: args.queues,
            control_interrupts: args.control_interrupts,
            signal: match args.signal {
                SignalName::Msi => Signal::Msi,
                SignalName::MsiX => Signal::MsiX,
            },
            spread: if args.managed { Spread::Managed } else { Spread::OnDemand },
        },
        holder: Holder {
            domains: if args.guests == 0 { Domains::Dom0 } else { Domains::Guests(args.guests) },
            vcpus: args.vcpus,
            arrival: match args.arrival {
                ArrivalName::Fifo => Arrival::EventChannels(EventAbi::Fifo),
                ArrivalName::TwoLevel => Arrival::EventChannels(EventAbi::TwoLevel64),
                ArrivalName::TwoLevel32 => Arrival::EventChannels(EventAbi::TwoLevel32),
                ArrivalName::LocalApic => Arrival::LocalApic(msi_destination),
            },
            irqs_taken: 0,
            events_taken: args.events_taken.unwrap_or_else(|| events_of_linux(args.vcpus, args.arrival)),
            vectors_taken: 0,
        },
        host: HostLimits {
            destination: msi_destination,
            extra_guest_irqs: args.extra_guest_irqs,
            max_event_channels: args.max_event_channels,
            ..host(args)?
        },
    })
}

/// What a Linux guest binds for itself, as recorded domains of several vCPUs show (`lsevtchn`, `/proc/interrupts`): on each vCPU
/// the timer and IPIs for rescheduling, calls to functions on many and on one, work and lock kicks; without FIFO the debug
/// VIRQ too (`arch/x86/xen/smp.c`); then xenstore and the console.
pub(crate) const fn events_of_linux(vcpus: u32, arrival: ArrivalName) -> u32 {
    let per_vcpu = match arrival {
        ArrivalName::TwoLevel | ArrivalName::TwoLevel32 => 7,
        ArrivalName::Fifo | ArrivalName::LocalApic => 6,
    };
    vcpus.saturating_mul(per_vcpu).saturating_add(2)
}

/// The host of the flags, or of the dumps.
fn host(args: &CapacityArgs) -> Result<HostLimits, Failure> {
    if args.host.from.is_none() && args.host.recorded.is_none() && !args.host.live {
        if args.destination == Destination::Flat && args.pcpus > FLAT_CPUS {
            return Err(Failure::new(format!("flat addressing reaches {FLAT_CPUS} CPUs, not {}", args.pcpus))
                .hint("more take --destination cluster or physical"));
        }
        let layout = match args.layout {
            LayoutName::Xen => VectorLayout::xen(XenLayout::default()),
            LayoutName::Linux => VectorLayout::linux(),
        };
        let model = match args.destination {
            Destination::Physical => DestinationModel::Physical,
            Destination::Flat => DestinationModel::FLAT,
            Destination::Cluster => DestinationModel::X2APIC_CLUSTER,
        };
        return Ok(HostLimits { vectors_taken: args.taken, ..HostLimits::with_defaults(args.pcpus, layout, model) });
    }
    let host = hosts::load(&args.host)?.pop().ok_or_else(|| Failure::new("there is no host"))?;
    Ok(limits(&host))
}

/// What a recorded host has, and what of it is taken.
pub(crate) fn limits(host: &HostSnapshot) -> HostLimits {
    let assignment = host.assignment();
    let cpus = u32::try_from(assignment.online.len()).unwrap_or(u32::MAX);
    let highest = assignment.online.iter().last().map_or(0, |cpu| cpu.0);
    let from_pool = |source: &&vector_allocator::AssignedSource| {
        source.target.first().is_some_and(|cpu| assignment.layout.leasable(cpu).contains(source.vector))
    };
    let taken = assignment.sources.iter().filter(from_pool).count();
    HostLimits {
        highest_apic_id: highest,
        vectors_taken: u32::try_from(taken).unwrap_or(u32::MAX),
        ..HostLimits::with_defaults(cpus, assignment.layout.clone(), assignment.model)
    }
}

fn question(args: &CapacityArgs, request: &CapacityRequest) -> String {
    let holder = match request.holder.domains {
        Domains::Dom0 => format!("dom0 with {}", many(args.vcpus, "vCPU")),
        Domains::Guests(1) => format!("a guest with {}", many(args.vcpus, "vCPU")),
        Domains::Guests(guests) => format!("each of {guests} guests with {}", many(args.vcpus, "vCPU")),
    };
    format!(
        "{} × ({} + {}) for {holder}, on {} ({}, {} taken)",
        many(args.devices, "device"),
        many(args.queues, "queue"),
        args.control_interrupts,
        many(request.host.cpus, "pCPU"),
        request.host.layout.name(),
        many(request.host.vectors_taken, "vector")
    )
}

impl Capacity {
    fn of(question: String, answer: &CapacityAnswer) -> Self {
        Self {
            question,
            fits: answer.fits(),
            binding: answer.binding().map(Row::of),
            limits: answer.limits.iter().map(Row::of).collect(),
            largest_queues: answer.largest_queues,
        }
    }
}

impl Row {
    pub(crate) fn of(limit: &Limit) -> Self {
        Self {
            limit: limit.kind.to_string(),
            needed: limit.needed,
            available: limit.available,
            is_met: limit.is_met(),
            remedy: limit.remedy.clone().filter(|_| !limit.is_met()),
        }
    }

    /// Writes limits to a page.
    pub(crate) fn table(limits: &[Self], page: &mut Page) {
        let rows = limits.iter().map(|limit| {
            let (tone, verdict) = if limit.is_met { (Tone::Good, "fits") } else { (Tone::Bad, "does not fit") };
            vec![
                limit.limit.clone().into(),
                limit.needed.to_string().into(),
                limit.available.to_string().into(),
                Piece::toned(verdict, tone),
            ]
        });
        page.table(&["limit", "needed", "available", ""], rows.collect());
    }
}

impl Answer for Capacity {
    fn show(&self, page: &mut Page) {
        page.title(&self.question);
        Row::table(&self.limits, page);
        let binding = self.binding.as_ref().map_or("nothing", |limit| limit.limit.as_str());
        if self.fits {
            page.line(Tone::Good, &format!("It fits; nearest to its end: {binding}."));
        } else {
            page.line(Tone::Bad, &format!("It does not fit; what binds: {binding}."));
        }
        for limit in self.limits.iter().filter(|limit| !limit.is_met) {
            if let Some(remedy) = &limit.remedy {
                page.line(Tone::Warn, &format!("  • {}: {remedy}", limit.limit));
            }
        }
        match self.largest_queues {
            Some(queues) => page.line(Tone::Plain, &format!("The most queues per device that fit: {queues}.")),
            None => page.line(Tone::Warn, "Not even one queue per device fits."),
        }
    }
}
