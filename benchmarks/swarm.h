/* Many WebSocket clients on one epoll and one thread: they open, they read, they write, they close.
 *
 * A mode (rpc, fanout, idle) gives `on_message` and drives `swarm_poll`; what is written in
 * reply to one read leaves in one send. The first fault is kept as text, all are counted.
 */
#ifndef BENCH_SWARM_H
#define BENCH_SWARM_H

#include <stddef.h>
#include <stdint.h>

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_UPGRADING, CLIENT_GREETING, CLIENT_OPEN, CLIENT_GONE };

struct client {
    int fd;
    uint32_t index;
    enum client_state state;
    int wants_write;                    /* EPOLLOUT is on */
    char *kept;                         /* the start of a frame whose end has not come yet */
    size_t kept_size, kept_room;
    char *out;                          /* written, not yet taken by the kernel */
    size_t out_size, out_room;
};

struct swarm_options {
    const char *host, *path, *subprotocol;
    int port;
    int browser;                        /* send the header set of a desktop browser */
    int socketio;                       /* Engine.IO 4 and Socket.IO 5 on top of WebSocket */
    uint32_t count, concurrency, per_source;
    double timeout;                     /* seconds without any progress that are a failure */
};

struct swarm {
    struct swarm_options options;
    struct client *clients;
    int epoll;
    uint64_t now;                       /* monotonic nanoseconds of the read being handled */
    uint64_t started;                   /* of the first connect */
    uint64_t finished;                  /* of the last handshake */
    uint32_t opened, failed, lost, in_handshake, begun;
    int leaving;
    uint64_t faults;
    char first_fault[256];
    uint32_t random;
    char *buffer;
    void (*on_message)(struct swarm *swarm, struct client *client, char *payload, size_t size);
    void *mode;
};

uint64_t clock_now(void);

void swarm_init(struct swarm *swarm, const struct swarm_options *options);
/* Opens them all, at most `concurrency` handshakes at once. Returns 0 when every one is open. */
int swarm_open(struct swarm *swarm);
/* Waits at most `milliseconds` and handles what came. Returns how many clients had something. */
int swarm_poll(struct swarm *swarm, int milliseconds);
void swarm_poll_for(struct swarm *swarm, double seconds);
/* Says goodbye (1000) on every open one, waits up to `seconds` for the server to hang up. */
void swarm_close(struct swarm *swarm, double seconds);
void swarm_fault(struct swarm *swarm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Queues one masked frame made of up to three pieces; nothing leaves before `client_flush`. */
void client_write(struct swarm *swarm, struct client *client, int opcode, const char *const piece[3], const size_t size[3]);
void client_flush(struct swarm *swarm, struct client *client);

#endif
