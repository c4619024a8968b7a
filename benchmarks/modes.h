/* What the load generator does with its clients once they are open: rpc, fanout, idle. */
#ifndef BENCH_MODES_H
#define BENCH_MODES_H

#include "histogram.h"
#include "swarm.h"

#include <stddef.h>
#include <stdint.h>

/* A text that sits at the same place in nearly every message: looked for there first. */
struct needle {
    const char *text;
    size_t size, last;
};

struct job {
    const char *mode, *message, *label;
    struct needle id_key, expect;
    const char *before_id, *after_id;
    size_t before_size, after_size;
    uint32_t depth;                     /* requests in flight per connection, or broadcasts in flight */
    double seconds, warm, settle, hold;
    int pid;

    uint64_t *sent_at, *sent_id;        /* one for each slot in flight */
    uint32_t *seen;                     /* fanout: the last round of each slot that each subscriber got */
    uint32_t *missing;                  /* fanout: subscribers that the slot's broadcast has yet to reach */
    uint32_t subscribers;
    int publishing, measuring;
    uint64_t answers, rounds, in_flight;
    struct histogram latency;
};

/* Each opens the clients, loads the server, prints the JSON line and returns the exit status. */
int run_loop(struct swarm *swarm, int fanout);
int run_idle(struct swarm *swarm);

#endif
