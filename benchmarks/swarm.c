/* See swarm.h. Level-triggered epoll, every socket non-blocking: edge-triggered measured the same. */
#define _GNU_SOURCE
#include "swarm.h"

#include "handshake.h"
#include "inflate.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 4 << 20, READ_SIZE = 256 << 10, EVENTS = 1024 };

uint64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void swarm_fault(struct swarm *swarm, const char *format, ...) {
    if (swarm->faults++) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(swarm->first_fault, sizeof swarm->first_fault, format, arguments);
    va_end(arguments);
    for (char *c = swarm->first_fault; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ' || (unsigned char)*c > '~') *c = '\'';
}

void swarm_init(struct swarm *swarm, const struct swarm_options *options) {
    memset(swarm, 0, sizeof *swarm);
    swarm->options = *options;
    swarm->clients = calloc(options->count, sizeof *swarm->clients);
    swarm->buffer = malloc(BUFFER_SIZE);
    swarm->epoll = epoll_create1(EPOLL_CLOEXEC);
    swarm->random = (uint32_t)clock_now() | 1;
    if (!swarm->clients || !swarm->buffer || swarm->epoll < 0) {
        perror("load: cannot start");
        exit(2);
    }
    for (uint32_t i = 0; i < options->count; i++) {
        swarm->clients[i].index = i;
        swarm->clients[i].fd = -1;
    }
}

static void watch(struct swarm *swarm, struct client *client, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = client->index};
    epoll_ctl(swarm->epoll, operation, client->fd, &event);
}

static void client_gone(struct swarm *swarm, struct client *client, const char *why) {
    if (client->state == CLIENT_GONE) return;
    if (client->state == CLIENT_OPEN) {
        swarm->lost++;
    } else {
        swarm->failed++;
        swarm->in_handshake--;
    }
    if (!swarm->leaving) swarm_fault(swarm, "connection %u: %s", client->index, why);
    if (client->fd >= 0) close(client->fd);
    free(client->kept);
    free(client->out);
    *client = (struct client){.fd = -1, .index = client->index, .state = CLIENT_GONE};
}

static void reserve(char **bytes, size_t *room, size_t needed) {
    if (*room >= needed) return;
    size_t grown = *room ? *room : 512;
    while (grown < needed) grown *= 2;
    *bytes = realloc(*bytes, grown);
    if (!*bytes) {
        perror("load: out of memory");
        exit(2);
    }
    *room = grown;
}

void client_write(struct swarm *swarm, struct client *client, int opcode, const char *const piece[3], const size_t size[3]) {
    size_t whole = size[0] + size[1] + size[2];
    reserve(&client->out, &client->out_room, client->out_size + WIRE_HEADER_MAX + whole);
    swarm->random ^= swarm->random << 13;
    swarm->random ^= swarm->random >> 17;
    swarm->random ^= swarm->random << 5;
    uint32_t key = swarm->random;
    char *at = client->out + client->out_size;
    at += wire_header(at, opcode, whole, &key);
    char *payload = at;
    for (int i = 0; i < 3; i++) {
        if (size[i]) memcpy(at, piece[i], size[i]);
        at += size[i];
    }
    wire_mask(payload, whole, key);
    client->out_size = (size_t)(at - client->out);
}

static void write_one(struct swarm *swarm, struct client *client, int opcode, const char *payload, size_t size) {
    client_write(swarm, client, opcode, (const char *const[3]){payload, "", ""}, (const size_t[3]){size, 0, 0});
}

void client_flush(struct swarm *swarm, struct client *client) {
    if (!client->out_size || client->state == CLIENT_GONE) return;
    ssize_t sent = send(client->fd, client->out, client->out_size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        client_gone(swarm, client, strerror(errno));
        return;
    }
    if (sent > 0) {
        client->out_size -= (size_t)sent;
        if (client->out_size) memmove(client->out, client->out + sent, client->out_size);
    }
    int wants = client->out_size > 0;
    if (wants != client->wants_write) {
        client->wants_write = wants;
        watch(swarm, client, EPOLL_CTL_MOD, wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void client_connect(struct swarm *swarm, struct client *client) {
    const struct swarm_options *o = &swarm->options;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    int one = 1;
    client->state = CLIENT_CONNECTING;
    swarm->begun++;
    swarm->in_handshake++;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        client_gone(swarm, client, strerror(errno));
        return;
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o->count > o->per_source) {     /* 127.0.0.2, .3, ...: one address has only so many ports */
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7f000002u + client->index / o->per_source);
        setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(client->fd, (struct sockaddr *)&source, sizeof source) < 0) {
            client_gone(swarm, client, strerror(errno));
            return;
        }
    }
    inet_pton(AF_INET, o->host, &address.sin_addr);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        client_gone(swarm, client, strerror(errno));
        return;
    }
    client->wants_write = 1;
    watch(swarm, client, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void client_upgrade(struct swarm *swarm, struct client *client) {
    reserve(&client->out, &client->out_room, HANDSHAKE_ROOM);
    client->out_size = handshake_request(client->out, &swarm->options);
    client->state = CLIENT_UPGRADING;
    client_flush(swarm, client);
}

static void client_opened(struct swarm *swarm, struct client *client) {
    client->state = CLIENT_OPEN;
    swarm->in_handshake--;
    swarm->opened++;
    swarm->finished = clock_now();
}

/* Returns how many bytes the response took, 0 if it is not whole, -1 if it is not the right one. */
static long read_response(struct swarm *swarm, struct client *client, const char *bytes, size_t size) {
    char fault[128];
    long length = handshake_response(bytes, size, fault, sizeof fault);
    if (length < 0) swarm_fault(swarm, "%s", fault);
    if (length <= 0) return length;
    client->state = CLIENT_GREETING;
    if (!swarm->options.socketio) client_opened(swarm, client);
    return length;
}

/* Engine.IO: "0{...}" opens, "2" asks for "3". Socket.IO in it: "40" connects, "40{...}" confirms. */
static int socketio_control(struct swarm *swarm, struct client *client, const char *payload, size_t size) {
    if (size == 1 && payload[0] == '2') {
        write_one(swarm, client, WIRE_TEXT, "3", 1);
    } else if (client->state == CLIENT_GREETING && size && payload[0] == '0') {
        write_one(swarm, client, WIRE_TEXT, "40", 2);
    } else if (client->state == CLIENT_GREETING && size > 1 && !memcmp(payload, "40", 2)) {
        client_opened(swarm, client);
    } else {
        return 0;
    }
    return 1;
}

static long read_frame(struct swarm *swarm, struct client *client, char *bytes, size_t size) {
    struct frame frame;
    long length = wire_read(bytes, size, &frame);
    if (length <= 0) return length;
    switch (frame.opcode) {
    case WIRE_TEXT:
    case WIRE_BINARY:
        if (!frame.fin) {
            swarm_fault(swarm, "the server fragmented a message; this generator reads whole frames only");
            return -1;
        }
        if (frame.compressed && inflate_message(&frame.payload, &frame.size) < 0) {
            swarm_fault(swarm, "a compressed message that cannot be read: " INFLATE_NEEDS);
            return -1;
        }
        if (swarm->options.socketio && socketio_control(swarm, client, frame.payload, frame.size)) break;
        if (swarm->on_message && !swarm->leaving) swarm->on_message(swarm, client, frame.payload, frame.size);
        break;
    case WIRE_PING:
        write_one(swarm, client, WIRE_PONG, frame.payload, frame.size);
        break;
    case WIRE_PONG: break;
    case WIRE_CLOSE:
        if (!swarm->leaving) {
            int code = frame.size >= 2 ? (unsigned char)frame.payload[0] << 8 | (unsigned char)frame.payload[1] : 1005;
            swarm_fault(swarm, "connection %u: the server closed with %d", client->index, code);
        }
        return -1;
    default:
        swarm_fault(swarm, "unexpected opcode %d", frame.opcode);
        return -1;
    }
    return length;
}

static void client_read(struct swarm *swarm, struct client *client) {
    size_t have = client->kept_size;
    if (have) memcpy(swarm->buffer, client->kept, have);
    ssize_t got = recv(client->fd, swarm->buffer + have, READ_SIZE, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) client_gone(swarm, client, got ? strerror(errno) : "the server hung up");
        return;
    }
    swarm->now = clock_now();
    have += (size_t)got;
    size_t at = 0;
    while (at < have && client->state != CLIENT_GONE) {
        long took = client->state == CLIENT_UPGRADING ? read_response(swarm, client, swarm->buffer + at, have - at)
                                                      : read_frame(swarm, client, swarm->buffer + at, have - at);
        if (took < 0) {
            client_gone(swarm, client, "closed by the server or unreadable");
            return;
        }
        if (took == 0) break;
        at += (size_t)took;
    }
    if (client->state == CLIENT_GONE) return;
    client->kept_size = have - at;
    if (client->kept_size > BUFFER_SIZE - READ_SIZE) {
        client_gone(swarm, client, "a frame larger than this generator reads");
        return;
    }
    if (client->kept_size) {
        reserve(&client->kept, &client->kept_room, client->kept_size);
        memcpy(client->kept, swarm->buffer + at, client->kept_size);
    }
    client_flush(swarm, client);
}

int swarm_poll(struct swarm *swarm, int milliseconds) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(swarm->epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < ready; i++) {
        struct client *client = &swarm->clients[events[i].data.u32];
        if (client->state == CLIENT_GONE) continue;
        if (client->state == CLIENT_CONNECTING) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (!error) client_upgrade(swarm, client);
            if (error) client_gone(swarm, client, strerror(error));
            continue;
        }
        if (events[i].events & EPOLLOUT) client_flush(swarm, client);
        if (client->state != CLIENT_GONE && (events[i].events & ~(uint32_t)EPOLLOUT)) client_read(swarm, client);
    }
    return ready > 0 ? ready : 0;
}

void swarm_poll_for(struct swarm *swarm, double seconds) {
    uint64_t end = clock_now() + (uint64_t)(seconds * 1e9), now;
    while ((now = clock_now()) < end) swarm_poll(swarm, (int)((end - now) / 1000000u) + 1);
}

int swarm_open(struct swarm *swarm) {
    const struct swarm_options *o = &swarm->options;
    uint64_t progress = clock_now();
    swarm->started = swarm->finished = progress;
    while (swarm->opened + swarm->failed < o->count) {
        while (swarm->begun < o->count && swarm->in_handshake < o->concurrency)
            client_connect(swarm, &swarm->clients[swarm->begun]);
        uint32_t before = swarm->opened + swarm->failed;
        swarm_poll(swarm, 100);
        if (swarm->opened + swarm->failed != before) {
            progress = clock_now();
        } else if ((double)(clock_now() - progress) / 1e9 > o->timeout) {
            swarm_fault(swarm, "%u of %u open, then no handshake finished in %.0f s", swarm->opened, o->count, o->timeout);
            return -1;
        }
    }
    return swarm->opened == o->count ? 0 : -1;
}

void swarm_close(struct swarm *swarm, double seconds) {
    static const char normal[2] = {0x03, (char)0xe8};
    uint64_t end = clock_now() + (uint64_t)(seconds * 1e9);
    uint32_t gone = swarm->lost;
    swarm->leaving = 1;
    for (uint32_t i = 0; i < swarm->options.count; i++) {
        struct client *client = &swarm->clients[i];
        if (client->state != CLIENT_OPEN) continue;
        write_one(swarm, client, WIRE_CLOSE, normal, sizeof normal);
        client_flush(swarm, client);
    }
    while (clock_now() < end && swarm->lost < swarm->opened) swarm_poll(swarm, 50);
    swarm->lost = gone;                 /* who leaves now was asked to */
    for (uint32_t i = 0; i < swarm->options.count; i++)
        if (swarm->clients[i].fd >= 0) close(swarm->clients[i].fd);
}
