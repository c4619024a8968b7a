/* The limit: what the system calls cost when the server does next to nothing.
 *
 *   limit PORT rpc|echo|fanout
 *
 * One thread, epoll. rpc answers each request with an envelope that repeats the text of its body
 * and its correlation id, found by search, nothing parsed; echo returns the payload; fanout sends
 * {"event", "data"} with that body to everybody, as one finished frame, and answers the publisher.
 * All answers to one read leave in one send. No limits, no UTF-8 check, no timeouts: not a server
 * to use, only the line that no server in the same shape can pass.
 */
#define _GNU_SOURCE
#include "sha1.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 256 << 10, OUT_SIZE = 4 << 20, EVENTS = 512, PEERS = 1 << 20 };

enum mode { MODE_RPC, MODE_ECHO, MODE_FANOUT };

struct peer {
    int fd, open;
    uint32_t place;                     /* in `everybody` */
    char *kept, *late;                  /* an unfinished frame; what the kernel has not taken yet */
    size_t kept_size, late_size;
};

static struct peer *peers[PEERS];       /* by file descriptor */
static struct peer **everybody;
static uint32_t population, room;
static char *in, *out;
static size_t out_size;
static int loop;
static enum mode mode;

static void forget(struct peer *peer) {
    if (peer->open) {
        everybody[peer->place] = everybody[--population];
        everybody[peer->place]->place = peer->place;
    }
    peers[peer->fd] = NULL;
    close(peer->fd);
    free(peer->kept);
    free(peer->late);
    free(peer);
}

static void keep(char **bytes, size_t *have, const char *more, size_t size) {
    *bytes = realloc(*bytes, *have + size);
    if (!*bytes) exit(2);
    memcpy(*bytes + *have, more, size);
    *have += size;
}

static void send_bytes(struct peer *peer, const char *bytes, size_t size) {
    ssize_t sent = peer->late_size ? 0 : send(peer->fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0) sent = 0;             /* a dead peer is noticed when it is read */
    if ((size_t)sent == size) return;
    if (!peer->late_size) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = peer->fd};
        epoll_ctl(loop, EPOLL_CTL_MOD, peer->fd, &event);
    }
    keep(&peer->late, &peer->late_size, bytes + sent, size - (size_t)sent);
}

static void send_late(struct peer *peer) {
    ssize_t sent = send(peer->fd, peer->late, peer->late_size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    peer->late_size -= (size_t)sent;
    memmove(peer->late, peer->late + sent, peer->late_size);
    if (peer->late_size) return;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = peer->fd};
    epoll_ctl(loop, EPOLL_CTL_MOD, peer->fd, &event);
}

static void queue(struct peer *peer, int opcode, const char *payload, size_t size) {
    if (out_size + size + WIRE_HEADER_MAX > OUT_SIZE) {
        send_bytes(peer, out, out_size);
        out_size = 0;
    }
    out_size += wire_header(out + out_size, opcode, size, NULL);
    memcpy(out + out_size, payload, size);
    out_size += size;
}

struct text {
    const char *at;
    size_t size;
};

static struct text between(const char *text, size_t size, const char *open, const char *end) {
    char *at = memmem(text, size, open, strlen(open));
    if (!at) return (struct text){"null", 4};
    at += strlen(open);
    char *stop = memmem(at, (size_t)(text + size - at), end, strlen(end));
    if (!stop) return (struct text){"null", 4};
    return (struct text){at, (size_t)(stop - at)};
}

static void answer(struct peer *peer, const char *payload, size_t size) {
    static char envelope[1 << 20];
    static uint64_t trace;
    if (size > sizeof envelope / 2) return;
    struct text body = between(payload, size, "\"body\":", ",\"correlationId\":");
    struct text id = between(body.at, size - (size_t)(body.size > 4 ? body.at - payload : 0), "\"correlationId\":", "}");
    if (mode == MODE_FANOUT) {
        char frame[WIRE_HEADER_MAX];
        size_t event = (size_t)snprintf(envelope + WIRE_HEADER_MAX, sizeof envelope - WIRE_HEADER_MAX,
                                        "{\"event\":\"bench\",\"data\":%.*s}", (int)body.size, body.at);
        size_t header = wire_header(frame, WIRE_TEXT, event, NULL);
        char *start = envelope + WIRE_HEADER_MAX - header;
        memcpy(start, frame, header);
        for (uint32_t i = 0; i < population; i++) send_bytes(everybody[i], start, header + event);
        body = (struct text){"{}", 2};
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    static const char head[] = "{\"success\":true,\"data\":", middle[] = ",\"correlationId\":";
    char *at = envelope;
    at = mempcpy(at, head, sizeof head - 1);
    at = mempcpy(at, body.at, body.size);
    at = mempcpy(at, middle, sizeof middle - 1);
    at = mempcpy(at, id.at, id.size);
    at += sprintf(at, ",\"metadata\":{\"traceId\":\"%024llx\",\"timestamp\":%llu}}", (unsigned long long)++trace,
                  (unsigned long long)now.tv_sec * 1000u + (unsigned long long)now.tv_nsec / 1000000u);
    queue(peer, WIRE_TEXT, envelope, (size_t)(at - envelope));
}

/* Returns the length of the request, 0 while it is not whole. */
static size_t upgrade(struct peer *peer, char *bytes, size_t size) {
    char *end = memmem(bytes, size, "\r\n\r\n", 4), accept[32];
    if (!end) return 0;
    *end = 0;
    char *key = strcasestr(bytes, "\r\nSec-WebSocket-Key: ");
    if (!key) return 0;
    key += 21;
    websocket_accept(key, strcspn(key, "\r"), accept);
    out_size += (size_t)sprintf(out + out_size,
                                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    if (population == room) everybody = realloc(everybody, (room = room ? room * 2 : 64) * sizeof *everybody);
    peer->open = 1;
    peer->place = population;
    everybody[population++] = peer;
    return (size_t)(end - bytes) + 4;
}

/* Returns 0 when the peer is to be forgotten. */
static int read_peer(struct peer *peer) {
    size_t have = peer->kept_size, at = 0;
    if (have > OUT_SIZE - READ_SIZE) return 0;
    if (have) memcpy(in, peer->kept, have);
    ssize_t got = recv(peer->fd, in + have, READ_SIZE, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    have += (size_t)got;
    peer->kept_size = 0;
    out_size = 0;
    int stays = 1;
    while (at < have && stays) {
        struct frame frame;
        if (!peer->open) {
            size_t took = upgrade(peer, in + at, have - at);
            if (!took) break;
            at += took;
            continue;
        }
        long took = wire_read(in + at, have - at, &frame);
        if (took < 0) return 0;
        if (took == 0) break;
        at += (size_t)took;
        if (frame.opcode == WIRE_PING) {
            queue(peer, WIRE_PONG, frame.payload, frame.size);
        } else if (frame.opcode == WIRE_CLOSE) {
            queue(peer, WIRE_CLOSE, frame.payload, frame.size);
            stays = 0;
        } else if (mode == MODE_ECHO) {
            queue(peer, frame.opcode, frame.payload, frame.size);
        } else {
            answer(peer, frame.payload, frame.size);
        }
    }
    if (out_size) send_bytes(peer, out, out_size);
    if (at < have) keep(&peer->kept, &peer->kept_size, in + at, have - at);
    return stays;
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
        perror("limit: cannot listen");
        exit(1);
    }
    return fd;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peers[fd] = calloc(1, sizeof **peers);
        peers[fd]->fd = fd;
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "limit PORT rpc|echo|fanout\n");
        return 2;
    }
    mode = !strcmp(argv[2], "rpc") ? MODE_RPC : !strcmp(argv[2], "fanout") ? MODE_FANOUT : MODE_ECHO;
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max < PEERS ? files.rlim_max : PEERS - 1;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    in = malloc(OUT_SIZE);
    out = malloc(OUT_SIZE);
    loop = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event first = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &first);
    for (;;) {
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            struct peer *peer = peers[fd];
            if (!peer) continue;
            if (events[i].events & EPOLLOUT) send_late(peer);
            if ((events[i].events & ~(uint32_t)EPOLLOUT) && !read_peer(peer)) forget(peer);
        }
    }
}
