/*
 * libcarillon: arbitration of interrupt vectors, inspection and planning of Xen hosts, event channels.
 *
 * Pointers. Each pointer is null or points to what its type says: an input to as many readable bytes as the size that comes
 * with it says, an output to as many writable ones, a string to bytes that end in a zero. The library keeps no pointer beyond
 * the call, but for a domain's memory and an event host's callbacks. Null, and a size that is not the one expected, are
 * errors.
 *
 * Ownership. What the library makes is behind a handle and lives until carillon_destroy. It never hands out memory: text and
 * lists are copied into the caller's buffers.
 *
 * Handles. A number that is never given out twice. One that was destroyed, was never given out or is of another kind of
 * object is an error and nothing else.
 *
 * Threads. Every function may be called from any thread at any time. carillon_last_error is per thread.
 *
 * Enumerations travel as uint32_t: any number may be passed, and one that is none of the enumeration is an error.
 */

#ifndef CARILLON_H
#define CARILLON_H

/* Written by cbindgen from tools/capi: change that, not this. */

#include <stddef.h>
#include <stdint.h>

// The owner of the hypervisor's own interrupts; any other owner is a domain's number, 0 for dom0.
#define CARILLON_OWNER_XEN 4294967295

// How a call ended. Unless it is `CARILLON_STATUS_OK`, nothing has changed and no output but the size a buffer needs was
// written, where the function does not say otherwise; `carillon_last_error` has the text.
enum carillon_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It was done.
    CARILLON_STATUS_OK = 0,
    // A pointer is null that must not be.
    CARILLON_STATUS_NULL_POINTER = -1,
    // A size is not the one of the structure, or a buffer is too small.
    CARILLON_STATUS_WRONG_SIZE = -2,
    // A handle or lease was given back before, was never given out, or is of another kind.
    CARILLON_STATUS_BAD_HANDLE = -3,
    // A number is out of its range, or none of its enumeration.
    CARILLON_STATUS_BAD_VALUE = -4,
    // A text or saved state cannot be understood.
    CARILLON_STATUS_BAD_INPUT = -5,
    // There is no such domain, vCPU, port or entry of a list.
    CARILLON_STATUS_NOT_FOUND = -6,
    // Something ran out: vectors, ports, handles.
    CARILLON_STATUS_EXHAUSTED = -7,
    // The object is in a state that does not allow it.
    CARILLON_STATUS_WRONG_STATE = -8,
    // It was broken off and is to be called again.
    CARILLON_STATUS_TRY_AGAIN = -9,
    // A callback called the library.
    CARILLON_STATUS_IN_CALLBACK = -10,
    // The library failed; the objects of the call are good for nothing but to be destroyed. Please report it.
    CARILLON_STATUS_PANICKED = -11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_status carillon_status;
#else
typedef int32_t carillon_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a domain is virtualized.
enum carillon_domain_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Paravirtual.
    CARILLON_DOMAIN_KIND_PV = 0,
    // Hardware virtualization with a device model.
    CARILLON_DOMAIN_KIND_HVM = 1,
    // Hardware virtualization without a device model.
    CARILLON_DOMAIN_KIND_PVH = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_domain_kind carillon_domain_kind;
#else
typedef uint32_t carillon_domain_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How an interrupt signals.
enum carillon_signal
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The hypervisor handles it itself.
    CARILLON_SIGNAL_HYPERVISOR = 0,
    // MSI or MSI-X of an assigned device, to one destination.
    CARILLON_SIGNAL_DEVICE_MSI = 1,
    // MSI or MSI-X of an assigned device, to several destinations or by lowest priority.
    CARILLON_SIGNAL_DEVICE_MSI_MULTICAST = 2,
    // A line of an IO-APIC from an assigned device.
    CARILLON_SIGNAL_DEVICE_INTX = 3,
    // A front-end or back-end, xenstore, the console, a virtual IRQ, another vCPU.
    CARILLON_SIGNAL_VIRTUAL = 4,
    // A device the device model emulates.
    CARILLON_SIGNAL_EMULATED = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_signal carillon_signal;
#else
typedef uint32_t carillon_signal;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How an interrupt reaches its guest.
enum carillon_path
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It does not: the hypervisor's own handler takes it.
    CARILLON_PATH_HYPERVISOR = 0,
    // The host takes it and sets an event channel pending.
    CARILLON_PATH_PIRQ_EVENT = 1,
    // The host takes it and sets it in an emulated local APIC.
    CARILLON_PATH_SOFTWARE_APIC = 2,
    // The host takes it and hands a guest vector to the virtualized local APIC.
    CARILLON_PATH_REMAPPED = 3,
    // The IOMMU posts it: no host vector.
    CARILLON_PATH_POSTED = 4,
    // The host takes it and asserts the guest's virtual line.
    CARILLON_PATH_LEVEL_INJECTED = 5,
    // An event channel, without any physical interrupt.
    CARILLON_PATH_EVENT = 6,
    // The device model injects it.
    CARILLON_PATH_DEVICE_MODEL = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_path carillon_path;
#else
typedef uint32_t carillon_path;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which vectors there are to give.
enum carillon_layout
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Xen's map, with PV, PV32 and HPET broadcast configured in: 202 vectors on a CPU, 189 on CPU 0.
    CARILLON_LAYOUT_XEN = 0,
    // Xen's map without what is only newer versions': the HPET broadcast vector.
    CARILLON_LAYOUT_XEN_WITHOUT_HPET_BROADCAST = 1,
    // Linux's map: 203 vectors on a CPU.
    CARILLON_LAYOUT_LINUX = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_layout carillon_layout;
#else
typedef uint32_t carillon_layout;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How external interrupts are addressed.
enum carillon_destination
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // One CPU each: a lease takes its vector on one CPU.
    CARILLON_DESTINATION_PHYSICAL = 0,
    // xAPIC flat logical mode: a lease takes its vector on all of up to 8 CPUs.
    CARILLON_DESTINATION_FLAT = 1,
    // x2APIC cluster mode: a lease takes its vector on all CPUs of a cluster of 16.
    CARILLON_DESTINATION_CLUSTER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_destination carillon_destination;
#else
typedef uint32_t carillon_destination;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which rule chooses a vector.
enum carillon_policy
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Xen's: one global cursor, stride 8, blind to owners.
    CARILLON_POLICY_XEN_CURSOR = 0,
    // Linux's: the CPU with the most vectors left, its lowest free vector.
    CARILLON_POLICY_SPREAD = 1,
    // Every guest's vector below every vector of dom0's on the same CPU, retaining sources lowest.
    CARILLON_POLICY_BELOW_DOM0 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_policy carillon_policy;
#else
typedef uint32_t carillon_policy;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How level-triggered interrupts are acknowledged (Xen: `ioapic_ack=`).
enum carillon_io_apic_ack
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // EOI at the end of service; Xen's default.
    CARILLON_IO_APIC_ACK_NEW = 0,
    // Mask at the source and EOI at once.
    CARILLON_IO_APIC_ACK_OLD = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_io_apic_ack carillon_io_apic_ack;
#else
typedef uint32_t carillon_io_apic_ack;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a source signals, as far as it matters to arbitration.
enum carillon_source_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Edge-triggered and maskable at the source: MSI-X, MSI with mask bits, an edge pin of an IO-APIC.
    CARILLON_SOURCE_KIND_EDGE_MASKABLE = 0,
    // MSI without mask bits.
    CARILLON_SOURCE_KIND_EDGE_UNMASKABLE = 1,
    // A level-triggered pin of an IO-APIC.
    CARILLON_SOURCE_KIND_LEVEL = 2,
    // A vector reserved on every CPU to be told something.
    CARILLON_SOURCE_KIND_NOTIFICATION = 3,
    // Posted by the IOMMU: needs no vector, and gets none.
    CARILLON_SOURCE_KIND_POSTED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_source_kind carillon_source_kind;
#else
typedef uint32_t carillon_source_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What became of a lease whose CPU was removed.
enum carillon_fate
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It has another vector or CPU now, to be programmed.
    CARILLON_FATE_MOVED = 0,
    // No CPU has a vector for it: silence its source until the CPU is back.
    CARILLON_FATE_STRANDED = 1,
    // An interrupt of it waited on the CPU, and is to be sent again to this vector and CPU.
    CARILLON_FATE_FORWARD = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_fate carillon_fate;
#else
typedef uint32_t carillon_fate;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What kind of harm an inversion is.
enum carillon_harm
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // They do not meet now; after a move their vectors would be in the wrong order.
    CARILLON_HARM_POSSIBLE = 0,
    // They do not meet for good: a move draws a new vector, and nobody can tell the order.
    CARILLON_HARM_POSSIBLE_BY_LOTTERY = 1,
    // The guest's vector is above dom0's on the same CPU: when both wait, dom0 is served second.
    CARILLON_HARM_RANK = 2,
    // After a move the guest's source could keep dom0's from being delivered.
    CARILLON_HARM_POSSIBLE_RETENTION = 3,
    // While the guest is slow, for up to 1 ms, dom0's is not delivered on that CPU.
    CARILLON_HARM_RETENTION = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_harm carillon_harm;
#else
typedef uint32_t carillon_harm;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which inversions to mend.
enum carillon_mend
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // All of them.
    CARILLON_MEND_ALL = 0,
    // Those that are there as the host stands.
    CARILLON_MEND_PRESENT = 1,
    // Retention alone, now or after a move.
    CARILLON_MEND_RETENTION = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_mend carillon_mend;
#else
typedef uint32_t carillon_mend;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Whose.
enum carillon_whose
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nobody's.
    CARILLON_WHOSE_NOBODY = 0,
    // Guests' alone.
    CARILLON_WHOSE_GUESTS = 1,
    // Anyone's.
    CARILLON_WHOSE_ANYONE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_whose carillon_whose;
#else
typedef uint32_t carillon_whose;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a move changes.
enum carillon_change
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The source gets another vector, and with it perhaps another CPU.
    CARILLON_CHANGE_REVECTOR = 0,
    // The source keeps its vector and is kept to fewer CPUs.
    CARILLON_CHANGE_PIN = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_change carillon_change;
#else
typedef uint32_t carillon_change;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What is to be done.
enum carillon_event_action_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The vCPU has got its first pending event: wake it, or interrupt it where it runs.
    CARILLON_EVENT_ACTION_KIND_KICK = 0,
    // Set `vector` in the vCPU's local APIC, edge-triggered.
    CARILLON_EVENT_ACTION_KIND_INJECT_VECTOR = 1,
    // Drive the domain's interrupt line `gsi` to `level`.
    CARILLON_EVENT_ACTION_KIND_SET_GSI = 2,
    // Drive the interrupt pin `pin` of the domain's PCI slot `device` to `level`.
    CARILLON_EVENT_ACTION_KIND_SET_INTX = 3,
    // End the vCPU's poll.
    CARILLON_EVENT_ACTION_KIND_WAKE_POLLER = 4,
    // A port whose events the hypervisor consumes has got one: `port`, of consumer `consumer`, for the vCPU.
    CARILLON_EVENT_ACTION_KIND_NOTIFY_CONSUMER = 5,
    // Give up the physical IRQ `pirq`.
    CARILLON_EVENT_ACTION_KIND_UNBIND_PIRQ = 6,
    // Move the physical IRQ `pirq` to where the vCPU runs.
    CARILLON_EVENT_ACTION_KIND_MOVE_PIRQ = 7,
    // Acknowledge the interrupt behind the physical IRQ `pirq`, so that it can happen again.
    CARILLON_EVENT_ACTION_KIND_ACKNOWLEDGE_PIRQ = 8,
    // Mask the message behind the physical IRQ `pirq` if `level` is 1, unmask it if it is 0.
    CARILLON_EVENT_ACTION_KIND_MASK_MESSAGE = 9,
    // Hand a message with `vector` to the local APICs that `flags` address.
    CARILLON_EVENT_ACTION_KIND_INJECT_MESSAGE = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_event_action_kind carillon_event_action_kind;
#else
typedef uint32_t carillon_event_action_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a domain may do to others.
enum carillon_privilege
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing.
    CARILLON_PRIVILEGE_NONE = 0,
    // Anything: it is a control domain.
    CARILLON_PRIVILEGE_CONTROL = 1,
    // Anything to one domain, whose device model it runs.
    CARILLON_PRIVILEGE_OVER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum carillon_privilege carillon_privilege;
#else
typedef uint32_t carillon_privilege;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A host.
struct carillon_allocator_options {
    // How many CPUs it has, 1 to 4096, whether in use or not.
    uint32_t cpus;
    // One of `carillon_layout`.
    uint32_t layout;
    // One of `carillon_destination`.
    uint32_t destination;
    // One of `carillon_policy`.
    uint32_t policy;
    // One of `carillon_io_apic_ack`.
    uint32_t io_apic_ack;
};

// What the library made for the caller; 0 is never one. It lives until `carillon_destroy`.
typedef uint64_t carillon_handle;

// One lease of a CPU that was removed.
struct carillon_evacuee {
    // The lease.
    uint64_t lease;
    // One of `carillon_fate`.
    uint32_t fate;
    // The vector it has now.
    uint32_t vector;
    // The CPU it is sent to now.
    uint32_t cpu;
};

// A vector given out by one arbiter, until it is released; never given out twice. 0 is never one.
typedef uint64_t carillon_lease;

// Where a lease's interrupt goes.
struct carillon_placement {
    // The host vector.
    uint32_t vector;
    // The CPU the interrupt is sent to.
    uint32_t target;
    // 1 while a move drains, else 0.
    uint32_t is_moving;
    // The vector that drains, while a move does.
    uint32_t old_vector;
};

// What a domain is and what its interrupt controllers can do.
struct carillon_domain_features {
    // One of `carillon_domain_kind`.
    uint32_t kind;
    // Not 0: it may map physical IRQs to events (`hvm_pirq=1`; always so for PV).
    uint32_t pirqs;
    // Not 0: its local APIC is virtualized by hardware in the mode it uses.
    uint32_t apic_virtualized;
    // Not 0: the IOMMU posts its device interrupts (`iommu=intpost`).
    uint32_t posting;
};

// A path, and what of it matters to arbitration.
struct carillon_route {
    // One of `carillon_path`.
    uint32_t path;
    // 1 if a host vector is taken on its way, so that it takes part in arbitration, else 0.
    uint32_t takes_host_vector;
};

// What is to be done, to what. Fields that the kind does not speak of are 0.
struct carillon_event_action {
    // One of `carillon_event_action_kind`.
    uint32_t kind;
    // Whose.
    uint32_t domain;
    // Which vCPU.
    uint32_t vcpu;
    // The vector, 16 to 255.
    uint32_t vector;
    // The line of the platform's interrupt controllers.
    uint32_t gsi;
    // The PCI slot.
    uint32_t device;
    // Its pin, 0 for INTA.
    uint32_t pin;
    // 1 to assert or mask, 0 to deassert or unmask.
    uint32_t level;
    // The port.
    uint32_t port;
    // The consumer's number.
    uint32_t consumer;
    // The physical IRQ.
    uint32_t pirq;
    // How a message is delivered: XEN_DOMCTL_VMSI_X86_* of `public/domctl.h`.
    uint32_t flags;
};

// What event channels ask of their hypervisor. All functions are called on a thread that calls the library, while it holds
// its locks: they must return soon and must not call it (`CARILLON_STATUS_IN_CALLBACK`), but for
// `carillon_last_error`. Only `act` must be there.
struct carillon_event_callbacks {
    // Handed to every function.
    void *context;
    // Carries out an action; it is valid during the call only.
    void (*act)(void *context, const struct carillon_event_action *action);
    // Not 0 if the toolstack has stopped all of a domain's vCPUs. Without it: 0.
    uint32_t (*is_paused)(void *context, uint32_t domain);
    // Not 0 if the CPU has something more urgent to do than to go on with a long operation. Without it: 0.
    uint32_t (*is_preempted)(void *context);
    // Not 0 if a vCPU's local APIC is software-enabled. Without it: 1.
    uint32_t (*is_local_apic_enabled)(void *context, uint32_t domain, uint32_t vcpu);
    // Not 0 if a domain may use a physical IRQ. Without it: 0.
    uint32_t (*may_use_pirq)(void *context, uint32_t domain, uint32_t pirq);
    // Takes a physical IRQ for a paravirtual domain; with `is_shared` not 0 other domains may take the same line. Returns 0,
    // or one of Xen's errors, negated, which the guest sees. Without it: -1 (`EPERM`).
    int32_t (*bind_pirq)(void *context, uint32_t domain, uint32_t pirq, uint32_t is_shared);
};

// What a domain is created with.
struct carillon_event_domain_options {
    // Its number, below 0x7ff0.
    uint32_t id;
    // One of `carillon_domain_kind`.
    uint32_t kind;
    // One of `carillon_privilege`.
    uint32_t privilege;
    // The domain it has power over, with `CARILLON_PRIVILEGE_OVER`.
    uint32_t client;
    // How wide its words are when it starts: 32 or 64 bits.
    uint32_t word_bits;
    // How many vCPUs it has, 1 to 4096.
    uint32_t vcpus;
    // The highest port it may use (`max_event_channels`).
    uint32_t max_port;
    // One more than the highest physical IRQ it can map.
    uint32_t pirqs;
    // The frame of its shared page.
    uint64_t shared_info_gfn;
};

// A guest's interrupt and one of dom0's in the wrong order.
struct carillon_inversion {
    // One of `carillon_harm`.
    uint32_t harm;
    // 1 if it would be there only once the guest binds an interrupt it has mapped, else 0.
    uint32_t is_latent;
    // Xen's number of the guest's interrupt.
    uint32_t guest_irq;
    // Its host vector.
    uint32_t guest_vector;
    // Whose it is: the domain's number.
    uint32_t guest_domain;
    // Xen's number of dom0's interrupt.
    uint32_t dom0_irq;
    // Its host vector.
    uint32_t dom0_vector;
};

// A plan in numbers.
struct carillon_plan_summary {
    // How many moves it has.
    uint64_t moves;
    // No plan that mends as much has fewer moves than this.
    uint64_t least_moves;
    // How many inversions there are of the kinds to mend.
    uint64_t inversions_before;
    // How many of them are left.
    uint64_t inversions_after;
};

// One move of one source. They are to be done in order.
struct carillon_plan_step {
    // Xen's number of the interrupt.
    uint32_t irq;
    // One of `carillon_change`.
    uint32_t change;
    // The vector it has before.
    uint32_t from_vector;
    // The vector it has afterwards; of a pin the same.
    uint32_t to_vector;
};

// What a plan is asked for.
struct carillon_goal {
    // One of `carillon_mend`: which inversions to mend.
    uint32_t mend;
    // `CARILLON_WHOSE_GUESTS` or `CARILLON_WHOSE_ANYONE`: whose vectors may change.
    uint32_t movers;
    // One of `carillon_whose`: whose interrupts may be kept to fewer CPUs.
    uint32_t pin;
    // Not 0: every source stays on its CPU, only its vector may change.
    uint32_t keep_cpus;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes an arbiter of a host's vectors.
//
// @param options       The host.
// @param options_size  The size of the structure.
// @param online        The CPUs that can take interrupts: CPU 0 is bit 0 of the first word.
// @param online_words  How many words.
// @param allocator     The arbiter.
carillon_status carillon_allocator_create(const struct carillon_allocator_options *options,
                                          size_t options_size,
                                          const uint64_t *online,
                                          size_t online_words,
                                          carillon_handle *allocator);

// Puts a CPU into use. Nothing moves to it by itself.
//
// @param allocator  The arbiter.
// @param cpu        The CPU.
carillon_status carillon_allocator_add_cpu(carillon_handle allocator, uint32_t cpu);

// Takes a CPU out of use. What was sent to it goes elsewhere; `carillon_allocator_evacuee` lists what became of it.
//
// @param allocator  The arbiter.
// @param cpu        The CPU.
// @param pending    The CPU's IRR: 4 words, vector 0 is bit 0 of the first.
// @param words      4.
// @param evacuees   How many entries the list has.
carillon_status carillon_allocator_remove_cpu(carillon_handle allocator,
                                              uint32_t cpu,
                                              const uint64_t *pending,
                                              size_t words,
                                              size_t *evacuees);

// Tells what became of one lease when a CPU was removed last.
//
// @param allocator     The arbiter.
// @param index         Which entry of the list.
// @param evacuee       The entry.
// @param evacuee_size  The size of the structure.
carillon_status carillon_allocator_evacuee(carillon_handle allocator,
                                           size_t index,
                                           struct carillon_evacuee *evacuee,
                                           size_t evacuee_size);

// Does what a cleanup interrupt does on a CPU: frees the vectors that finished moves and releases left there, but for those
// that are still pending.
//
// @param allocator  The arbiter.
// @param cpu        The CPU.
// @param pending    The CPU's IRR: 4 words, vector 0 is bit 0 of the first.
// @param words      4.
// @param freed      How many it freed.
carillon_status carillon_allocator_clean_up(carillon_handle allocator,
                                            uint32_t cpu,
                                            const uint64_t *pending,
                                            size_t words,
                                            size_t *freed);

// Gives a source a vector on one CPU (or cluster) of its affinity, chosen by the policy.
//
// @param allocator       The arbiter.
// @param owner           The domain whose interrupt it is, or `CARILLON_OWNER_XEN`.
// @param kind            One of `carillon_source_kind`.
// @param affinity        The CPUs it may go to: CPU 0 is bit 0 of the first word.
// @param affinity_words  How many words.
// @param lease           The right to the vector.
carillon_status carillon_lease_allocate(carillon_handle allocator,
                                        uint32_t owner,
                                        uint32_t kind,
                                        const uint64_t *affinity,
                                        size_t affinity_words,
                                        carillon_lease *lease);

// Takes over an assignment found on a host.
//
// @param allocator      The arbiter.
// @param owner          The domain whose interrupt it is, or `CARILLON_OWNER_XEN`.
// @param kind           One of `carillon_source_kind`.
// @param vector         The vector.
// @param holders        The CPUs on which the vector is taken: CPU 0 is bit 0 of the first word.
// @param holders_words  How many words.
// @param target         The CPU the interrupt is sent to.
// @param lease          The right to the vector.
carillon_status carillon_lease_adopt(carillon_handle allocator,
                                     uint32_t owner,
                                     uint32_t kind,
                                     uint32_t vector,
                                     const uint64_t *holders,
                                     size_t holders_words,
                                     uint32_t target,
                                     carillon_lease *lease);

// Tells where a lease's interrupt goes.
//
// @param allocator       The arbiter.
// @param lease           The lease.
// @param placement       Where.
// @param placement_size  The size of the structure.
// @param holders         Where the CPUs go on which the vector is taken; null with 0 words if they are not wanted.
// @param holders_words   How many words.
carillon_status carillon_lease_placement(carillon_handle allocator,
                                         carillon_lease lease,
                                         struct carillon_placement *placement,
                                         size_t placement_size,
                                         uint64_t *holders,
                                         size_t holders_words);

// Begins to move a lease to other CPUs. If its vector is already taken on one of them it stays, and the move is over.
// Otherwise program the source with the new vector, and call `carillon_lease_finish_move` when the first interrupt has
// arrived on it.
//
// @param allocator       The arbiter.
// @param lease           The lease.
// @param affinity        Where to: CPU 0 is bit 0 of the first word.
// @param affinity_words  How many words.
// @param placement       Where the interrupt goes now.
// @param placement_size  The size of the structure.
carillon_status carillon_lease_begin_move(carillon_handle allocator,
                                          carillon_lease lease,
                                          const uint64_t *affinity,
                                          size_t affinity_words,
                                          struct carillon_placement *placement,
                                          size_t placement_size);

// Says that the first interrupt has arrived on the new vector: the old one is freed wherever it is not pending. To be
// repeated until it has drained.
//
// @param allocator      The arbiter.
// @param lease          The lease.
// @param pending        The old CPUs whose IRR still shows the old vector: CPU 0 is bit 0 of the first word.
// @param pending_words  How many words.
// @param is_drained     1 if the old vector is free everywhere, else 0.
carillon_status carillon_lease_finish_move(carillon_handle allocator,
                                           carillon_lease lease,
                                           const uint64_t *pending,
                                           size_t pending_words,
                                           uint32_t *is_drained);

// Takes a lease back; its source has been silenced.
//
// @param allocator  The arbiter.
// @param lease      The lease.
carillon_status carillon_lease_release(carillon_handle allocator, carillon_lease lease);

// Tells why the last call of this thread failed that did; empty if none has. A callback may call it.
//
// @param buffer  Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
// @param size    The size of the buffer.
// @param needed  The size the text needs, with its zero.
carillon_status carillon_last_error(char *buffer,
                                    size_t size,
                                    size_t *needed);

// The version of the library: major in bits 31:16, minor in bits 15:8, patch in bits 7:0.
uint32_t carillon_version(void);

// Tells which path an interrupt takes to a domain, and why.
//
// @param features       The domain.
// @param features_size  The size of the structure.
// @param signal         One of `carillon_signal`: how the interrupt signals.
// @param route          The path.
// @param route_size     The size of the structure.
// @param buffer         Where the reason goes, with a zero at its end; null with size 0 to ask for its size only.
// @param size           The size of the buffer.
// @param needed         The size the reason needs, with its zero. If the buffer is too small for it, the path is written
//                       all the same.
carillon_status carillon_classify(const struct carillon_domain_features *features,
                                  size_t features_size,
                                  uint32_t signal,
                                  struct carillon_route *route,
                                  size_t route_size,
                                  char *buffer,
                                  size_t size,
                                  size_t *needed);

// Makes a host of event channels, without domains.
//
// @param callbacks        What the host asks of its hypervisor. The functions and what their context points to must stay
//                         until the host is destroyed.
// @param callbacks_size   The size of the structure.
// @param hardware_domain  The domain that handles the global virtual IRQs.
// @param host             The host.
//
// calls the library, return, and do not unwind.
carillon_status carillon_event_host_create(const struct carillon_event_callbacks *callbacks,
                                           size_t callbacks_size,
                                           uint32_t hardware_domain,
                                           carillon_handle *host);

// Makes a domain, without an open port.
//
// @param host          The host.
// @param options       The domain.
// @param options_size  The size of the structure.
// @param memory        Where the guest's frames lie, one after the other, page-aligned. The guest may write them at any time.
//                      They must stay until the domain, or its host, is destroyed.
// @param memory_size   Their size in bytes: a multiple of 4096.
// @param first_gfn     The number of the first frame. Frames outside are no memory to the host.
//
// writes it does so as another CPU would: in words, by atomic operations where the interface asks for them.
carillon_status carillon_event_domain_create(carillon_handle host,
                                             const struct carillon_event_domain_options *options,
                                             size_t options_size,
                                             void *memory,
                                             size_t memory_size,
                                             uint64_t first_gfn);

// Ends a domain: its ports are closed, and its memory is not touched after this has returned
// `CARILLON_STATUS_OK`. `CARILLON_STATUS_TRY_AGAIN` says that the hypervisor wanted the CPU: call it again.
//
// @param host    The host.
// @param domain  The domain.
carillon_status carillon_event_domain_destroy(carillon_handle host,
                                              uint32_t domain);

// Carries out an event-channel operation that a guest asked for (`HYPERVISOR_event_channel_op`).
//
// @param host           The host.
// @param domain         The domain whose vCPU asked.
// @param operation      The operation's number, as the guest gave it.
// @param argument       A copy of the guest's argument; the results are filled in. Never the guest's own memory, which it
//                       can change while it is read.
// @param argument_size  The size of the operation's structure.
// @param result         What the hypercall returns: 0, or one of Xen's errors, negated. It is written if the function
//                       returns `CARILLON_STATUS_OK`; what a guest does wrong is a result, what a caller does wrong a
//                       status. After -85 (`ERESTART`) of a reset call with operation 14, before anything else of the
//                       domain's.
carillon_status carillon_event_channel_op(carillon_handle host,
                                          uint32_t domain,
                                          uint32_t operation,
                                          void *argument,
                                          size_t argument_size,
                                          int64_t *result);

// Tells all of a stopped domain's event channels that is not in its own memory, as bytes to hand over.
//
// @param host    The host.
// @param domain  The domain.
// @param buffer  Where the bytes go; null with size 0 to ask for the size only.
// @param size    The size of the buffer.
// @param needed  How many bytes there are.
carillon_status carillon_event_save(carillon_handle host,
                                    uint32_t domain,
                                    uint8_t *buffer,
                                    size_t size,
                                    size_t *needed);

// Restores saved event channels into a domain that was just made, once its memory is in place and before it runs. If it
// fails, destroy the domain. Its ports that were connected to other domains are offered to those again.
//
// @param host    The host.
// @param domain  The domain.
// @param saved   What `carillon_event_save` gave.
// @param size    How many bytes.
carillon_status carillon_event_restore(carillon_handle host,
                                       uint32_t domain,
                                       const uint8_t *saved,
                                       size_t size);

// Raises a virtual IRQ of a vCPU; of the whole domain for those that are not per vCPU. Nothing happens if the guest has not
// bound it.
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
// @param virq    The virtual IRQ, 0 to 23.
carillon_status carillon_event_send_virq(carillon_handle host,
                                         uint32_t domain,
                                         uint32_t vcpu,
                                         uint32_t virq);

// Raises a global virtual IRQ at the domain that handles it.
//
// @param host  The host.
// @param virq  The virtual IRQ.
carillon_status carillon_event_send_global_virq(carillon_handle host, uint32_t virq);

// Says that a physical IRQ has happened. Nothing happens if the domain has not bound it.
//
// @param host    The host.
// @param domain  The domain.
// @param pirq    The physical IRQ.
carillon_status carillon_event_send_pirq(carillon_handle host, uint32_t domain, uint32_t pirq);

// Does the event channel's part of a guest's EOI of a physical IRQ (`PHYSDEVOP_eoi`).
//
// @param host    The host.
// @param domain  The domain.
// @param pirq    The physical IRQ.
carillon_status carillon_event_pirq_eoi(carillon_handle host, uint32_t domain, uint32_t pirq);

// Offers a port of a domain's whose events the hypervisor itself consumes.
//
// @param host      The host.
// @param domain    The domain.
// @param vcpu      The vCPU on whose behalf.
// @param remote    The domain that may connect to it.
// @param consumer  The consumer's number, 0 to 30: actions of kind notify-consumer carry it.
// @param port      The port.
carillon_status carillon_event_offer_consumed(carillon_handle host,
                                              uint32_t domain,
                                              uint32_t vcpu,
                                              uint32_t remote,
                                              uint32_t consumer,
                                              uint32_t *port);

// Sends an event from a port whose events the hypervisor consumes to the guest at its other end.
//
// @param host    The host.
// @param domain  The domain.
// @param port    The port.
carillon_status carillon_event_notify_from_consumer(carillon_handle host,
                                                    uint32_t domain,
                                                    uint32_t port);

// Closes a port whose events the hypervisor consumes.
//
// @param host    The host.
// @param domain  The domain.
// @param port    The port.
carillon_status carillon_event_close_consumed(carillon_handle host, uint32_t domain, uint32_t port);

// Begins to wait for ports on behalf of a vCPU (`SCHEDOP_poll`).
//
// @param host        The host.
// @param domain      The domain.
// @param vcpu        The vCPU.
// @param ports       The ports, as the guest gave them.
// @param count       How many: 128 at most.
// @param is_blocked  0 if it can go on; 1 if it is to be stopped until an action of kind wake-poller, an upcall or its
//                    timeout, and then `carillon_event_end_poll`.
carillon_status carillon_event_poll(carillon_handle host,
                                    uint32_t domain,
                                    uint32_t vcpu,
                                    const uint32_t *ports,
                                    size_t count,
                                    uint32_t *is_blocked);

// Says that a vCPU no longer waits: it was woken or called, or its time is up.
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
carillon_status carillon_event_end_poll(carillon_handle host, uint32_t domain, uint32_t vcpu);

// Moves a vCPU's block to a place the guest chose (`VCPUOP_register_vcpu_info`).
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
// @param gfn     The frame.
// @param offset  The place in the frame, in bytes: a multiple of 64.
carillon_status carillon_event_register_vcpu_info(carillon_handle host,
                                                  uint32_t domain,
                                                  uint32_t vcpu,
                                                  uint64_t gfn,
                                                  uint32_t offset);

// Sets how events call an HVM guest (`HVM_PARAM_CALLBACK_IRQ`).
//
// @param host       The host.
// @param domain     The domain.
// @param parameter  The parameter, as the guest gave it.
// @param word_bits  How wide the guest's words are at this moment: 32 or 64.
carillon_status carillon_event_set_callback(carillon_handle host,
                                            uint32_t domain,
                                            uint64_t parameter,
                                            uint32_t word_bits);

// Gives a vCPU's upcalls a vector of their own (`HVMOP_set_evtchn_upcall_vector`).
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
// @param vector  The vector, 16 to 255.
carillon_status carillon_event_set_upcall_vector(carillon_handle host,
                                                 uint32_t domain,
                                                 uint32_t vcpu,
                                                 uint32_t vector);

// Tells the vector to inject at a vCPU's entry by event injection, before any of its local APIC's; 0 for none.
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
// @param vector  The vector.
carillon_status carillon_event_callback_vector(carillon_handle host,
                                               uint32_t domain,
                                               uint32_t vcpu,
                                               uint32_t *vector);

// Brings the callback line to the level vCPU 0's events ask for; to be called at each entry of vCPU 0.
//
// @param host    The host.
// @param domain  The domain.
carillon_status carillon_event_update_callback_line(carillon_handle host,
                                                    uint32_t domain);

// Says that a vCPU's local APIC has become software-enabled.
//
// @param host    The host.
// @param domain  The domain.
// @param vcpu    The vCPU.
carillon_status carillon_event_local_apic_enabled(carillon_handle host,
                                                  uint32_t domain,
                                                  uint32_t vcpu);

// Ends an object, of whatever kind. Calls of other threads that are under way finish first where the object uses the
// caller's memory or functions, which it does not after this has returned.
//
// @param handle  The object.
carillon_status carillon_destroy(carillon_handle handle);

// Counts the inversions an inspection found: those that are there first, then those that are latent.
//
// @param inspection  The inspection.
// @param count       How many there are.
carillon_status carillon_inspection_inversions(carillon_handle inspection,
                                               size_t *count);

// Tells one inversion.
//
// @param inspection      The inspection.
// @param index           Which.
// @param inversion       The inversion.
// @param inversion_size  The size of the structure.
// @param cpus            Where the CPUs go where it holds, or could; null with 0 words if they are not wanted.
// @param words           How many words.
carillon_status carillon_inspection_inversion(carillon_handle inspection,
                                              size_t index,
                                              struct carillon_inversion *inversion,
                                              size_t inversion_size,
                                              uint64_t *cpus,
                                              size_t words);

// Tells everything an inspection found, as JSON.
//
// @param inspection  The inspection.
// @param buffer      Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
// @param size        The size of the buffer.
// @param needed      The size the text needs, with its zero.
carillon_status carillon_inspection_json(carillon_handle inspection,
                                         char *buffer,
                                         size_t size,
                                         size_t *needed);

// Tells a plan in numbers.
//
// @param plan          The plan.
// @param summary       The numbers.
// @param summary_size  The size of the structure.
carillon_status carillon_plan_summarize(carillon_handle plan,
                                        struct carillon_plan_summary *summary,
                                        size_t summary_size);

// Tells one move of a plan.
//
// @param plan       The plan.
// @param index      Which, in the order in which they are to be done.
// @param step       The move.
// @param step_size  The size of the structure.
// @param cpus       Where the CPUs go that it is sent to afterwards, or of a pin those it is kept to; null with 0 words if
//                   they are not wanted.
// @param words      How many words.
carillon_status carillon_plan_move(carillon_handle plan,
                                   size_t index,
                                   struct carillon_plan_step *step,
                                   size_t step_size,
                                   uint64_t *cpus,
                                   size_t words);

// Tells a whole plan as JSON: the moves with their reasons and steps, what remains, and what stops it.
//
// @param plan    The plan.
// @param buffer  Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
// @param size    The size of the buffer.
// @param needed  The size the text needs, with its zero.
carillon_status carillon_plan_json(carillon_handle plan,
                                   char *buffer,
                                   size_t size,
                                   size_t *needed);

// Makes an empty recording of a host.
//
// @param name       What errors and answers call the host.
// @param recording  The recording.
carillon_status carillon_recording_create(const char *name, carillon_handle *recording);

// Adds a file to a recording, or replaces it; the bytes are copied. It is read when the recording is inspected or planned
// for.
//
// @param recording  The recording.
// @param file       Its name: `dump-i.txt` (what `xl debug-keys i` prints) must be there; `dump-M.txt`, `dump-e.txt`,
//                   `dump-q.txt`, `dump-z.txt`, `xl-info.txt`, `xl-dmesg.txt`, `xl-list.txt`, `xl-vcpu-list.txt`,
//                   `interrupts.txt`, `pci.txt` and others say more. With `.gz` at its end it is inflated.
// @param contents   What is in it.
// @param size       How many bytes.
carillon_status carillon_recording_add(carillon_handle recording,
                                       const char *file,
                                       const uint8_t *contents,
                                       size_t size);

// Inspects a recorded host: whose interrupt is where, and where a guest outranks dom0 or can hold it back.
//
// @param recording   The recording.
// @param inspection  What was found.
carillon_status carillon_recording_inspect(carillon_handle recording,
                                           carillon_handle *inspection);

// Plans the fewest moves after which no guest outranks dom0 or can hold it back.
//
// @param recording  The recording.
// @param goal       What to mend, and by which means; null with size 0 for everything by every means but pinning dom0.
// @param goal_size  The size of the structure.
// @param plan       The plan.
carillon_status carillon_recording_plan(carillon_handle recording,
                                        const struct carillon_goal *goal,
                                        size_t goal_size,
                                        carillon_handle *plan);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CARILLON_H */
