/* lasca-server: the command line, signals, and the order in which things are made. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/ring.h"
#include "server/persist/aof.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/persist/aof.h"
#include "server/persist/load.h"
#include "server/server.h"

#define ERROR_SIZE 1024

static const char usage[] =
    "usage: lasca-server [FILE|-] [--OPTION VALUE ...]\n"
    "       lasca-server -v | --version\n"
    "       lasca-server -h | --help\n"
    "\n"
    "FILE is a configuration in redis.conf's format; conf/lasca.conf documents all options.\n"
    "Each option may also be given here, after FILE:\n"
    "  lasca-server --port 7000 --shards 4\n";

static bool is_either(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* Answers what needs no server. */
static bool answered(int argc, char **argv)
{
    if (argc != 2)
        return false;
    if (is_either(argv[1], "-v", "--version")) {
        printf("Lasca server v=%s\n", LASCA_VERSION);
        return true;
    }
    if (is_either(argv[1], "-h", "--help")) {
        fputs(usage, stdout);
        return true;
    }
    if (is_either(argv[1], "--commands-md", "--commands-md")) {
        struct registry *r = registry_create();
        struct buf text;
        buf_init(&text);
        registry_write_documentation(r, &text);
        fwrite(text.data, 1, text.size, stdout);
        buf_deinit(&text);
        registry_destroy(r);
        return true;
    }
    return false;
}

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR2); /* SHUTDOWN ends the wait with this */
    return set;
}

/* Not clean: nothing is saved. */
static void end_at_once(void)
{
    log_write(&server->log, LOG_WARNING, "You insist... exiting now.");
    save_remove_temp();
    _exit(1);
}

/* The main thread only waits: for a signal, which asks for a clean stop, or for that to have come
 * to its end. A stop may fail: then the server goes on. A second interrupt while it is under way,
 * and any second signal once the cores stop, ends at once. */
static void wait_for_stop(void)
{
    sigset_t set = stop_signals();
    while (!atomic_load(&server->shutdown_asked)) {
        int number = 0;
        sigwait(&set, &number);
        if (number == SIGUSR2)
            continue;
        if (number == SIGINT && shutdown_in_progress())
            end_at_once();
        log_write(&server->log, LOG_WARNING, "Received %s scheduling shutdown...",
                  number == SIGTERM ? "SIGTERM" : "SIGINT");
        shutdown_by_signal();
    }
    server_stop();
    sigdelset(&set, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static bool choose_backend(char *error, size_t error_size)
{
    char why[256] = "";
    server->backend = server->config.io_backend;
    if (server->backend == RING_EPOLL)
        return true;
    enum ring_backend found = ring_probe(why, sizeof(why));
    if (found != RING_URING && server->backend == RING_URING) {
        snprintf(error, error_size,
                 "io-backend io_uring is not available (%s): allow it, or choose auto or epoll",
                 why);
        return false;
    }
    if (found != RING_URING)
        log_write(&server->log, LOG_WARNING, "io_uring is not available (%s): using epoll", why);
    server->backend = found;
    return true;
}

static int fail(const char *error)
{
    fprintf(stderr, "lasca-server: %s\n", error);
    return 1;
}

int main(int argc, char **argv)
{
    if (answered(argc, argv))
        return 0;
    char error[ERROR_SIZE] = "";
    struct config config;
    config_init(&config);
    if (!config_load(&config, argc, argv, error, sizeof(error))) {
        config_deinit(&config);
        return fail(error);
    }
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write */
    bool created = server_create(&config, error, sizeof(error));
    config_deinit(&config);
    if (!created)
        return fail(error);
    if (!choose_backend(error, sizeof(error)) ||
        !server_raise_file_limit(error, sizeof(error)) ||
        !server_open_listeners(error, sizeof(error)))
        return fail(error);
    log_write(&server->log, LOG_NOTICE, "Lasca %s, pid %d, port %lld, %u shards, %s", LASCA_VERSION,
              (int)getpid(), (long long)server->config.port, server->core_count,
              server->backend == RING_URING ? "io_uring" : "epoll");
    if (server->config.appendonly && !aof_open(error, sizeof(error)))
        return fail(error);
    load_plan_start();
    int status = server_run(wait_for_stop);
    log_write(&server->log, LOG_WARNING, "Lasca is now ready to exit, bye bye...");
    server_destroy();
    return status;
}
