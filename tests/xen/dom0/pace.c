/*
 * Reads a block of a disk at fixed times, so that the disk interrupts as often in one second as in the next.
 * Usage: pace DISK PERIOD_US     until it is killed
 *
 * The emulator answers a request when its host lets it. A reader that waits for each answer before it asks again would be as
 * fast as the host is idle; one that asks by the guest's clock is not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 65536

int main(int count, char **arguments)
{
    struct timespec next;
    void *block;
    long period;
    int disk;

    if (count != 3 || posix_memalign(&block, BLOCK, BLOCK))
        return 2;
    period = atol(arguments[2]) * 1000;
    disk = open(arguments[1], O_RDONLY | O_DIRECT);
    if (disk < 0 || period <= 0 || period >= 1000000000L || clock_gettime(CLOCK_MONOTONIC, &next))
        return 2;
    for (off_t number = 0;; number = (number + 1) % BLOCKS) {
        if (pread(disk, block, BLOCK, number * BLOCK) != BLOCK) {
            perror(arguments[1]);
            return 1;
        }
        next.tv_nsec += period;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
