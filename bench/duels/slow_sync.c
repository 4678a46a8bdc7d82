/* Loaded before libc (LD_PRELOAD): every fsync and fdatasync waits first, on its own thread: for SLOW_SYNC_US microseconds, or for as many
   as the file SLOW_SYNC_FILE says. That may be written while we wait: less ends the wait, so a disk can be held and let go. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long wanted(const char *path)
{
    long us = 0;
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%ld", &us) != 1)
            us = 0;
        fclose(file);
    }
    return us;
}

static void sleep_us(long us)
{
    struct timespec left = {us / 1000000, (us % 1000000) * 1000};
    if (us > 0)
        while (nanosleep(&left, &left))
            ;
}

static long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void wait_first(void)
{
    const char *text = getenv("SLOW_SYNC_US"), *path = getenv("SLOW_SYNC_FILE");
    long since = now_us();
    if (!path)
        sleep_us(text ? atol(text) : 0);
    else
        while (now_us() - since < wanted(path))
            sleep_us(1000);
}

int fsync(int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_first();
    return real(descriptor);
}

int fdatasync(int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_first();
    return real(descriptor);
}
