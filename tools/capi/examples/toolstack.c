/*
 * A toolstack in small: it inspects and plans for a recorded host, leases vectors, asks for a path, and runs the host's
 * side of event channels for two domains whose memory is its own.
 *
 *   cc -o toolstack toolstack.c $(pkg-config --cflags --libs carillon)
 *   ./toolstack DIR [FILE]     a directory with a host's dumps; what was inspected goes into the file, as JSON
 *
 * With -DWITH_XENCTRL and -lxenctrl it also says which domains there are, where it runs in dom0, and "--live" in place of the
 * directory is the host it runs on: Xen's debug keys are pressed and its console is read, which takes nothing from it.
 */
#include <carillon.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_XENCTRL
#include <xenctrl.h>
#endif

/* Ends the program with what the library says of its last failure. */
static void must(carillon_status status, const char *what)
{
    char text[512];
    size_t needed;

    if (status == CARILLON_STATUS_OK)
        return;
    if (carillon_last_error(text, sizeof(text), &needed) != CARILLON_STATUS_OK)
        snprintf(text, sizeof(text), "no text");
    fprintf(stderr, "%s: status %d: %s\n", what, (int)status, text);
    exit(EXIT_FAILURE);
}

/* Ends the program with what the system says of its last failure. */
static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Bytes that come piece by piece. */
struct bytes { unsigned char *at; size_t size, room; };

/* Has room for another piece of so many bytes at the end. */
static unsigned char *make_room(struct bytes *bytes, size_t piece)
{
    if (bytes->room - bytes->size < piece) {
        bytes->room = 2 * bytes->room + piece;
        bytes->at = realloc(bytes->at, bytes->room);
        if (!bytes->at)
            fail("realloc");
    }
    return bytes->at + bytes->size;
}

enum { PIECE = 65536 };

/* Adds a file to a recording, by the name it has there. */
static void add_file(carillon_handle recording, const char *path, const char *name)
{
    struct bytes bytes = { NULL, 0, 0 };
    FILE *file = fopen(path, "rb");
    size_t got;

    if (!file)
        fail(path);
    do {
        got = fread(make_room(&bytes, PIECE), 1, PIECE, file);
        bytes.size += got;
    } while (got > 0);
    fclose(file);
    must(carillon_recording_add(recording, name, bytes.at, bytes.size), name);
    free(bytes.at);
}

static void add_directory(carillon_handle recording, const char *directory)
{
    DIR *files = opendir(directory);
    struct dirent *entry;
    char path[4096];

    if (!files)
        fail(directory);
    while ((entry = readdir(files)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        add_file(recording, path, entry->d_name);
    }
    closedir(files);
}

#ifdef WITH_XENCTRL
/* What Xen's console has had since a place in it, which is moved on. */
static struct bytes console_since(xc_interface *xc, uint32_t *place)
{
    struct bytes bytes = { NULL, 0, 0 };
    unsigned int got;

    do {
        unsigned char *piece = make_room(&bytes, PIECE);

        got = PIECE;
        if (xc_readconsolering(xc, (char *)piece, &got, 0, 1, place) < 0)
            fail("xc_readconsolering");
        bytes.size += got;
    } while (got == PIECE);
    return bytes;
}

/* The dumps of the host this runs on, and what its dom0 counts. */
static void add_live_host(carillon_handle recording)
{
    static const char *const keys[][2] = {
        { "i", "dump-i.txt" }, { "M", "dump-M.txt" }, { "z", "dump-z.txt" }, { "e", "dump-e.txt" }, { "q", "dump-q.txt" },
    };
    xc_interface *xc = xc_interface_open(NULL, NULL, 0);
    uint32_t place = 0;
    size_t i;

    if (!xc)
        fail("xc_interface_open");
    free(console_since(xc, &place).at);
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const uint32_t before = place;
        struct bytes dump;

        /* Xen prints before the request returns. */
        if (xc_send_debug_keys(xc, keys[i][0]) < 0)
            fail("xc_send_debug_keys");
        dump = console_since(xc, &place);
        if (place - before != dump.size) {
            fprintf(stderr, "%s is longer than Xen's console ring (conring_size)\n", keys[i][1]);
            exit(EXIT_FAILURE);
        }
        must(carillon_recording_add(recording, keys[i][1], dump.at, dump.size), keys[i][1]);
        free(dump.at);
    }
    xc_interface_close(xc);
    add_file(recording, "/proc/interrupts", "interrupts.txt");
}
#endif

/* Whatever the program was asked to look at. */
static void add_host(carillon_handle recording, const char *host)
{
#ifdef WITH_XENCTRL
    if (strcmp(host, "--live") == 0) {
        add_live_host(recording);
        return;
    }
#endif
    add_directory(recording, host);
}

/* The whole of a text whose size is not known before; to be freed. */
static char *text_of(carillon_status (*tell)(carillon_handle, char *, size_t, size_t *), carillon_handle handle)
{
    size_t needed;
    char *text;

    must(tell(handle, NULL, 0, &needed), "size of a text");
    text = malloc(needed);
    if (!text)
        fail("malloc");
    must(tell(handle, text, needed, &needed), "a text");
    return text;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    if (!file || fputs(text, file) == EOF || fclose(file) == EOF)
        fail(path);
}

static void inspect_and_plan(const char *host, const char *json_path)
{
    carillon_handle recording, inspection, plan;
    struct carillon_plan_summary summary;
    size_t count, i;
    char *json;

    must(carillon_recording_create(host, &recording), "recording");
    add_host(recording, host);

    must(carillon_recording_inspect(recording, &inspection), "inspect");
    must(carillon_inspection_inversions(inspection, &count), "count");
    printf("%zu inversions\n", count);
    for (i = 0; i < count && i < 3; i++) {
        struct carillon_inversion one;
        uint64_t cpus[64];

        must(carillon_inspection_inversion(inspection, i, &one, sizeof(one), cpus, 64), "inversion");
        printf("  harm %u: IRQ %u of d%u on %02x, IRQ %u of dom0 on %02x, CPUs %#llx\n", one.harm, one.guest_irq,
               one.guest_domain, one.guest_vector, one.dom0_irq, one.dom0_vector, (unsigned long long)cpus[0]);
    }
    json = text_of(carillon_inspection_json, inspection);
    printf("%zu bytes of JSON\n", strlen(json));
    if (json_path)
        write_file(json_path, json);
    free(json);

    must(carillon_recording_plan(recording, NULL, 0, &plan), "plan");
    must(carillon_plan_summarize(plan, &summary, sizeof(summary)), "summary");
    printf("plan: %llu moves, inversions %llu -> %llu\n", (unsigned long long)summary.moves,
           (unsigned long long)summary.inversions_before, (unsigned long long)summary.inversions_after);
    for (i = 0; i < summary.moves; i++) {
        struct carillon_plan_step step;
        uint64_t cpus[64];

        must(carillon_plan_move(plan, i, &step, sizeof(step), cpus, 64), "move");
        printf("  IRQ %u: %s, vector %02x -> %02x, CPUs %#llx\n", step.irq,
               step.change == CARILLON_CHANGE_PIN ? "pin" : "revector", step.from_vector, step.to_vector,
               (unsigned long long)cpus[0]);
    }
    json = text_of(carillon_plan_json, plan);
    free(json);
    must(carillon_destroy(plan), "destroy");
    must(carillon_destroy(inspection), "destroy");
    must(carillon_destroy(recording), "destroy");
}

static void lease_vectors(void)
{
    const struct carillon_allocator_options options = {
        .cpus = 4,
        .layout = CARILLON_LAYOUT_XEN,
        .destination = CARILLON_DESTINATION_PHYSICAL,
        .policy = CARILLON_POLICY_BELOW_DOM0,
        .io_apic_ack = CARILLON_IO_APIC_ACK_NEW,
    };
    const uint64_t online = 0x7, all = 0xf, only_3 = 0x8;
    struct carillon_placement nic_at, sas_at;
    carillon_handle arbiter;
    carillon_lease nic, sas;
    uint32_t is_drained;

    must(carillon_allocator_create(&options, sizeof(options), &online, 1, &arbiter), "allocator");
    must(carillon_allocator_add_cpu(arbiter, 3), "CPU 3");
    must(carillon_lease_allocate(arbiter, 1, CARILLON_SOURCE_KIND_EDGE_MASKABLE, &all, 1, &nic), "NIC");
    must(carillon_lease_allocate(arbiter, 0, CARILLON_SOURCE_KIND_EDGE_MASKABLE, &all, 1, &sas), "SAS");
    must(carillon_lease_begin_move(arbiter, nic, &only_3, 1, &nic_at, sizeof(nic_at)), "move");
    if (nic_at.is_moving)
        must(carillon_lease_finish_move(arbiter, nic, NULL, 0, &is_drained), "drain");
    must(carillon_lease_begin_move(arbiter, sas, &only_3, 1, &sas_at, sizeof(sas_at)), "move");
    printf("on CPU %u the guest's NIC has %02x, dom0's SAS %02x\n", nic_at.target, nic_at.vector, sas_at.vector);
    must(carillon_lease_release(arbiter, nic), "release");
    must(carillon_destroy(arbiter), "destroy");
}

static void ask_for_a_path(void)
{
    const struct carillon_domain_features features = {
        .kind = CARILLON_DOMAIN_KIND_HVM,
        .pirqs = 0,
        .apic_virtualized = 1,
        .posting = 0,
    };
    struct carillon_route route;
    char reason[256];
    size_t needed;

    must(carillon_classify(&features, sizeof(features), CARILLON_SIGNAL_DEVICE_MSI, &route, sizeof(route), reason,
                           sizeof(reason), &needed),
         "classify");
    printf("path %u: %s\n", route.path, reason);
}

/* The hypervisor around event channels: it counts kicks. */
static void act(void *context, const struct carillon_event_action *action)
{
    unsigned *kicks = context;

    if (action->kind == CARILLON_EVENT_ACTION_KIND_KICK)
        kicks[action->domain]++;
}

/* As public/event_channel.h has them. */
struct alloc_unbound { uint16_t dom, remote_dom; uint32_t port; };
struct bind_interdomain { uint16_t remote_dom; uint32_t remote_port, local_port; };
struct send { uint32_t port; };
enum { BIND_INTERDOMAIN = 0, SEND = 4, ALLOC_UNBOUND = 6 };

#define PAGE 4096

static void op(carillon_handle host, uint32_t domain, uint32_t number, void *argument, size_t size)
{
    int64_t result;

    must(carillon_event_channel_op(host, domain, number, argument, size, &result), "hypercall");
    if (result != 0) {
        fprintf(stderr, "operation %u of d%u: %lld\n", number, domain, (long long)result);
        exit(EXIT_FAILURE);
    }
}

static void run_event_channels(void)
{
    unsigned kicks[2] = { 0, 0 };
    const struct carillon_event_callbacks callbacks = { .context = kicks, .act = act };
    struct alloc_unbound offer = { .dom = 0x7ff0 /* DOMID_SELF */, .remote_dom = 0 };
    struct bind_interdomain bind = { .remote_dom = 1 };
    struct send send;
    unsigned char *saved;
    void *memory[2];
    carillon_handle host;
    size_t size;
    uint32_t id;

    must(carillon_event_host_create(&callbacks, sizeof(callbacks), 0, &host), "host");
    for (id = 0; id < 2; id++) {
        const struct carillon_event_domain_options options = {
            .id = id,
            .kind = CARILLON_DOMAIN_KIND_PV,
            .privilege = id == 0 ? CARILLON_PRIVILEGE_CONTROL : CARILLON_PRIVILEGE_NONE,
            .word_bits = 64,
            .vcpus = 1,
            .max_port = 1023,
            .shared_info_gfn = 0x100,
        };

        memory[id] = aligned_alloc(PAGE, 4 * PAGE);
        if (!memory[id])
            fail("aligned_alloc");
        memset(memory[id], 0, 4 * PAGE);
        must(carillon_event_domain_create(host, &options, sizeof(options), memory[id], 4 * PAGE, 0x100), "domain");
    }
    op(host, 1, ALLOC_UNBOUND, &offer, sizeof(offer));
    bind.remote_port = offer.port;
    op(host, 0, BIND_INTERDOMAIN, &bind, sizeof(bind));
    send.port = bind.local_port;
    op(host, 0, SEND, &send, sizeof(send));
    printf("d1 was kicked %u times; evtchn_upcall_pending is %u\n", kicks[1], *(unsigned char *)memory[1]);

    must(carillon_event_save(host, 1, NULL, 0, &size), "size of what is saved");
    saved = malloc(size);
    if (!saved)
        fail("malloc");
    must(carillon_event_save(host, 1, saved, size, &size), "save");
    printf("d1 is %zu bytes to hand over\n", size);
    free(saved);
    must(carillon_event_domain_destroy(host, 1), "end of d1");
    free(memory[1]);
    must(carillon_destroy(host), "destroy");
    free(memory[0]);
}

#ifdef WITH_XENCTRL
static void list_domains(void)
{
    xc_interface *xc = xc_interface_open(NULL, NULL, 0);
    xc_dominfo_t domains[64];
    int count, i;

    if (!xc) {
        printf("no Xen here: xc_interface_open fails\n");
        return;
    }
    count = xc_domain_getinfo(xc, 0, 64, domains);
    for (i = 0; i < count; i++)
        printf("d%u: %u vCPUs\n", domains[i].domid, domains[i].max_vcpu_id + 1);
    xc_interface_close(xc);
}
#endif

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s DIR [FILE]\n", argv[0]);
        return EXIT_FAILURE;
    }
    printf("libcarillon %u.%u\n", carillon_version() >> 16, carillon_version() >> 8 & 0xff);
    inspect_and_plan(argv[1], argv[2]);
    lease_vectors();
    ask_for_a_path();
    run_event_channels();
#ifdef WITH_XENCTRL
    list_domains();
#endif
    return EXIT_SUCCESS;
}
