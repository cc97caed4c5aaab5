/* The process in its system: see process.h. */
#include "server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/config_option.h"
#include "server/cpus.h"
#include "server/process_words.h"
#include "server/server.h"

#define PIDFILE_DEFAULT "/run/lasca.pid"
#define THP_FILE "/sys/kernel/mm/transparent_hugepage/enabled"
#define OOM_FILE "/proc/self/oom_score_adj"

extern char **environ;

/* --- Title --- */

/* In one block, which whatever is unset stays a part of: getenv has given parts of it away. */
static void move_environment(size_t count, size_t size)
{
    char **copy = mem_alloc((count + 1) * sizeof(*copy) + size);
    char *text = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = text;
        text = stpcpy(text, environ[i]) + 1;
    }
    copy[count] = NULL;
    environ = copy;
}

void process_take_title(struct process *p, char **argv)
{
    *p = (struct process){.area = argv[0], .name = config_string_copy(slice_of(argv[0]))};
    char *end = argv[0];
    for (char **a = argv; *a && *a == end; a++)
        end = *a + strlen(*a) + 1;
    size_t count = 0, size = 0;
    for (; environ[count]; count++) {
        size += strlen(environ[count]) + 1;
        if (environ[count] == end)
            end += strlen(end) + 1;
    }
    p->area_size = (size_t)(end - argv[0]);
    move_environment(count, size);
}

static bool set_title(const struct process *p, const struct config *c)
{
    struct process_facts facts = {
        .title = p->name, .port = c->port, .tls_port = c->tls_port,
        .unixsocket = c->unixsocket, .config_file = c->config_file,
        .address = c->bind_count ? c->bind[0] : NULL,
    };
    struct buf title;
    buf_init(&title);
    bool ok = process_expand_title(c->proc_title_template, &facts, &title);
    if (ok && p->area_size) {
        size_t size = title.size < p->area_size ? title.size : p->area_size - 1;
        memcpy(p->area, title.data, size);
        memset(p->area + size, 0, p->area_size - size);
    }
    buf_deinit(&title);
    return ok;
}

/* --- CPUs, background, pid file --- */

bool process_set_cpus(const char *list, char *error, size_t error_size)
{
    struct cpus_mask mask;
    if (!list[0] || (cpus_parse_list(slice_of(list), &mask) && cpus_confine(&mask)))
        return true;
    snprintf(error, error_size, "server-cpulist '%s': %s: name CPUs that this process may use",
             list, strerror(errno));
    return false;
}

bool process_daemonize(void)
{
    pid_t child = fork();
    if (child < 0)
        return false;
    if (child)
        _exit(0);
    setsid();
    int fd = open("/dev/null", O_RDWR);
    if (fd >= 0) {
        for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
            dup2(fd, i);
        if (fd > STDERR_FILENO)
            close(fd);
    }
    return true;
}

/* An absolute path, since `dir` may change. */
static char *absolute(const char *path)
{
    char at[PATH_MAX] = "";
    struct buf joined;
    buf_init(&joined);
    if (path[0] != '/' && getcwd(at, sizeof(at)))
        buf_printf(&joined, "%s/", at);
    buf_append_text(&joined, path);
    char *copy = config_string_copy(buf_slice(&joined));
    buf_deinit(&joined);
    return copy;
}

static void write_pidfile(struct process *p, const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f || fprintf(f, "%d\n", (int)getpid()) < 0)
        log_write(&server->log, LOG_WARNING,
                  "Failed to write PID file: %s: %s. Name another with pidfile; the server runs "
                  "without.",
                  strerror(errno), path);
    else
        p->pidfile = absolute(path);
    if (f)
        fclose(f);
}

/* --- Memory --- */

static bool read_line(const char *path, char *to, size_t size)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(to, (int)size, f);
    if (f)
        fclose(f);
    return got;
}

static bool write_oom(int value)
{
    int fd = open(OOM_FILE, O_WRONLY | O_CLOEXEC);
    char text[16];
    int size = snprintf(text, sizeof(text), "%d\n", value);
    bool ok = fd >= 0 && write(fd, text, (size_t)size) == size;
    if (!ok)
        log_write(&server->log, LOG_WARNING, "Unable to write oom_score_adj: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static int within(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* What the process had before is kept, and is what it gets back with `no`. */
static bool adjust_oom(struct process *p, const struct config *c)
{
    int values[PROCESS_OOM_VALUES] = {0};
    char text[32];
    if (c->oom_score_adj == OOM_ADJ_NO) {
        if (!p->oom_adjusted)
            return true;
        p->oom_adjusted = false;
        return write_oom(p->oom_base);
    }
    if (!p->oom_adjusted) {
        if (!read_line(OOM_FILE, text, sizeof(text))) {
            log_write(&server->log, LOG_WARNING, "Unable to read oom_score_adj: %s",
                      strerror(errno));
            return false;
        }
        p->oom_base = atoi(text);
        p->oom_adjusted = true;
    }
    process_parse_oom(c->oom_score_adj_values, values);
    int base = c->oom_score_adj == OOM_ADJ_RELATIVE ? p->oom_base : 0;
    return write_oom(within(base + values[0], -1000, 1000));
}

static bool huge_pages_always(void)
{
    char text[128];
    return read_line(THP_FILE, text, sizeof(text)) && strstr(text, "[always]");
}

static void settle_huge_pages(const struct config *c)
{
    if (!huge_pages_always())
        return;
    if (c->disable_thp && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0)
        return;
    log_write(&server->log, LOG_WARNING,
              "WARNING You have Transparent Huge Pages (THP) support enabled in your kernel. This "
              "will create memory usage issues with Lasca. To fix this issue run the command 'echo "
              "madvise > " THP_FILE "' as root, and add it to your /etc/rc.local in order to "
              "retain the setting after a reboot, or set 'disable-thp yes'.");
}

/* Lasca does not fork to save, so that the kernel's default (0) is as good as Redis's advice (1);
 * only strict accounting (2) refuses memory that is there. */
static void warn_of_overcommit(void)
{
    char text[32];
    if (read_line("/proc/sys/vm/overcommit_memory", text, sizeof(text)) && atoi(text) == 2)
        log_write(&server->log, LOG_WARNING,
                  "WARNING overcommit_memory is set to 2: the kernel may refuse memory while some "
                  "is free. To fix this issue run the command 'sysctl vm.overcommit_memory=1', and "
                  "add it to /etc/sysctl.conf.");
}

/* --- Locale --- */

/* A locale whose order is that of bytes needs none. */
static locale_t open_collation(const char *name)
{
    locale_t opened = newlocale(LC_COLLATE_MASK, name, NULL);
    if (!opened)
        log_write(&server->log, LOG_WARNING, "Failed to configure LOCALE for invalid locale name.");
    static const char *const by_bytes[] = {"C", "POSIX", "C.UTF-8", "C.utf8"};
    for (size_t i = 0; opened && i < sizeof(by_bytes) / sizeof(by_bytes[0]); i++) {
        if (strcmp(nl_langinfo_l(NL_LOCALE_NAME(LC_COLLATE), opened), by_bytes[i]) != 0)
            continue;
        freelocale(opened);
        opened = NULL;
    }
    return opened;
}

/* Before the cores run, or while they all stand still. */
static void set_collation(struct process *p, const char *name)
{
    locale_t before = p->collate;
    server->keyspace.options.collate = p->collate = open_collation(name);
    if (before)
        freelocale(before);
}

/* --- The whole --- */

bool process_shows_logo(const struct config *c)
{
    return c->always_show_logo || (!c->syslog_enabled && !c->logfile[0] && isatty(STDOUT_FILENO));
}

static void show_logo(const struct config *c)
{
    struct buf text;
    buf_init(&text);
    buf_printf(&text,
               "\n"
               "      /\\\n"
               "     /  \\   /|     Lasca %s\n"
               "    / /\\ \\ / |     speaks Redis %s, %zu bits, %u shards\n"
               "    \\ \\ \\/ \\ |     Running mode=standalone, port=%lld\n"
               "     \\ \\   / /     PID: %d\n"
               "      \\_\\_/_/\n\n",
               LASCA_VERSION, SERVER_REDIS_VERSION, sizeof(long) * 8, server->core_count,
               (long long)(c->port ? c->port : c->tls_port), (int)getpid());
    int fd = log_open_raw(&server->log);
    if (fd >= 0 && write(fd, text.data, text.size) < 0)
        log_write(&server->log, LOG_DEBUG, "The logo could not be written");
    log_close_raw(&server->log, fd);
    buf_deinit(&text);
}

void process_log_start(const struct config *c, bool with_logo)
{
    struct log *log = &server->log;
    log_write(log, LOG_NOTICE, "oO0OoO0OoO0Oo Lasca is starting oO0OoO0OoO0Oo");
    log_write(log, LOG_NOTICE, "Lasca version=%s, bits=%zu, pid=%d, just started", LASCA_VERSION,
              sizeof(long) * 8, (int)getpid());
    if (c->config_file)
        log_write(log, LOG_NOTICE, "Configuration loaded");
    else
        log_write(log, LOG_NOTICE,
                  "Warning: no config file specified, using the default config. In order to "
                  "specify a config file use lasca-server /path/to/lasca.conf");
    if (with_logo && c->log_level <= LOG_NOTICE)
        show_logo(c);
    else
        log_write(log, LOG_NOTICE, "Running mode=standalone, port=%lld.",
                  (long long)(c->port ? c->port : c->tls_port));
}

static void warn_of_oom_order(const struct config *c)
{
    int v[PROCESS_OOM_VALUES] = {0};
    process_parse_oom(c->oom_score_adj_values, v);
    if (v[1] < v[0] || v[2] < v[1])
        log_write(&server->log, LOG_WARNING,
                  "The oom-score-adj-values configuration may not work for non-privileged "
                  "processes! Please consult the documentation.");
}

void process_settle(struct process *p, const struct config *c, bool background)
{
    if (c->set_proc_title)
        set_title(p, c);
    if (background || c->pidfile[0])
        write_pidfile(p, c->pidfile[0] ? c->pidfile : PIDFILE_DEFAULT);
    set_collation(p, c->locale_collate);
    warn_of_overcommit();
    settle_huge_pages(c);
    warn_of_oom_order(c);
    adjust_oom(p, c);
}

void process_end(struct process *p)
{
    if (!p->pidfile)
        return;
    log_write(&server->log, LOG_NOTICE, "Removing the pid file.");
    unlink(p->pidfile);
}

void process_deinit(struct process *p)
{
    if (p->collate)
        freelocale(p->collate);
    p->collate = NULL;
    mem_free(p->name);
    mem_free(p->pidfile);
    p->name = p->pidfile = NULL;
}

static bool apply_oom(struct process *p, const struct config *before, const struct config *c,
                      const char **option)
{
    bool values = strcmp(before->oom_score_adj_values, c->oom_score_adj_values) != 0;
    if (!values && before->oom_score_adj == c->oom_score_adj)
        return true;
    if (values)
        warn_of_oom_order(c);
    if (adjust_oom(p, c))
        return true;
    adjust_oom(p, before);
    *option = values ? "oom-score-adj-values" : "oom-score-adj";
    return false;
}

/* First what may fail. */
bool process_apply_config(struct process *p, const struct config *before, const struct config *c,
                          const char **option, const char **why)
{
    *why = "Failed to set current oom_score_adj. Check server logs.";
    if (!apply_oom(p, before, c, option))
        return false;
    if (strcmp(before->proc_title_template, c->proc_title_template) != 0 && c->set_proc_title)
        set_title(p, c);
    if (strcmp(before->locale_collate, c->locale_collate) != 0)
        set_collation(p, c->locale_collate);
    return true;
}
