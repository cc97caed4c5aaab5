/* Options on how the process runs: background, files, signals, the system log. */
#include <locale.h>

#include "server/config_rows.h"
#include "server/cpus.h"
#include "server/process_words.h"

static const struct option_name supervision[] = {
    {"upstart", SUPERVISED_UPSTART}, {"systemd", SUPERVISED_SYSTEMD}, {"auto", SUPERVISED_AUTO},
    {"no", SUPERVISED_NO},           {NULL, 0},
};

static const struct option_name oom_adjusting[] = {
    {"no", OOM_ADJ_NO}, {"yes", OOM_ADJ_RELATIVE}, {"relative", OOM_ADJ_RELATIVE},
    {"absolute", OOM_ADJ_ABSOLUTE}, {NULL, 0},
};

/* As log_syslog.h counts them. */
static const struct option_name facilities[] = {
    {"user", 0},   {"local0", 1}, {"local1", 2}, {"local2", 3}, {"local3", 4},
    {"local4", 5}, {"local5", 6}, {"local6", 7}, {"local7", 8}, {NULL, 0},
};

/* --- What these rows look at themselves --- */

static const struct option_name shutdown_words[] = {
    {"default", 0}, {"save", PROCESS_SAVE}, {"nosave", PROCESS_NOSAVE},
    {"now", PROCESS_NOW}, {"force", PROCESS_FORCE}, {NULL, 0},
};

static const char *check_signal(const char *value)
{
    unsigned flags;
    return process_parse_shutdown(value, &flags);
}

static const char *check_oom_values(const char *value)
{
    int values[PROCESS_OOM_VALUES];
    return process_parse_oom(value, values);
}

static const char *check_title(const char *value)
{
    struct process_facts facts = {.title = "lasca-server", .unixsocket = ""};
    struct buf title;
    buf_init(&title);
    bool ok = process_expand_title(value, &facts, &title);
    buf_deinit(&title);
    return ok ? NULL : "template format is invalid or contains unknown variables";
}

/* The environment's may be one that is not installed, through nobody's fault. */
static const char *check_locale(const char *name)
{
    locale_t opened = name[0] ? newlocale(LC_COLLATE_MASK, name, NULL) : NULL;
    if (opened)
        freelocale(opened);
    return opened || !name[0] ? NULL : "Invalid locale name";
}

static const char *check_cpus(const char *value)
{
    struct cpus_mask mask;
    bool ok = !value[0] || cpus_parse_list(slice_of(value), &mask);
    return ok ? NULL : "this is no list of CPUs such as 0-3,8";
}

/* --- The rows --- */

static const struct config_option options[] = {
    {"daemonize", BOOL_FIELD(daemonize), "no", .section = "Running",
     .text = "Whether to go to the background. What keeps the server from starting is said on the "
             "terminal as far as it is known by then (configuration, ports, limits), else in the "
             "log. Service managers need no, and where `supervised` finds one, this is no."},
    {"supervised", ENUM_FIELD(supervised), "no", .names = supervision,
     .text = "Who is told that the server is ready: systemd (a service of Type=notify), upstart "
             "(by SIGSTOP), auto: whichever of them the environment tells of, or no."},
    {"pidfile", STRING_FIELD(pidfile), "\"\"",
     .text = "A file with the number of the process, removed at a clean end. \"\": none, but with "
             "daemonize /run/lasca.pid. Where it cannot be written the server runs without."},
    {"syslog-enabled", BOOL_FIELD(syslog_enabled), "no",
     .text = "Whether the log goes to the system's log, too."},
    {"syslog-ident", STRING_FIELD(syslog_ident), "lasca",
     .text = "The name it has there."},
    {"syslog-facility", ENUM_FIELD(syslog_facility), "local0", .names = facilities,
     .text = "What kind of messages they are there: user, or local0 to local7."},
    {"crash-log-enabled", BOOL_FIELD(crash_log_enabled), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether a crash is reported in the log: signal, stack, registers, what ran. The "
             "process then ends by the same signal, with a core dump where these are on."},
    {"always-show-logo", BOOL_FIELD(always_show_logo), "no",
     .text = "Whether the log begins with a logo even where it goes to no terminal."},
    {"set-proc-title", BOOL_FIELD(set_proc_title), "yes",
     .text = "Whether ps and top show what the template says."},
    {"proc-title-template", STRING_FIELD(proc_title_template),
     "\"{title} {listen-addr} {server-mode}\"", .flags = OPTION_MUTABLE, .check = check_title,
     .text = "What that is made of: {title} (the program's name), {listen-addr}, {server-mode} "
             "(empty here), {port}, {tls-port}, {unixsocket}, {config-file}, and any text."},
    {"oom-score-adj", ENUM_FIELD(oom_score_adj), "no", .names = oom_adjusting,
     .flags = OPTION_MUTABLE,
     .text = "Whether the kernel is told how readily to end this process where memory runs out: "
             "relative (or yes) to what it was at the start, or absolute."},
    {"oom-score-adj-values", STRING_FIELD(oom_score_adj_values), "0 200 800",
     .flags = OPTION_MUTABLE | OPTION_MANY, .check = check_oom_values,
     .text = "How readily, -2000 to 2000: as a master, as a replica, as a child that saves. Only "
             "the first matters here; the others are kept for the sake of configurations."},
    {"disable-thp", BOOL_FIELD(disable_thp), "yes",
     .text = "Whether transparent huge pages are turned off for this process where the system "
             "uses them for all memory."},
    {"shutdown-on-sigint", STRING_FIELD(shutdown_on_sigint), "default",
     .names = shutdown_words, .flags = OPTION_MUTABLE | OPTION_MANY, .check = check_signal,
     .text = "What SIGINT asks for, in SHUTDOWN's words: save, nosave, now, force, or default: a "
             "last snapshot where save points are set."},
    {"shutdown-on-sigterm", STRING_FIELD(shutdown_on_sigterm), "default",
     .names = shutdown_words, .flags = OPTION_MUTABLE | OPTION_MANY, .check = check_signal,
     .text = "What SIGTERM asks for."},
    {"watchdog-period", INTEGER_FIELD(watchdog_period), "0", 0, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_HIDDEN},
    {"locale-collate", STRING_FIELD(locale_collate), "\"\"", .flags = OPTION_MUTABLE,
     .check = check_locale,
     .text = "The order of strings in SORT ALPHA. \"\": as LC_COLLATE of the environment says."},
    {"server-cpulist", STRING_FIELD(server_cpulist), "\"\"", .check = check_cpus,
     .flags = OPTION_SAME,
     .text = "The CPUs that serve, as taskset writes them (0-3,8). With shards 0 there are as many "
             "shards as these. \"\": all that the process may use."},
    {"server_cpulist", STRING_FIELD(server_cpulist), "\"\"", .check = check_cpus,
     .flags = OPTION_ALIAS},
};

const struct config_rows config_rows_process = CONFIG_ROWS(options);
