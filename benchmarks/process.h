/* What the kernel says of a process: the CPU that it used, the memory that it keeps. Linux only. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include "swarm.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Seconds: on the clock, of the generator's CPU, of the server's (0 where the pid is not known). */
struct usage {
    double wall, load_cpu, server_cpu;
};

static inline struct usage usage_now(int pid) {
    struct usage usage = {(double)clock_now() / 1e9, 0, 0};
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    usage.load_cpu = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                     (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (!file) return usage;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    unsigned long user, kernel;
    char *after_name = strrchr(text, ')');
    if (after_name && sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) == 2)
        usage.server_cpu = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
    return usage;
}

/* VmRSS, or -1. */
static inline long resident_kib(int pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (!file) return -1;
    while (kib < 0 && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &kib);
    fclose(file);
    return kib;
}

#endif
