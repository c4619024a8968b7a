/* Load generator: how fast does a WebSocket server answer, fan out, accept, and what does an idle
 * connection cost it. One thread, epoll, closed loops; every answer is verified, a wrong one is a
 * fault and the exit status is 1. Prints one JSON object on one line. README.md explains the modes.
 */
#define _GNU_SOURCE
#include "modes.h"
#include "swarm.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char USAGE[] =
    "load rpc|fanout|idle --port P [options]\n"
    "  --host A             address, default 127.0.0.1          --path P      default /ws\n"
    "  idle with --message: each connection sends it once and gets its answer before it is held\n"
    "  --connections N      rpc: clients, fanout: subscribers, idle: how many to open; default 64\n"
    "  --in-flight K        requests per connection, or broadcasts; default 1\n"
    "  --message TEXT       with %d where the 12-digit id goes   --message-file F\n"
    "  --id-key TEXT        stands right before the id in a reply or event\n"
    "  --expect TEXT        every reply or event must contain it\n"
    "  --seconds S          measured time, default 5             --warm S      before it, default 1\n"
    "  --settle S           quiet after opening, default 0.5     --hold S      idle: how long, default 2\n"
    "  --concurrency C      handshakes at once, default 64       --timeout S   without progress, default 15\n"
    "  --handshake browser|minimal                               --subprotocol NAME\n"
    "  --socketio           speak Engine.IO 4 / Socket.IO 5      --per-source N  clients per source address\n"
    "  --pid P              the server: its memory and its CPU   --label TEXT\n";

enum option_id { HOST = 1, PORT, PATH, CONNECTIONS, IN_FLIGHT, MESSAGE, MESSAGE_FILE, ID_KEY, EXPECT, SECONDS, WARM, SETTLE,
                 HOLD, CONCURRENCY, TIMEOUT, HANDSHAKE, SUBPROTOCOL, SOCKETIO, PER_SOURCE, PID, LABEL };

static const struct option OPTIONS[] = {
    {"host", 1, 0, HOST}, {"port", 1, 0, PORT}, {"path", 1, 0, PATH}, {"connections", 1, 0, CONNECTIONS},
    {"in-flight", 1, 0, IN_FLIGHT}, {"message", 1, 0, MESSAGE}, {"message-file", 1, 0, MESSAGE_FILE},
    {"id-key", 1, 0, ID_KEY}, {"expect", 1, 0, EXPECT}, {"seconds", 1, 0, SECONDS}, {"warm", 1, 0, WARM},
    {"settle", 1, 0, SETTLE}, {"hold", 1, 0, HOLD}, {"concurrency", 1, 0, CONCURRENCY}, {"timeout", 1, 0, TIMEOUT},
    {"handshake", 1, 0, HANDSHAKE}, {"subprotocol", 1, 0, SUBPROTOCOL}, {"socketio", 0, 0, SOCKETIO},
    {"per-source", 1, 0, PER_SOURCE}, {"pid", 1, 0, PID}, {"label", 1, 0, LABEL}, {0, 0, 0, 0},
};

static void usage_error(const char *what) {
    fprintf(stderr, "load: %s\n%s", what, USAGE);
    exit(2);
}

static char *read_file(const char *path) {
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    if (!file) usage_error("--message-file cannot be read");
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    while (size && text[size - 1] == '\n') size--;
    text[size] = 0;
    return text;
}

static void read_options(int argc, char **argv, struct swarm_options *o, struct job *job) {
    int option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (option) {
        case HOST: o->host = optarg; break;
        case PORT: o->port = atoi(optarg); break;
        case PATH: o->path = optarg; break;
        case CONNECTIONS: o->count = (uint32_t)atoi(optarg); break;
        case IN_FLIGHT: job->depth = (uint32_t)atoi(optarg); break;
        case MESSAGE: job->message = optarg; break;
        case MESSAGE_FILE: job->message = read_file(optarg); break;
        case ID_KEY: job->id_key.text = optarg; break;
        case EXPECT: job->expect.text = optarg; break;
        case SECONDS: job->seconds = atof(optarg); break;
        case WARM: job->warm = atof(optarg); break;
        case SETTLE: job->settle = atof(optarg); break;
        case HOLD: job->hold = atof(optarg); break;
        case CONCURRENCY: o->concurrency = (uint32_t)atoi(optarg); break;
        case TIMEOUT: o->timeout = atof(optarg); break;
        case HANDSHAKE: o->browser = !strcmp(optarg, "browser"); break;
        case SUBPROTOCOL: o->subprotocol = optarg; break;
        case SOCKETIO: o->socketio = 1; break;
        case PER_SOURCE: o->per_source = (uint32_t)atoi(optarg); break;
        case PID: job->pid = atoi(optarg); break;
        case LABEL: job->label = optarg; break;
        default: usage_error("unknown option");
        }
    }
    job->id_key.size = strlen(job->id_key.text);
    job->expect.size = strlen(job->expect.text);
    if (optind + 1 != argc) usage_error("expected exactly one mode");
    job->mode = argv[optind];
    if (!o->port) usage_error("--port is missing");
    if (!o->count || !job->depth || !o->concurrency || !o->per_source) usage_error("expected numbers above zero");
}

int main(int argc, char **argv) {
    static struct swarm swarm;
    static struct job job = {.label = "", .id_key.text = "", .expect.text = "", .depth = 1,
                             .seconds = 5, .warm = 1, .settle = 0.5, .hold = 2};
    struct swarm_options options = {.host = "127.0.0.1", .path = "/ws", .browser = 1, .count = 64, .concurrency = 64,
                                    .per_source = 25000, .timeout = 15};
    read_options(argc, argv, &options, &job);
    int idle = !strcmp(job.mode, "idle"), fanout = !strcmp(job.mode, "fanout");
    if (!idle && !fanout && strcmp(job.mode, "rpc")) usage_error("expected rpc, fanout or idle");
    if (!idle || job.message) {
        char *id = job.message ? strstr(job.message, "%d") : NULL;
        if (!id || !job.id_key.size) usage_error("--message with %d and --id-key are missing");
        job.before_id = job.message;
        job.before_size = (size_t)(id - job.message);
        job.after_id = id + 2;
        job.after_size = strlen(job.after_id);
    }
    if (fanout) options.count++;        /* the publisher */
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    swarm_init(&swarm, &options);
    swarm.mode = &job;
    return idle ? run_idle(&swarm) : run_loop(&swarm, fanout);
}
