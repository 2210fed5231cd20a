/*
 * Every entry point with nulls, wrong sizes, numbers out of range, and wrong, stale and foreign handles: each is an error
 * of its own, nothing is read or written that was not offered, and the objects work afterwards as before.
 */
#include <carillon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned checks, failures;

#define IS(expected, call)                                                                                             \
    do {                                                                                                               \
        carillon_status status_ = (call);                                                                              \
        checks++;                                                                                                      \
        if (status_ != CARILLON_STATUS_##expected) {                                                                   \
            failures++;                                                                                                \
            printf("%s:%d: %s: %d, not " #expected "\n", __FILE__, __LINE__, #call, (int)status_);                     \
        }                                                                                                              \
    } while (0)

#define PAGE 4096
#define NEVER 0xdeadbeef00000001ull

/* Calls an entry point that takes a handle first with what is none, what is stale, and what is of another kind. */
#define WRONG_HANDLES(function, ...)                                                                                   \
    do {                                                                                                               \
        IS(BAD_HANDLE, function(0, __VA_ARGS__));                                                                      \
        IS(BAD_HANDLE, function(NEVER, __VA_ARGS__));                                                                  \
        IS(BAD_HANDLE, function(UINT64_MAX, __VA_ARGS__));                                                             \
        IS(BAD_HANDLE, function(stale, __VA_ARGS__));                                                                  \
        IS(BAD_HANDLE, function(foreign, __VA_ARGS__));                                                                \
    } while (0)

static carillon_handle stale, foreign;

static void borders(void)
{
    struct carillon_domain_features features = { .kind = CARILLON_DOMAIN_KIND_HVM };
    struct carillon_route route;
    char *text = malloc(1);
    size_t needed;

    IS(NULL_POINTER, carillon_last_error(text, 1, NULL));
    IS(NULL_POINTER, carillon_last_error(NULL, 1, &needed));
    IS(OK, carillon_last_error(NULL, 0, &needed));
    IS(WRONG_SIZE, carillon_last_error(text, 1, &needed));

    IS(NULL_POINTER, carillon_classify(NULL, sizeof(features), 0, &route, sizeof(route), NULL, 0, &needed));
    IS(NULL_POINTER, carillon_classify(&features, sizeof(features), 0, NULL, sizeof(route), NULL, 0, &needed));
    IS(NULL_POINTER, carillon_classify(&features, sizeof(features), 0, &route, sizeof(route), NULL, 0, NULL));
    IS(NULL_POINTER, carillon_classify(&features, sizeof(features), 0, &route, sizeof(route), NULL, 1, &needed));
    IS(WRONG_SIZE, carillon_classify(&features, 0, 0, &route, sizeof(route), NULL, 0, &needed));
    IS(WRONG_SIZE, carillon_classify(&features, sizeof(features) + 1, 0, &route, sizeof(route), NULL, 0, &needed));
    IS(WRONG_SIZE, carillon_classify(&features, sizeof(features), 0, &route, 1, NULL, 0, &needed));
    IS(WRONG_SIZE, carillon_classify(&features, sizeof(features), 1, &route, sizeof(route), text, 1, &needed));
    IS(BAD_VALUE, carillon_classify(&features, sizeof(features), 6, &route, sizeof(route), NULL, 0, &needed));
    features.kind = 3;
    IS(BAD_VALUE, carillon_classify(&features, sizeof(features), 1, &route, sizeof(route), NULL, 0, &needed));
    free(text);
    if (carillon_version() == 0)
        failures++;

    IS(BAD_HANDLE, carillon_destroy(0));
    IS(BAD_HANDLE, carillon_destroy(NEVER));
    IS(BAD_HANDLE, carillon_destroy(stale));
}

static void allocators(void)
{
    struct carillon_allocator_options options = { .cpus = 4 }, wrong = options;
    struct carillon_placement placement;
    struct carillon_evacuee evacuee;
    carillon_handle arbiter, other, gone;
    carillon_lease lease, theirs;
    uint64_t all = 0xf, pending[4] = { 0, 0, 0, 0 }, *one = malloc(sizeof(*one));
    uint32_t is_drained;
    size_t count;

    *one = 1;
    IS(NULL_POINTER, carillon_allocator_create(NULL, sizeof(options), &all, 1, &arbiter));
    IS(NULL_POINTER, carillon_allocator_create(&options, sizeof(options), NULL, 1, &arbiter));
    IS(NULL_POINTER, carillon_allocator_create(&options, sizeof(options), &all, 1, NULL));
    IS(WRONG_SIZE, carillon_allocator_create(&options, sizeof(options) - 1, &all, 1, &arbiter));
    IS(WRONG_SIZE, carillon_allocator_create(&options, sizeof(options), &all, SIZE_MAX, &arbiter));
    wrong.cpus = 0;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));
    wrong.cpus = UINT32_MAX;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));
    wrong = options;
    wrong.layout = 9;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));
    wrong = options;
    wrong.destination = 9;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));
    wrong = options;
    wrong.policy = 9;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));
    wrong = options;
    wrong.io_apic_ack = 9;
    IS(BAD_VALUE, carillon_allocator_create(&wrong, sizeof(wrong), &all, 1, &arbiter));

    /* Whatever takes the place of a destroyed object of the same kind is not found by its handle. */
    IS(OK, carillon_allocator_create(&options, sizeof(options), &all, 1, &gone));
    IS(OK, carillon_destroy(gone));
    IS(OK, carillon_allocator_create(&options, sizeof(options), &all, 1, &arbiter));
    IS(OK, carillon_allocator_create(&options, sizeof(options), &all, 1, &other));
    IS(BAD_HANDLE, carillon_lease_allocate(gone, 1, 0, &all, 1, &lease));
    IS(BAD_HANDLE, carillon_destroy(gone));
    IS(OK, carillon_lease_allocate(arbiter, 1, 0, &all, 1, &lease));
    IS(OK, carillon_lease_allocate(other, 1, 0, &all, 1, &theirs));

    WRONG_HANDLES(carillon_allocator_add_cpu, 1);
    IS(WRONG_STATE, carillon_allocator_add_cpu(arbiter, 1));
    IS(BAD_VALUE, carillon_allocator_add_cpu(arbiter, UINT32_MAX));

    WRONG_HANDLES(carillon_allocator_remove_cpu, 1, pending, 4, &count);
    IS(NULL_POINTER, carillon_allocator_remove_cpu(arbiter, 1, NULL, 4, &count));
    IS(NULL_POINTER, carillon_allocator_remove_cpu(arbiter, 1, pending, 4, NULL));
    IS(WRONG_SIZE, carillon_allocator_remove_cpu(arbiter, 1, pending, 3, &count));
    IS(BAD_VALUE, carillon_allocator_remove_cpu(arbiter, UINT32_MAX, pending, 4, &count));

    WRONG_HANDLES(carillon_allocator_evacuee, 0, &evacuee, sizeof(evacuee));
    IS(NULL_POINTER, carillon_allocator_evacuee(arbiter, 0, NULL, sizeof(evacuee)));
    IS(WRONG_SIZE, carillon_allocator_evacuee(arbiter, 0, &evacuee, 1));
    IS(NOT_FOUND, carillon_allocator_evacuee(arbiter, SIZE_MAX, &evacuee, sizeof(evacuee)));

    WRONG_HANDLES(carillon_allocator_clean_up, 1, pending, 4, &count);
    IS(NULL_POINTER, carillon_allocator_clean_up(arbiter, 1, NULL, 4, &count));
    IS(NULL_POINTER, carillon_allocator_clean_up(arbiter, 1, pending, 4, NULL));
    IS(WRONG_SIZE, carillon_allocator_clean_up(arbiter, 1, pending, SIZE_MAX, &count));

    WRONG_HANDLES(carillon_lease_allocate, 1, 0, &all, 1, &theirs);
    IS(NULL_POINTER, carillon_lease_allocate(arbiter, 1, 0, NULL, 1, &theirs));
    IS(NULL_POINTER, carillon_lease_allocate(arbiter, 1, 0, &all, 1, NULL));
    IS(WRONG_SIZE, carillon_lease_allocate(arbiter, 1, 0, &all, 65, &theirs));
    IS(BAD_VALUE, carillon_lease_allocate(arbiter, 0x7ff0, 0, &all, 1, &theirs));
    IS(BAD_VALUE, carillon_lease_allocate(arbiter, 1, 5, &all, 1, &theirs));
    IS(BAD_VALUE, carillon_lease_allocate(arbiter, 1, CARILLON_SOURCE_KIND_POSTED, &all, 1, &theirs));
    IS(WRONG_STATE, carillon_lease_allocate(arbiter, 1, 0, NULL, 0, &theirs));

    WRONG_HANDLES(carillon_lease_adopt, 1, 0, 0x50, one, 1, 0, &theirs);
    IS(NULL_POINTER, carillon_lease_adopt(arbiter, 1, 0, 0x50, NULL, 1, 0, &theirs));
    IS(NULL_POINTER, carillon_lease_adopt(arbiter, 1, 0, 0x50, one, 1, 0, NULL));
    IS(BAD_VALUE, carillon_lease_adopt(arbiter, 1, 0, 0x0f, one, 1, 0, &theirs));
    IS(BAD_VALUE, carillon_lease_adopt(arbiter, 1, 0, 0x150, one, 1, 0, &theirs));
    IS(BAD_VALUE, carillon_lease_adopt(arbiter, 1, 0, 0xfe, one, 1, 0, &theirs));
    IS(BAD_VALUE, carillon_lease_adopt(arbiter, 1, 0, 0x50, one, 1, 7, &theirs));
    IS(BAD_VALUE, carillon_lease_adopt(arbiter, 1, 0, 0x50, NULL, 0, 0, &theirs));

    WRONG_HANDLES(carillon_lease_placement, lease, &placement, sizeof(placement), NULL, 0);
    IS(BAD_HANDLE, carillon_lease_placement(other, lease, &placement, sizeof(placement), NULL, 0));
    IS(BAD_HANDLE, carillon_lease_placement(arbiter, 0, &placement, sizeof(placement), NULL, 0));
    IS(NULL_POINTER, carillon_lease_placement(arbiter, lease, NULL, sizeof(placement), NULL, 0));
    IS(NULL_POINTER, carillon_lease_placement(arbiter, lease, &placement, sizeof(placement), NULL, 1));
    IS(WRONG_SIZE, carillon_lease_placement(arbiter, lease, &placement, 3, one, 1));
    IS(OK, carillon_lease_placement(arbiter, lease, &placement, sizeof(placement), one, 1));

    WRONG_HANDLES(carillon_lease_begin_move, lease, &all, 1, &placement, sizeof(placement));
    IS(BAD_HANDLE, carillon_lease_begin_move(other, lease, &all, 1, &placement, sizeof(placement)));
    IS(NULL_POINTER, carillon_lease_begin_move(arbiter, lease, NULL, 1, &placement, sizeof(placement)));
    IS(NULL_POINTER, carillon_lease_begin_move(arbiter, lease, &all, 1, NULL, sizeof(placement)));
    IS(WRONG_SIZE, carillon_lease_begin_move(arbiter, lease, &all, 1, &placement, 0));
    IS(WRONG_STATE, carillon_lease_begin_move(arbiter, lease, NULL, 0, &placement, sizeof(placement)));

    WRONG_HANDLES(carillon_lease_finish_move, lease, NULL, 0, &is_drained);
    IS(NULL_POINTER, carillon_lease_finish_move(arbiter, lease, NULL, 1, &is_drained));
    IS(NULL_POINTER, carillon_lease_finish_move(arbiter, lease, NULL, 0, NULL));
    IS(WRONG_STATE, carillon_lease_finish_move(arbiter, lease, NULL, 0, &is_drained));

    WRONG_HANDLES(carillon_lease_release, lease);
    IS(BAD_HANDLE, carillon_lease_release(other, lease));
    IS(OK, carillon_lease_release(arbiter, lease));
    IS(BAD_HANDLE, carillon_lease_release(arbiter, lease));
    IS(OK, carillon_allocator_remove_cpu(arbiter, 1, pending, 4, &count));
    IS(OK, carillon_destroy(arbiter));
    IS(OK, carillon_destroy(other));
    free(one);
}

/* A recording with one IRQ of dom0's. */
static const char DUMP[] =
    "(XEN) IRQ information:\n"
    "(XEN)    IRQ:   0 vec:f0 IO-APIC-edge    status=000 aff:{0}/{0} arch/x86/time.c#timer_interrupt()\n";

static void recordings(void)
{
    carillon_handle recording, inspection, plan;
    struct carillon_inversion inversion;
    struct carillon_plan_summary summary;
    struct carillon_plan_step step;
    struct carillon_goal goal = { .movers = CARILLON_WHOSE_ANYONE };
    const unsigned char *bytes = (const unsigned char *)DUMP;
    size_t needed;
    uint64_t word;
    char *text;

    IS(NULL_POINTER, carillon_recording_create(NULL, &recording));
    IS(NULL_POINTER, carillon_recording_create("host", NULL));
    IS(BAD_INPUT, carillon_recording_create("\xff", &recording));
    IS(OK, carillon_recording_create("host", &recording));

    WRONG_HANDLES(carillon_recording_add, "dump-i.txt", bytes, 1);
    IS(NULL_POINTER, carillon_recording_add(recording, NULL, bytes, 1));
    IS(NULL_POINTER, carillon_recording_add(recording, "dump-i.txt", NULL, 1));
    IS(WRONG_SIZE, carillon_recording_add(recording, "dump-i.txt", bytes, SIZE_MAX));

    IS(BAD_INPUT, carillon_recording_inspect(recording, &inspection));
    IS(BAD_INPUT, carillon_recording_plan(recording, NULL, 0, &plan));
    IS(OK, carillon_recording_add(recording, "dump-i.txt.gz", bytes, sizeof(DUMP) - 1));
    IS(BAD_INPUT, carillon_recording_inspect(recording, &inspection));
    IS(OK, carillon_recording_add(recording, "dump-i.txt", bytes, sizeof(DUMP) - 1));

    WRONG_HANDLES(carillon_recording_inspect, &inspection);
    IS(NULL_POINTER, carillon_recording_inspect(recording, NULL));
    IS(OK, carillon_recording_inspect(recording, &inspection));

    WRONG_HANDLES(carillon_recording_plan, NULL, 0, &plan);
    IS(NULL_POINTER, carillon_recording_plan(recording, NULL, 0, NULL));
    IS(NULL_POINTER, carillon_recording_plan(recording, NULL, sizeof(goal), &plan));
    IS(WRONG_SIZE, carillon_recording_plan(recording, &goal, 1, &plan));
    goal.mend = 3;
    IS(BAD_VALUE, carillon_recording_plan(recording, &goal, sizeof(goal), &plan));
    goal.mend = 0;
    goal.movers = CARILLON_WHOSE_NOBODY;
    IS(BAD_VALUE, carillon_recording_plan(recording, &goal, sizeof(goal), &plan));
    goal.movers = CARILLON_WHOSE_GUESTS;
    goal.pin = 3;
    IS(BAD_VALUE, carillon_recording_plan(recording, &goal, sizeof(goal), &plan));
    goal.pin = CARILLON_WHOSE_NOBODY;
    IS(OK, carillon_recording_plan(recording, &goal, sizeof(goal), &plan));

    WRONG_HANDLES(carillon_inspection_inversions, &needed);
    IS(NULL_POINTER, carillon_inspection_inversions(inspection, NULL));
    IS(BAD_HANDLE, carillon_inspection_inversions(plan, &needed));
    WRONG_HANDLES(carillon_inspection_inversion, 0, &inversion, sizeof(inversion), NULL, 0);
    IS(NULL_POINTER, carillon_inspection_inversion(inspection, 0, NULL, sizeof(inversion), NULL, 0));
    IS(NULL_POINTER, carillon_inspection_inversion(inspection, 0, &inversion, sizeof(inversion), NULL, 1));
    IS(WRONG_SIZE, carillon_inspection_inversion(inspection, 0, &inversion, 0, &word, 1));
    IS(NOT_FOUND, carillon_inspection_inversion(inspection, SIZE_MAX, &inversion, sizeof(inversion), &word, 1));
    WRONG_HANDLES(carillon_inspection_json, NULL, 0, &needed);
    IS(NULL_POINTER, carillon_inspection_json(inspection, NULL, 0, NULL));
    IS(NULL_POINTER, carillon_inspection_json(inspection, NULL, 1, &needed));
    IS(OK, carillon_inspection_json(inspection, NULL, 0, &needed));
    text = malloc(needed - 1);
    IS(WRONG_SIZE, carillon_inspection_json(inspection, text, needed - 1, &needed));
    free(text);
    text = malloc(needed);
    IS(OK, carillon_inspection_json(inspection, text, needed, &needed));
    if (strlen(text) != needed - 1)
        failures++;
    free(text);

    WRONG_HANDLES(carillon_plan_summarize, &summary, sizeof(summary));
    IS(NULL_POINTER, carillon_plan_summarize(plan, NULL, sizeof(summary)));
    IS(WRONG_SIZE, carillon_plan_summarize(plan, &summary, 1));
    WRONG_HANDLES(carillon_plan_move, 0, &step, sizeof(step), NULL, 0);
    IS(NULL_POINTER, carillon_plan_move(plan, 0, NULL, sizeof(step), NULL, 0));
    IS(WRONG_SIZE, carillon_plan_move(plan, 0, &step, 1, NULL, 0));
    IS(NOT_FOUND, carillon_plan_move(plan, 0, &step, sizeof(step), NULL, 0));
    WRONG_HANDLES(carillon_plan_json, NULL, 0, &needed);
    IS(NULL_POINTER, carillon_plan_json(plan, NULL, 0, NULL));
    IS(NULL_POINTER, carillon_plan_json(plan, NULL, 1, &needed));

    IS(OK, carillon_destroy(recording));
    IS(OK, carillon_inspection_inversions(inspection, &needed));
    IS(OK, carillon_destroy(inspection));
    IS(OK, carillon_destroy(plan));
    IS(BAD_HANDLE, carillon_destroy(plan));
}

static carillon_handle hosts_own;
static unsigned in_callback;

/* A callback that calls back. */
static void act(void *context, const struct carillon_event_action *action)
{
    size_t needed;

    (void)context;
    (void)action;
    in_callback++;
    IS(IN_CALLBACK, carillon_event_send_virq(hosts_own, 1, 0, 0));
    IS(IN_CALLBACK, carillon_destroy(hosts_own));
    IS(OK, carillon_last_error(NULL, 0, &needed));
}

static void event_channels(void)
{
    struct carillon_event_callbacks callbacks = { .act = act }, without = { .act = NULL };
    struct carillon_event_domain_options options = {
        .id = 1, .kind = CARILLON_DOMAIN_KIND_HVM, .word_bits = 64, .vcpus = 1, .max_port = 100, .pirqs = 4,
        .shared_info_gfn = 7,
    };
    struct carillon_event_domain_options wrong = options;
    unsigned char *memory = aligned_alloc(PAGE, 2 * PAGE), *argument = malloc(4), *saved;
    uint32_t number, ports[2] = { 1, 2 };
    carillon_handle host;
    size_t size;
    int64_t result;
    uint32_t op;

    memset(memory, 0, 2 * PAGE);
    memset(argument, 0, 4);
    IS(NULL_POINTER, carillon_event_host_create(NULL, sizeof(callbacks), 0, &host));
    IS(NULL_POINTER, carillon_event_host_create(&callbacks, sizeof(callbacks), 0, NULL));
    IS(NULL_POINTER, carillon_event_host_create(&without, sizeof(without), 0, &host));
    IS(WRONG_SIZE, carillon_event_host_create(&callbacks, 8, 0, &host));
    IS(BAD_VALUE, carillon_event_host_create(&callbacks, sizeof(callbacks), 0x10000, &host));
    IS(OK, carillon_event_host_create(&callbacks, sizeof(callbacks), 0, &host));
    hosts_own = host;

    WRONG_HANDLES(carillon_event_domain_create, &options, sizeof(options), memory, 2 * PAGE, 7);
    IS(NULL_POINTER, carillon_event_domain_create(host, NULL, sizeof(options), memory, 2 * PAGE, 7));
    IS(NULL_POINTER, carillon_event_domain_create(host, &options, sizeof(options), NULL, 2 * PAGE, 7));
    IS(WRONG_SIZE, carillon_event_domain_create(host, &options, 4, memory, 2 * PAGE, 7));
    IS(WRONG_SIZE, carillon_event_domain_create(host, &options, sizeof(options), memory, 0, 7));
    IS(WRONG_SIZE, carillon_event_domain_create(host, &options, sizeof(options), memory, PAGE + 1, 7));
    IS(WRONG_SIZE, carillon_event_domain_create(host, &options, sizeof(options), memory, SIZE_MAX & ~4095ull, 7));
    IS(BAD_VALUE, carillon_event_domain_create(host, &options, sizeof(options), memory + 8, PAGE, 7));
    IS(BAD_VALUE, carillon_event_domain_create(host, &options, sizeof(options), memory, 2 * PAGE, 8));
    wrong.id = 0x7ff0;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    wrong = options;
    wrong.kind = 3;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    wrong = options;
    wrong.privilege = 3;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    wrong = options;
    wrong.word_bits = 16;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    wrong = options;
    wrong.vcpus = 0;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    wrong = options;
    wrong.pirqs = UINT32_MAX;
    IS(BAD_VALUE, carillon_event_domain_create(host, &wrong, sizeof(wrong), memory, 2 * PAGE, 7));
    IS(OK, carillon_event_domain_create(host, &options, sizeof(options), memory, 2 * PAGE, 7));
    IS(WRONG_STATE, carillon_event_domain_create(host, &options, sizeof(options), memory, 2 * PAGE, 7));

    WRONG_HANDLES(carillon_event_channel_op, 1, 3, argument, 4, &result);
    IS(NULL_POINTER, carillon_event_channel_op(host, 1, 3, NULL, 4, &result));
    IS(NULL_POINTER, carillon_event_channel_op(host, 1, 3, argument, 4, NULL));
    IS(NOT_FOUND, carillon_event_channel_op(host, 2, 3, argument, 4, &result));
    IS(BAD_VALUE, carillon_event_channel_op(host, UINT32_MAX, 3, argument, 4, &result));
    for (op = 0; op <= 14; op++) {
        IS(WRONG_SIZE, carillon_event_channel_op(host, 1, op, argument, 0, &result));
        IS(WRONG_SIZE, carillon_event_channel_op(host, 1, op, argument, 3, &result));
        IS(WRONG_SIZE, carillon_event_channel_op(host, 1, op, argument, SIZE_MAX, &result));
    }
    IS(OK, carillon_event_channel_op(host, 1, 15, argument, 0, &result));
    if (result != -38)
        failures++;
    IS(OK, carillon_event_channel_op(host, 1, 3, argument, 4, &result));
    if (result != -22)
        failures++;

    WRONG_HANDLES(carillon_event_send_virq, 1, 0, 0);
    IS(NOT_FOUND, carillon_event_send_virq(host, 2, 0, 0));
    IS(NOT_FOUND, carillon_event_send_virq(host, 1, 1, 0));
    IS(BAD_VALUE, carillon_event_send_virq(host, 1, 0, 24));
    WRONG_HANDLES(carillon_event_send_global_virq, 3);
    IS(BAD_VALUE, carillon_event_send_global_virq(host, 0));
    IS(BAD_VALUE, carillon_event_send_global_virq(host, UINT32_MAX));
    WRONG_HANDLES(carillon_event_send_pirq, 1, 0);
    IS(NOT_FOUND, carillon_event_send_pirq(host, 2, 0));
    IS(OK, carillon_event_send_pirq(host, 1, UINT32_MAX));
    WRONG_HANDLES(carillon_event_pirq_eoi, 1, 0);
    IS(BAD_VALUE, carillon_event_pirq_eoi(host, 1, UINT32_MAX));
    WRONG_HANDLES(carillon_event_offer_consumed, 1, 0, 0, 0, &number);
    IS(NULL_POINTER, carillon_event_offer_consumed(host, 1, 0, 0, 0, NULL));
    IS(BAD_VALUE, carillon_event_offer_consumed(host, 1, 0, 0, 31, &number));
    IS(NOT_FOUND, carillon_event_offer_consumed(host, 1, UINT32_MAX, 0, 0, &number));
    IS(OK, carillon_event_offer_consumed(host, 1, 0, 0, 0, &number));
    WRONG_HANDLES(carillon_event_notify_from_consumer, 1, number);
    IS(NOT_FOUND, carillon_event_notify_from_consumer(host, 2, number));
    IS(OK, carillon_event_notify_from_consumer(host, 1, UINT32_MAX));
    WRONG_HANDLES(carillon_event_close_consumed, 1, number);
    IS(BAD_VALUE, carillon_event_close_consumed(host, 1, UINT32_MAX));
    IS(OK, carillon_event_close_consumed(host, 1, number));

    WRONG_HANDLES(carillon_event_poll, 1, 0, ports, 2, &number);
    IS(NULL_POINTER, carillon_event_poll(host, 1, 0, NULL, 2, &number));
    IS(NULL_POINTER, carillon_event_poll(host, 1, 0, ports, 2, NULL));
    IS(BAD_VALUE, carillon_event_poll(host, 1, 0, ports, SIZE_MAX, &number));
    IS(BAD_VALUE, carillon_event_poll(host, 1, 0, ports, 2, &number));
    IS(NOT_FOUND, carillon_event_poll(host, 1, 9, ports, 2, &number));
    WRONG_HANDLES(carillon_event_end_poll, 1, 0);
    IS(NOT_FOUND, carillon_event_end_poll(host, 1, 9));

    WRONG_HANDLES(carillon_event_register_vcpu_info, 1, 0, 8, 0);
    IS(NOT_FOUND, carillon_event_register_vcpu_info(host, 1, 9, 8, 0));
    IS(BAD_VALUE, carillon_event_register_vcpu_info(host, 1, 0, 8, UINT32_MAX));
    IS(BAD_VALUE, carillon_event_register_vcpu_info(host, 1, 0, 9, 0));
    IS(BAD_VALUE, carillon_event_register_vcpu_info(host, 1, 0, UINT64_MAX, 0));
    WRONG_HANDLES(carillon_event_set_callback, 1, 0, 64);
    IS(BAD_VALUE, carillon_event_set_callback(host, 1, UINT64_MAX, 64));
    IS(BAD_VALUE, carillon_event_set_callback(host, 1, 0, 0));
    WRONG_HANDLES(carillon_event_set_upcall_vector, 1, 0, 0xf3);
    IS(BAD_VALUE, carillon_event_set_upcall_vector(host, 1, 0, 15));
    IS(BAD_VALUE, carillon_event_set_upcall_vector(host, 1, 0, 256));
    IS(NOT_FOUND, carillon_event_set_upcall_vector(host, 1, 9, 0xf3));
    IS(OK, carillon_event_set_upcall_vector(host, 1, 0, 0xf3));
    if (in_callback == 0)
        failures++;
    WRONG_HANDLES(carillon_event_callback_vector, 1, 0, &number);
    IS(NULL_POINTER, carillon_event_callback_vector(host, 1, 0, NULL));
    IS(OK, carillon_event_callback_vector(host, 1, UINT32_MAX, &number));
    WRONG_HANDLES(carillon_event_update_callback_line, 1);
    IS(NOT_FOUND, carillon_event_update_callback_line(host, 2));
    WRONG_HANDLES(carillon_event_local_apic_enabled, 1, 0);
    IS(NOT_FOUND, carillon_event_local_apic_enabled(host, 1, 9));

    WRONG_HANDLES(carillon_event_save, 1, NULL, 0, &size);
    IS(NOT_FOUND, carillon_event_save(host, 2, NULL, 0, &size));
    IS(NULL_POINTER, carillon_event_save(host, 1, NULL, 0, NULL));
    IS(NULL_POINTER, carillon_event_save(host, 1, NULL, 1, &size));
    IS(OK, carillon_event_save(host, 1, NULL, 0, &size));
    saved = malloc(size);
    IS(WRONG_SIZE, carillon_event_save(host, 1, saved, size - 1, &size));
    IS(OK, carillon_event_save(host, 1, saved, size, &size));
    WRONG_HANDLES(carillon_event_restore, 1, saved, size);
    IS(NOT_FOUND, carillon_event_restore(host, 2, saved, size));
    IS(NULL_POINTER, carillon_event_restore(host, 1, NULL, size));
    IS(BAD_INPUT, carillon_event_restore(host, 1, NULL, 0));
    IS(BAD_INPUT, carillon_event_restore(host, 1, saved, size - 1));
    saved[0]++;
    IS(BAD_INPUT, carillon_event_restore(host, 1, saved, size));
    free(saved);

    WRONG_HANDLES(carillon_event_domain_destroy, 1);
    IS(NOT_FOUND, carillon_event_domain_destroy(host, 2));
    IS(BAD_VALUE, carillon_event_domain_destroy(host, UINT32_MAX));
    IS(OK, carillon_event_domain_destroy(host, 1));
    IS(NOT_FOUND, carillon_event_domain_destroy(host, 1));
    IS(OK, carillon_event_domain_create(host, &options, sizeof(options), memory, 2 * PAGE, 7));
    IS(OK, carillon_destroy(host));
    free(memory);
    free(argument);
    IS(BAD_HANDLE, carillon_event_send_virq(host, 1, 0, 0));
}

int main(void)
{
    const struct carillon_allocator_options options = { .cpus = 1 };
    uint64_t all = 1;

    /* One handle that was destroyed, and one of a kind that the functions in turn refuse. */
    IS(OK, carillon_allocator_create(&options, sizeof(options), &all, 1, &stale));
    IS(OK, carillon_destroy(stale));
    borders();
    IS(OK, carillon_recording_create("of another kind", &foreign));
    allocators();
    event_channels();
    IS(OK, carillon_destroy(foreign));
    IS(OK, carillon_allocator_create(&options, sizeof(options), &all, 1, &foreign));
    recordings();
    IS(OK, carillon_destroy(foreign));
    printf("%u checks, %u failures\n", checks, failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
