/* Compressed messages for the load generator (RFC 7692), of servers that keep no context between them. */
#ifndef BENCH_INFLATE_H
#define BENCH_INFLATE_H

#include <stddef.h>

#ifdef BENCH_ZLIB
#include <stdlib.h>
#include <zlib.h>

#define INFLATE_NEEDS "expected one whole deflate stream of at most 1 MiB"

/* Replaces a payload by what it holds, in a buffer that the next call uses again. Returns -1 if it cannot be read. */
static inline int inflate_message(char **payload, size_t *size) {
    enum { ROOM = 1 << 20 };
    static const unsigned char tail[4] = {0, 0, 0xff, 0xff};
    static z_stream stream;
    static char *room;
    if (!room && (!(room = malloc(ROOM)) || inflateInit2(&stream, -15) != Z_OK)) return -1;
    inflateReset(&stream);
    stream.next_out = (Bytef *)room;
    stream.avail_out = ROOM;
    stream.next_in = (Bytef *)*payload;
    stream.avail_in = (uInt)*size;
    if (inflate(&stream, Z_SYNC_FLUSH) < 0 || stream.avail_in) return -1;
    stream.next_in = (Bytef *)tail;
    stream.avail_in = sizeof tail;
    int end = inflate(&stream, Z_SYNC_FLUSH);
    if ((end != Z_OK && end != Z_BUF_ERROR) || stream.avail_in || !stream.avail_out) return -1;
    *payload = room;
    *size = ROOM - stream.avail_out;
    return 0;
}
#else
#define INFLATE_NEEDS "this generator was built without zlib; install zlib1g-dev"

static inline int inflate_message(char **payload, size_t *size) {
    (void)payload, (void)size;
    return -1;
}
#endif

#endif
