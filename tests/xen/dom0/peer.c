/*
 * What dom0 does for a guest of the test bed: serves the guest's mailbox, the page at frame 0x100, over Debian's libraries.
 * Usage: peer DOMAIN [FAR]     until the guest is gone, or wants to be saved: then with exit status 3, and says how and by which port
 *
 * The guest fills in a request and makes `requests` one higher; the peer fills in the answer and makes `answers` as high.
 * Neither waits by an event channel for that, since event channels are what is tested. What is meant for the far guest is
 * passed on to that one's page.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/event_channel.h>
#include <xencall.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

#define MAILBOX_FRAME 0x100
#define EVENT_CHANNEL_OP 32
/* The guest is asked this often whether it has a request, in us, and is taken for gone after so many times in vain. */
#define INTERVAL_US 1000
#define PATIENCE 40000
/* How long an event may take, in ms. */
#define EVENT_MS 5000

/* As in the test guest's mailbox.rs. */
enum kind { EVENT_CHANNEL_CALL = 1, PING = 2, GOODBYE = 3, RESTORE = 4, CHECKPOINT = 5, FOR_FAR = 6 };

struct mailbox {
    uint32_t requests;
    uint32_t answers;
    uint32_t kind;
    uint32_t operation;
    int64_t result;
    uint8_t argument[32];
    uint32_t sequence;
    uint32_t echo;
};

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static void store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

/* Issues a call of dom0's own, with the guest's argument. */
static int64_t event_channel_call(xencall_handle *calls, struct mailbox *box)
{
    void *argument = xencall_alloc_buffer(calls, sizeof(box->argument));
    int64_t result;

    if (!argument)
        return -ENOMEM;
    memcpy(argument, box->argument, sizeof(box->argument));
    result = xencall2(calls, EVENT_CHANNEL_OP, box->operation, (uintptr_t)argument);
    if (result < 0)
        result = -errno;
    memcpy(box->argument, argument, sizeof(box->argument));
    xencall_free_buffer(calls, argument);
    return result;
}

/* Waits for an event, and lets the next one come. */
static int64_t wait_for_event(xenevtchn_handle *events)
{
    struct pollfd ready = { .fd = xenevtchn_fd(events), .events = POLLIN };
    int port;

    if (poll(&ready, 1, EVENT_MS) != 1)
        return -ETIMEDOUT;
    port = xenevtchn_pending(events);
    return port < 0 || xenevtchn_unmask(events, port) < 0 ? -errno : 0;
}

/*
 * Connects to the port the guest offers and sends so many events; each must be echoed through the page, and the echo
 * announced. Answers how many were.
 */
static int64_t ping(struct mailbox *box, int domain)
{
    struct { uint32_t port, count; } offer;
    xenevtchn_handle *events = xenevtchn_open(NULL, 0);
    int64_t result = 0;
    int port;

    memcpy(&offer, box->argument, sizeof(offer));
    if (!events || (port = xenevtchn_bind_interdomain(events, domain, offer.port)) < 0)
        return -errno;
    for (uint32_t number = 1; number <= offer.count && result >= 0; number++) {
        store(&box->sequence, number);
        if (xenevtchn_notify(events, port) < 0)
            result = -errno;
        while (result >= 0 && load(&box->echo) != number)
            result = wait_for_event(events);
    }
    xenevtchn_close(events);
    return result < 0 ? result : (int64_t)offer.count;
}

/* Hands a request on to the far guest, and its answer back. */
static int64_t pass_on(struct mailbox *box, struct mailbox *far)
{
    uint32_t request;

    if (!far)
        return -ENODEV;
    request = load(&far->requests) + 1;
    memcpy(far->argument, box->argument, sizeof(far->argument));
    store(&far->operation, load(&box->operation));
    store(&far->kind, load(&box->kind));
    store(&far->requests, request);
    for (int idle = 0; idle < PATIENCE; idle++) {
        if (load(&far->answers) == request) {
            memcpy(box->argument, far->argument, sizeof(box->argument));
            return far->result;
        }
        usleep(INTERVAL_US);
    }
    return -ETIMEDOUT;
}

static struct mailbox *map(xenforeignmemory_handle *memory, const char *domain)
{
    xen_pfn_t frame = MAILBOX_FRAME;
    int error;

    return xenforeignmemory_map(memory, atoi(domain), PROT_READ | PROT_WRITE, 1, &frame, &error);
}

int main(int count, char **arguments)
{
    xenforeignmemory_handle *memory = xenforeignmemory_open(NULL, 0);
    xencall_handle *calls = xencall_open(NULL, 0);
    struct mailbox *box, *far = NULL;
    int domain;

    if (count < 2 || count > 3 || !memory || !calls)
        return 2;
    domain = atoi(arguments[1]);
    box = map(memory, arguments[1]);
    if (!box || (count == 3 && !(far = map(memory, arguments[2]))))
        return 2;
    for (int idle = 0; idle < PATIENCE; idle++) {
        uint32_t request = load(&box->requests);

        if (request != load(&box->answers)) {
            uint32_t kind = load(&box->kind);

            idle = 0;
            box->result = kind == EVENT_CHANNEL_CALL ? event_channel_call(calls, box)
                        : kind == PING               ? ping(box, domain)
                        : kind >= FOR_FAR            ? pass_on(box, far)
                                                     : 0;
            store(&box->answers, request);
            if (kind == GOODBYE)
                return 0;
            if (kind == RESTORE || kind == CHECKPOINT) {
                printf("%s %u\n", kind == RESTORE ? "restore" : "checkpoint", load(&box->operation));
                return 3;
            }
        }
        usleep(INTERVAL_US);
    }
    return 1;
}
