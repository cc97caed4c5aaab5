/* lasca-server: the command line, signals, and the order in which things are made. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/ring.h"
#include "net/tls.h"
#include "proto/mem.h"
#include "server/listeners.h"
#include "server/crash.h"
#include "server/check_config.h"
#include "server/metrics/metrics.h"
#include "server/persist/aof.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "server/start_check.h"
#include "server/supervise.h"
#include "server/tls.h"
#include "server/watchdog.h"

#define ERROR_SIZE 1024

static const char usage[] =
    "usage: lasca-server [FILE|-] [--OPTION VALUE ...]\n"
    "       lasca-server --check-config [FILE|-] [--OPTION VALUE ...]\n"
    "       lasca-server -v | --version\n"
    "       lasca-server -h | --help\n"
    "       lasca-server --options | --conf-default | --conf-man | --commands-md\n"
    "\n"
    "FILE is a configuration in redis.conf's format; conf/lasca.conf documents all options.\n"
    "Each option may also be given here, after FILE:\n"
    "  lasca-server --port 7000 --shards 4\n";

static bool is_either(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* What the server knows about itself, for the documentation and for shells. */
static void write_commands(struct buf *to)
{
    struct registry *r = registry_create();
    registry_write_documentation(r, to);
    registry_destroy(r);
}

static const struct {
    const char *name;
    void (*write)(struct buf *to);
} pages[] = {
    {"--commands-md", write_commands},
    {"--conf-man", config_write_manual},
    {"--conf-default", config_write_documented},
    {"--options", config_write_names},
};

static bool answered_page(const char *name)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(name, pages[i].name) != 0)
            continue;
        struct buf text;
        buf_init(&text);
        pages[i].write(&text);
        fwrite(text.data, 1, text.size, stdout);
        buf_deinit(&text);
        return true;
    }
    return false;
}

/* Answers what needs no server. */
static bool answered(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--test-memory") == 0) {
        puts("lasca-server has no test of memory: memtest86+ tests all of it, memtester from a "
             "running system");
        return true;
    }
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
    return answered_page(argv[1]);
}

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR2); /* SHUTDOWN and CONFIG SET end the wait with this */
    return set;
}

/* Not clean: nothing is saved. */
static void end_at_once(void)
{
    log_write(&server->log, LOG_WARNING, "You insist... exiting now.");
    save_remove_temp();
    _exit(1);
}

/* The next of `set`, or 0 after `us` microseconds; below 0: however long it takes. */
static int await_signal(const sigset_t *set, int64_t us)
{
    struct timespec wait = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    int number = sigtimedwait(set, NULL, us < 0 ? NULL : &wait);
    return number < 0 ? 0 : number;
}

/* The main thread only waits: for a signal, which asks for a clean stop, or for that to have come
 * to its end. A stop may fail: then the server goes on. A second interrupt while it is under way,
 * and any second signal once the cores stop, ends at once. */
static void wait_for_stop(void)
{
    sigset_t set = stop_signals();
    struct watchdog watchdog = {0};
    while (!atomic_load(&server->shutdown_asked)) {
        int64_t wait_us = supervise_tick(server->supervisor, shutdown_in_progress());
        int64_t look_us = watchdog_look(&watchdog);
        if (wait_us < 0 || (look_us >= 0 && look_us < wait_us))
            wait_us = look_us;
        int number = await_signal(&set, wait_us);
        if (number == SIGUSR2 || !number)
            continue;
        if (number == SIGINT && shutdown_in_progress())
            end_at_once();
        log_write(&server->log, LOG_WARNING, "Received %s scheduling shutdown...",
                  number == SIGTERM ? "SIGTERM" : "SIGINT");
        supervise_saving(server->supervisor);
        shutdown_by_signal(atomic_load(number == SIGTERM ? &server->on_sigterm
                                                         : &server->on_sigint));
    }
    supervise_stopping(server->supervisor);
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
    const char *cure = start_uring_cure(found == RING_URING ? 0 : errno);
    if (found != RING_URING && server->backend == RING_URING) {
        snprintf(error, error_size,
                 "io-backend io_uring is not available (%s%s%s): allow it, or choose auto or epoll",
                 why, cure[0] ? "; " : "", cure);
        return false;
    }
    if (found != RING_URING)
        log_write(&server->log, LOG_WARNING, "io_uring is not available (%s%s%s): using epoll", why,
                  cure[0] ? "; " : "", cure);
    server->backend = found;
    return true;
}

static void tell_inert(void *context, const char *name, const char *reason)
{
    (void)context;
    printf("%s has no effect: %s\n", name, reason);
}

/* On the terminal as long as there is one, and in the log, where that is a file. */
static int fail(const char *error)
{
    fprintf(stderr, "lasca-server: %s\n", error);
    if (server && (server->log.path || server->log.ident))
        log_write(&server->log, LOG_WARNING, "%s", error);
    return 1;
}

/* In Redis's words, too: tools and people know them. */
static void fail_configuration(const struct config_complaint *x, const char *error)
{
    if (x->line.size)
        fprintf(stderr,
                "\n*** FATAL CONFIG FILE ERROR (Redis %s) ***\n%.*s\n>>> '%.*s'\n%.*s%s",
                SERVER_REDIS_VERSION, (int)x->place.size, x->place.data, (int)x->line.size,
                x->line.data, (int)x->reason.size, x->reason.size ? x->reason.data : "",
                x->reason.size ? "\n" : "");
    fail(error);
}

static bool load_configuration(struct config *c, int argc, char **argv)
{
    char error[ERROR_SIZE] = "";
    struct config_complaint complaint;
    buf_init(&complaint.place);
    buf_init(&complaint.line);
    buf_init(&complaint.reason);
    bool good = config_load(c, argc, argv, &complaint, error, sizeof(error));
    if (!good)
        fail_configuration(&complaint, error);
    buf_deinit(&complaint.place);
    buf_deinit(&complaint.line);
    buf_deinit(&complaint.reason);
    return good;
}

static void set_signals(void)
{
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write */
}

/* All that can fail with somebody at the terminal. */
static bool prepare(const struct config *config, char *error, size_t error_size)
{
    return process_set_cpus(config->server_cpulist, error, error_size) &&
           server_create(config, error, error_size) && choose_backend(error, error_size) &&
           server_raise_file_limit(error, error_size) && tls_start(error, error_size) &&
           listeners_open(error, error_size) && metrics_open(error, error_size);
}

/* To the background, unless somebody supervises: no thread has been started so far. */
static bool settle(char **argv, char *error, size_t error_size)
{
    const struct config *c = &server->config;
    bool logo = process_shows_logo(c);
    process_take_title(&server->process, argv);
    server->supervisor = supervise_create(c->supervised);
    bool background = c->daemonize && !server->supervisor;
    if (background && !process_daemonize()) {
        snprintf(error, error_size, "cannot go to the background: %s", strerror(errno));
        return false;
    }
    process_log_start(c, logo);
    process_settle(&server->process, c, background);
    log_write(&server->log, LOG_NOTICE, "Lasca %s, pid %d, port %lld, %u shards, %s", LASCA_VERSION,
              (int)getpid(), (long long)c->port, server->core_count,
              server->backend == RING_URING ? "io_uring" : "epoll");
    server_tell_inert(NULL);
    start_check_warn();
    return true;
}

/* lasca-server --check-config [FILE] [--OPTION VALUE ...] */
static int check(int argc, char **argv)
{
    char error[ERROR_SIZE] = "";
    struct config config;
    config_init(&config);
    bool good = config_load(&config, argc, argv, NULL, error, sizeof(error)) &&
                check_config(&config, error, sizeof(error));
    if (good) {
        config_visit_inert(NULL, &config, tell_inert, NULL);
        puts("configuration ok");
    }
    config_deinit(&config);
    return good ? 0 : fail(error);
}

int main(int argc, char **argv)
{
    if (answered(argc, argv))
        return 0;
    tls_init_library();
    if (argc > 1 && strcmp(argv[1], "--check-config") == 0)
        return check(argc - 1, argv + 1);
    char error[ERROR_SIZE] = "";
    struct config config;
    config_init(&config);
    if (!load_configuration(&config, argc, argv)) {
        config_deinit(&config);
        return 1;
    }
    set_signals();
    bool prepared = prepare(&config, error, sizeof(error));
    config_deinit(&config);
    if (!prepared || !settle(argv, error, sizeof(error)))
        return fail(error);
    if (server->config.appendonly && !aof_open(error, sizeof(error)))
        return fail(error);
    crash_install();
    load_plan_start();
    int status = server_run(wait_for_stop);
    process_end(&server->process);
    log_write(&server->log, LOG_WARNING, "Lasca is now ready to exit, bye bye...");
    server_destroy();
    return status;
}
