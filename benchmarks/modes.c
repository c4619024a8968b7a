/* See modes.h. A wrong answer is a fault; whoever reads the JSON line counts no run that has one. */
#define _GNU_SOURCE
#include "modes.h"

#include "process.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_DIGITS = 12 };
static const uint64_t FIRST_ID = 100000000000u; /* twelve digits without a leading zero: a JSON number too */

static const char *needle_find(struct needle *needle, const char *text, size_t size) {
    if (!needle->size) return text;
    if (needle->last + needle->size <= size && !memcmp(text + needle->last, needle->text, needle->size))
        return text + needle->last;
    const char *found = memmem(text, size, needle->text, needle->size);
    if (found) needle->last = (size_t)(found - text);
    return found;
}

/* The id that follows the key in `payload`, 0 if there is none. */
static uint64_t read_id(struct job *job, const char *payload, size_t size) {
    const char *at = needle_find(&job->id_key, payload, size);
    if (!at) return 0;
    at += job->id_key.size;
    if ((size_t)(payload + size - at) < ID_DIGITS) return 0;
    uint64_t id = 0;
    for (int i = 0; i < ID_DIGITS; i++) {
        if (at[i] < '0' || at[i] > '9') return 0;
        id = id * 10 + (uint64_t)(at[i] - '0');
    }
    return id;
}

static void write_message(struct swarm *swarm, struct client *client, uint64_t id) {
    struct job *job = swarm->mode;
    char digits[ID_DIGITS];
    for (int i = ID_DIGITS - 1; i >= 0; i--, id /= 10) digits[i] = (char)('0' + id % 10);
    client_write(swarm, client, WIRE_TEXT, (const char *const[3]){job->before_id, digits, job->after_id},
                 (const size_t[3]){job->before_size, ID_DIGITS, job->after_size});
}

/* rpc: slot s of connection c is number c * depth + s, and ids in it are congruent to that number,
 * so a reply names its slot and a reply that was not asked for, or comes twice, fits none. */
static void rpc_request(struct swarm *swarm, struct client *client, uint64_t slot, uint64_t id) {
    struct job *job = swarm->mode;
    job->sent_id[slot] = id;
    job->sent_at[slot] = swarm->now;
    job->in_flight++;
    write_message(swarm, client, id);
}

static void rpc_reply(struct swarm *swarm, struct client *client, char *payload, size_t size) {
    struct job *job = swarm->mode;
    uint64_t slots = (uint64_t)swarm->options.count * job->depth;
    uint64_t id = read_id(job, payload, size);
    if (id < FIRST_ID) return;          /* an event, a greeting: not an answer */
    uint64_t slot = (id - FIRST_ID) % slots;
    if (slot / job->depth != client->index || job->sent_id[slot] != id) {
        swarm_fault(swarm, "connection %u got an answer to %llu, which it is not waiting for", client->index,
                    (unsigned long long)id);
        return;
    }
    if (!needle_find(&job->expect, payload, size))
        swarm_fault(swarm, "expected %s in the answer, got %.*s", job->expect.text, size < 120 ? (int)size : 120, payload);
    job->answers++;
    job->in_flight--;
    job->sent_id[slot] = 0;
    if (job->measuring) histogram_add(&job->latency, swarm->now - job->sent_at[slot]);
    if (job->publishing) rpc_request(swarm, client, slot, id + slots);
}

/* fanout: broadcast number b uses slot b % depth; the same slot's next one is sent when every
 * subscriber has this one, so `seen` needs one number for each subscriber and slot. */
static void fanout_publish(struct swarm *swarm, uint64_t number) {
    struct job *job = swarm->mode;
    uint64_t slot = number % job->depth;
    job->sent_id[slot] = FIRST_ID + number;
    job->sent_at[slot] = swarm->now;
    job->missing[slot] = job->subscribers;
    job->in_flight++;
    write_message(swarm, &swarm->clients[job->subscribers], FIRST_ID + number);
}

static void fanout_event(struct swarm *swarm, struct client *client, char *payload, size_t size) {
    struct job *job = swarm->mode;
    if (client->index == job->subscribers) return; /* the publisher's own copy and its reply */
    uint64_t id = read_id(job, payload, size);
    uint64_t number = id - FIRST_ID, slot = number % job->depth;
    if (id < FIRST_ID || job->sent_id[slot] != id) {
        swarm_fault(swarm, "subscriber %u got what nobody is waiting for: %.*s", client->index, size < 120 ? (int)size : 120, payload);
        return;
    }
    uint32_t *seen = &job->seen[(uint64_t)client->index * job->depth + slot];
    uint32_t round = (uint32_t)(number / job->depth) + 1;
    if (*seen == round) {
        swarm_fault(swarm, "subscriber %u got broadcast %llu twice", client->index, (unsigned long long)number);
        return;
    }
    *seen = round;
    if (!needle_find(&job->expect, payload, size))
        swarm_fault(swarm, "expected %s in the event, got %.*s", job->expect.text, size < 120 ? (int)size : 120, payload);
    job->answers++;
    if (job->measuring) histogram_add(&job->latency, swarm->now - job->sent_at[slot]);
    if (--job->missing[slot]) return;
    job->rounds++;
    job->in_flight--;
    if (!job->publishing) return;
    fanout_publish(swarm, number + job->depth);
    client_flush(swarm, &swarm->clients[job->subscribers]);
}

/* Polls for `seconds`; gives up, with a fault, when nothing has been answered for the timeout. */
static int run_for(struct swarm *swarm, double seconds) {
    struct job *job = swarm->mode;
    uint64_t end = clock_now() + (uint64_t)(seconds * 1e9), now, answers = job->answers, progress = clock_now();
    while ((now = clock_now()) < end) {
        swarm_poll(swarm, 20);
        if (job->answers != answers) {
            answers = job->answers;
            progress = now;
        } else if ((double)(now - progress) / 1e9 > swarm->options.timeout) {
            swarm_fault(swarm, "nothing was answered for %.0f s", swarm->options.timeout);
            return -1;
        }
        if (swarm->lost) return -1;     /* the fault says which and why */
    }
    return 0;
}

static void print_end(const struct swarm *swarm, const struct job *job) {
    printf(",\"label\":\"%s\",\"lost\":%u,\"faults\":%llu,\"fault\":\"%s\"}\n", job->label, swarm->lost,
           (unsigned long long)swarm->faults, swarm->first_fault);
}

static uint64_t make_slots(struct swarm *swarm, int fanout) {
    struct job *job = swarm->mode;
    uint64_t slots = fanout ? job->depth : (uint64_t)swarm->options.count * job->depth;
    job->sent_at = calloc(slots, sizeof *job->sent_at);
    job->sent_id = calloc(slots, sizeof *job->sent_id);
    job->missing = calloc(slots, sizeof *job->missing);
    job->subscribers = swarm->options.count - 1;
    job->seen = calloc(fanout ? (uint64_t)swarm->options.count * job->depth : 1, sizeof *job->seen);
    if (!job->sent_at || !job->sent_id || !job->missing || !job->seen) {
        perror("load: out of memory");
        exit(2);
    }
    return slots;
}

/* After the load: what is still in flight has five seconds to arrive. */
static void drain(struct swarm *swarm, const char *what) {
    struct job *job = swarm->mode;
    uint64_t end = clock_now() + 5000000000u;
    while (job->in_flight && clock_now() < end) swarm_poll(swarm, 20);
    if (job->in_flight) swarm_fault(swarm, "%llu %s", (unsigned long long)job->in_flight, what);
}

int run_loop(struct swarm *swarm, int fanout) {
    struct job *job = swarm->mode;
    uint64_t slots = make_slots(swarm, fanout);
    int whole = swarm_open(swarm) == 0;
    double took = 0;
    uint64_t answers = 0, rounds = 0;
    struct usage before = {0}, after = {0};
    if (whole) {
        swarm_poll_for(swarm, job->settle);
        swarm->on_message = fanout ? fanout_event : rpc_reply;
        job->publishing = 1;
        swarm->now = clock_now();
        for (uint64_t slot = 0; slot < slots; slot++) {
            if (fanout) {
                fanout_publish(swarm, slot);
            } else {
                rpc_request(swarm, &swarm->clients[slot / job->depth], slot, FIRST_ID + slot);
            }
        }
        for (uint32_t i = 0; i < swarm->options.count; i++) client_flush(swarm, &swarm->clients[i]);
        whole = run_for(swarm, job->warm) == 0;
        job->measuring = 1;
        before = usage_now(job->pid);
        answers = job->answers;
        rounds = job->rounds;
        whole = whole && run_for(swarm, job->seconds) == 0;
        after = usage_now(job->pid);
        answers = job->answers - answers;
        rounds = job->rounds - rounds;
        took = after.wall - before.wall;
        job->measuring = job->publishing = 0;
        if (whole) drain(swarm, fanout ? "broadcasts did not reach everybody" : "requests were never answered");
        swarm_close(swarm, 2);
    }
    double share = took > 0 ? 1 / took : 0;
    printf("{\"mode\":\"%s\",\"connections\":%u,\"in_flight\":%u,\"seconds\":%.3f,\"count\":%llu,\"rate\":%.1f",
           job->mode, fanout ? job->subscribers : swarm->options.count, job->depth, took, (unsigned long long)answers,
           (double)answers * share);
    if (answers) printf(",\"server_us\":%.3f", (after.server_cpu - before.server_cpu) * 1e6 / (double)answers);
    if (fanout) printf(",\"broadcasts\":%llu", (unsigned long long)rounds);
    printf(",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"load_cpu\":%.3f,\"server_cpu\":%.3f",
           histogram_at(&job->latency, 0.50), histogram_at(&job->latency, 0.90), histogram_at(&job->latency, 0.99),
           histogram_at(&job->latency, 0.999), (after.load_cpu - before.load_cpu) * share,
           (after.server_cpu - before.server_cpu) * share);
    print_end(swarm, job);
    return swarm->faults ? 1 : 0;
}

int run_idle(struct swarm *swarm) {
    struct job *job = swarm->mode;
    long before = resident_kib(job->pid);
    swarm_open(swarm);
    double took = (double)(swarm->finished - swarm->started) / 1e9;
    if (job->message) {                 /* an idle connection that has been used once */
        make_slots(swarm, 0);
        swarm->on_message = rpc_reply;
        for (uint32_t i = 0; i < swarm->options.count; i++) {
            swarm->now = clock_now();
            if (swarm->clients[i].state != CLIENT_OPEN) continue;
            rpc_request(swarm, &swarm->clients[i], i, FIRST_ID + i);
            client_flush(swarm, &swarm->clients[i]);
            if (i % 64 == 0) swarm_poll(swarm, 0);
        }
        drain(swarm, "requests were never answered");
    }
    swarm_poll_for(swarm, job->settle);
    long after = resident_kib(job->pid);
    swarm_poll_for(swarm, job->hold);
    long held = resident_kib(job->pid);
    swarm_close(swarm, 5);
    double share = swarm->opened ? 1.0 / swarm->opened : 0;
    printf("{\"mode\":\"idle\",\"connections\":%u,\"opened\":%u,\"failed\":%u,\"seconds\":%.3f,\"accepts_per_s\":%.1f",
           swarm->options.count, swarm->opened, swarm->failed, took, took > 0 ? swarm->opened / took : 0);
    printf(",\"rss_before_kib\":%ld,\"rss_after_kib\":%ld,\"rss_held_kib\":%ld,\"kib_per_connection\":%.2f", before, after,
           held, (double)(held - before) * share);
    print_end(swarm, job);
    return swarm->faults ? 1 : 0;
}
