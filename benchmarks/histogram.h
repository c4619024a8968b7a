/* Latencies in buckets whose width grows with the value: 128 to each power of two, so a percentile
 * is at most 0.8 % above the truth, in 40 KiB, however long the run. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_FINE = 7, HISTOGRAM_BUCKETS = 40 << HISTOGRAM_FINE };

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total;
};

static inline void histogram_add(struct histogram *h, uint64_t nanoseconds) {
    unsigned shift = 0;
    if (nanoseconds >= (1u << (HISTOGRAM_FINE + 1)))
        shift = 63 - HISTOGRAM_FINE - (unsigned)__builtin_clzll(nanoseconds);
    uint64_t bucket = ((uint64_t)shift << HISTOGRAM_FINE) + (nanoseconds >> shift);
    if (bucket >= HISTOGRAM_BUCKETS) bucket = HISTOGRAM_BUCKETS - 1;
    h->count[bucket]++;
    h->total++;
}

/* The value, in microseconds, that `share` (0 to 1) of all samples do not exceed. */
static inline double histogram_at(const struct histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->total), seen = 0;
    if (wanted >= h->total && wanted > 0) wanted = h->total - 1;
    for (uint64_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += h->count[bucket];
        if (seen <= wanted) continue;
        uint64_t shift = bucket >> HISTOGRAM_FINE;
        if (shift > 0) shift--;
        uint64_t base = bucket - (shift << HISTOGRAM_FINE);
        return (double)(((base + 1) << shift) - 1) / 1000.0;
    }
    return 0;
}

#endif
