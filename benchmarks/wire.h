/* WebSocket frames (RFC 6455 section 5.2) as bytes, for the load generator and the limit server.
 *
 * Nothing here touches a socket. A frame is read in place: the caller keeps the buffer alive for as
 * long as it uses the payload. RSV1 marks what is compressed (RFC 7692 section 6); another RSV bit is a fault.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WIRE_CONTINUATION = 0x0, WIRE_TEXT = 0x1, WIRE_BINARY = 0x2, WIRE_CLOSE = 0x8, WIRE_PING = 0x9, WIRE_PONG = 0xA };
enum { WIRE_HEADER_MAX = 14 };

struct frame {
    char *payload;
    size_t size;
    int opcode;
    int fin;
    int compressed;
};

/* XORs `size` bytes with a four-byte key; masking and unmasking are the same operation. */
static inline void wire_mask(char *bytes, size_t size, uint32_t key) {
    uint64_t wide = ((uint64_t)key << 32) | key;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        word ^= wide;
        memcpy(bytes + at, &word, 8);
    }
    const char *octets = (const char *)&wide;
    for (; at < size; at++) bytes[at] ^= octets[at & 7];
}

/* Writes the header of one unfragmented frame and returns its length. `key` is NULL for a server. */
static inline size_t wire_header(char *out, int opcode, size_t size, const uint32_t *key) {
    unsigned char *byte = (unsigned char *)out;
    unsigned char masked = key ? 0x80 : 0;
    size_t length = 2;
    byte[0] = 0x80 | (unsigned char)opcode;
    if (size < 126) {
        byte[1] = masked | (unsigned char)size;
    } else if (size < 65536) {
        byte[1] = masked | 126;
        byte[2] = (unsigned char)(size >> 8);
        byte[3] = (unsigned char)size;
        length = 4;
    } else {
        byte[1] = masked | 127;
        for (int i = 0; i < 8; i++) byte[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
        length = 10;
    }
    if (key) {
        memcpy(out + length, key, 4);
        length += 4;
    }
    return length;
}

/* Reads one frame at `bytes`, unmasking in place. Returns its whole length, 0 if there is not yet
 * a whole one, -1 if it can never be one. */
static inline long wire_read(char *bytes, size_t available, struct frame *frame) {
    const unsigned char *byte = (const unsigned char *)bytes;
    if (available < 2) return 0;
    if (byte[0] & 0x30) return -1;
    size_t header = 2;
    uint64_t size = byte[1] & 0x7f;
    if (size == 126) {
        if (available < 4) return 0;
        size = ((uint64_t)byte[2] << 8) | byte[3];
        header = 4;
    } else if (size == 127) {
        if (available < 10) return 0;
        size = 0;
        for (int i = 0; i < 8; i++) size = (size << 8) | byte[2 + i];
        header = 10;
    }
    int masked = byte[1] & 0x80;
    if (masked) header += 4;
    if (size > (1u << 30)) return -1;
    if (available < header + size) return 0;
    frame->opcode = byte[0] & 0x0f;
    frame->fin = byte[0] >> 7;
    frame->compressed = byte[0] >> 6 & 1;
    frame->payload = bytes + header;
    frame->size = (size_t)size;
    if (masked) {
        uint32_t key;
        memcpy(&key, bytes + header - 4, 4);
        wire_mask(frame->payload, frame->size, key);
    }
    return (long)(header + size);
}

#endif
