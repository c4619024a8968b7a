/* The opening handshake of the load generator's clients, as bytes (RFC 6455 section 4.1). */
#ifndef BENCH_HANDSHAKE_H
#define BENCH_HANDSHAKE_H

#include "swarm.h"

#include <stdio.h>
#include <string.h>

enum { HANDSHAKE_ROOM = 4096 };

/* What a current Chromium on a desktop sends, a session cookie included: about 800 bytes in all. A
 * server that keeps what it was told at the handshake pays for this size, not for five short lines. */
static const char BROWSER_HEADERS[] =
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,en-US;q=0.6\r\n"
    "Cookie: session=5f0c1e7a9b3d4c62a81e0f7d6c5b4a39; consent=1; theme=dark; "
    "csrftoken=Xw3vJm2bQk8rT5yLd7nPz0sHc4uFa9eG\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/* The key of the RFC's own example and the answer that it must get: a server that answers anything
 * else did not do the handshake. */
static const char HANDSHAKE_KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char HANDSHAKE_ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* Writes the request into `out`, which has HANDSHAKE_ROOM bytes, and returns its length. */
static inline size_t handshake_request(char *out, const struct swarm_options *o) {
    char origin[128] = "", protocol[256] = "";
    if (o->browser) snprintf(origin, sizeof origin, "Origin: http://%s:%d\r\n", o->host, o->port);
    if (o->subprotocol) snprintf(protocol, sizeof protocol, "Sec-WebSocket-Protocol: %s\r\n", o->subprotocol);
    int size = snprintf(out, HANDSHAKE_ROOM,
                        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s\r\n",
                        o->path, o->host, o->port, origin, HANDSHAKE_KEY, protocol, o->browser ? BROWSER_HEADERS : "");
    return size < HANDSHAKE_ROOM ? (size_t)size : HANDSHAKE_ROOM - 1;
}

/* The length of the response, 0 while it is not whole, -1 and a text in `fault` if it is not a right 101. */
static inline long handshake_response(const char *bytes, size_t size, char *fault, size_t room) {
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t length = (size_t)(end - bytes) + 4;
    const char *line_end = memchr(bytes, '\r', length);
    if (length < 12 || memcmp(bytes, "HTTP/1.1 101", 12) != 0) {
        snprintf(fault, room, "expected HTTP/1.1 101, got %.*s", (int)(line_end - bytes), bytes);
        return -1;
    }
    if (!memmem(bytes, length, HANDSHAKE_ACCEPT, sizeof HANDSHAKE_ACCEPT - 1)) {
        snprintf(fault, room, "the response lacks the right Sec-WebSocket-Accept");
        return -1;
    }
    return (long)length;
}

#endif
