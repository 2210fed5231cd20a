/*
 * Keeps a device busy at fixed times, so that it interrupts as often in one second as in the next.
 * Usage: pace disk DEVICE PERIOD_US [COUNT]     reads a block every so often
 *        pace card ADDRESS PERIOD_US [COUNT]    sends a packet every so often, and waits for it to come back as it was (ICMP)
 * so many times, or until SIGTERM. Then it tells how often it asked and was answered, and fails unless it always was.
 *
 * The emulator answers a request when its host lets it. Who waits for each answer before asking again would be as fast as
 * the host is idle; who asks by the clock is not, and makes up for what it could not ask in time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 65536
#define PAYLOAD 1400
#define PATIENCE_S 5

/* A device: `ask` answers 1 if it answered. */
struct device {
    int file;
    void *block;
    int (*ask)(struct device *, unsigned number);
};

/* Whether SIGTERM has come. It is kept blocked, so that no answer is missed for it. */
static int is_over(void)
{
    sigset_t pending;

    return !sigpending(&pending) && sigismember(&pending, SIGTERM);
}

static int read_block(struct device *disk, unsigned number)
{
    return pread(disk->file, disk->block, BLOCK, (off_t)(number % BLOCKS) * BLOCK) == BLOCK;
}

static unsigned short checksum(const unsigned short *words, size_t count)
{
    unsigned long sum = 0;

    while (count--)
        sum += *words++;
    sum = (sum >> 16) + (sum & 0xffff);
    return ~(sum + (sum >> 16));
}

static int echo(struct device *card, unsigned number)
{
    struct { struct icmphdr head; char payload[PAYLOAD]; } packet = { .head = { .type = ICMP_ECHO } };
    struct { struct iphdr ip; struct icmphdr head; char payload[PAYLOAD]; } answer;

    memset(packet.payload, number * 31 + 7, PAYLOAD);
    packet.head.un.echo.id = htons(getpid());
    packet.head.un.echo.sequence = htons(number);
    packet.head.checksum = checksum((const unsigned short *)&packet, sizeof(packet) / 2);
    if (send(card->file, &packet, sizeof(packet), 0) != sizeof(packet))
        return 0;
    /* Answers to others come by here, too. */
    while (recv(card->file, &answer, sizeof(answer), 0) == sizeof(answer))
        if (answer.head.type == ICMP_ECHOREPLY && !memcmp(&answer.head.un, &packet.head.un, sizeof(packet.head.un)))
            return !memcmp(answer.payload, packet.payload, PAYLOAD);
    return 0;
}

static int open_disk(struct device *device, const char *path)
{
    device->ask = read_block;
    device->file = open(path, O_RDONLY | O_DIRECT);
    return device->file >= 0 && !posix_memalign(&device->block, BLOCK, BLOCK);
}

static int open_card(struct device *device, const char *address)
{
    struct sockaddr_in peer = { .sin_family = AF_INET };
    struct timeval patience = { .tv_sec = PATIENCE_S };

    device->ask = echo;
    device->file = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    return device->file >= 0 && inet_pton(AF_INET, address, &peer.sin_addr) == 1 &&
           !setsockopt(device->file, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) &&
           !connect(device->file, (struct sockaddr *)&peer, sizeof(peer));
}

int main(int count, char **arguments)
{
    sigset_t end;
    struct device device = { 0 };
    struct timespec next;
    unsigned wanted, asked = 0, answered = 0;
    long period;

    if (count < 4 || count > 5 || (period = atol(arguments[3]) * 1000) <= 0 || period >= 1000000000L)
        return 2;
    if (!(strcmp(arguments[1], "disk") ? open_card(&device, arguments[2]) : open_disk(&device, arguments[2]))) {
        perror(arguments[2]);
        return 2;
    }
    wanted = count == 5 ? strtoul(arguments[4], NULL, 10) : ~0U;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (asked != wanted && !is_over()) {
        answered += device.ask(&device, asked++);
        next.tv_nsec += period;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    printf("asked %u answered %u\n", asked, answered);
    return answered != asked;
}
