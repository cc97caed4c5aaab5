#include "server/start_check.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "server/cpus.h"
#include "server/machine.h"
#include "server/server.h"

#define MB ((uint64_t)1 << 20)

void start_user_name(char to[START_USER_SIZE])
{
    char room[1024];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(geteuid(), &entry, room, sizeof(room), &found) == 0 && found)
        snprintf(to, START_USER_SIZE, "%s", found->pw_name);
    else
        snprintf(to, START_USER_SIZE, "%u", (unsigned)geteuid());
}

static void warn_of_directory(const struct config *c)
{
    if ((!c->save[0] && !c->appendonly) || faccessat(AT_FDCWD, ".", W_OK, AT_EACCESS) == 0)
        return;
    char at[256] = "?", user[START_USER_SIZE];
    int error = errno;
    if (!getcwd(at, sizeof(at)))
        at[0] = '?';
    start_user_name(user);
    log_write(&server->log, LOG_WARNING,
              "WARNING user %s cannot write into dir %s (%s): snapshots will fail, and then writes "
              "are refused (MISCONF). Give the directory to that user (chown), name another "
              "(--dir), or do without snapshots (--save \"\").",
              user, at, error == EROFS ? "read-only file system" : "permission denied");
}

static void warn_of_shards(void)
{
    uint32_t cpus = cpus_usable();
    if (server->core_count > cpus)
        log_write(&server->log, LOG_NOTICE,
                  "%u shards share %u CPUs, so that they wait for each other: --shards 0 makes one "
                  "for each CPU that this process may use",
                  server->core_count, cpus);
}

static void warn_of_memory(const struct config *c)
{
    uint64_t usable = machine_memory_usable(), machine = machine_memory();
    const char *whose = usable < machine ? "its cgroup" : "the machine";
    if (!usable)
        return;
    if (c->maxmemory > 0 && (uint64_t)c->maxmemory > usable)
        log_write(&server->log, LOG_WARNING,
                  "WARNING maxmemory is %llu MB, and %s allows this process %llu MB: the kernel "
                  "would end the server before maxmemory is reached. Set maxmemory 75%%, or allow "
                  "more.",
                  (unsigned long long)((uint64_t)c->maxmemory / MB), whose,
                  (unsigned long long)(usable / MB));
    else if (!c->maxmemory && usable < machine)
        log_write(&server->log, LOG_NOTICE,
                  "The cgroup of this process allows %llu MB, and maxmemory is not set: the kernel "
                  "ends the server where it needs more. maxmemory 75%% keeps it below.",
                  (unsigned long long)(usable / MB));
}

void start_check_warn(void)
{
    warn_of_directory(&server->config);
    warn_of_shards();
    warn_of_memory(&server->config);
}

const char *start_uring_cure(int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return "a seccomp profile (Docker's, say) or the sysctl kernel.io_uring_disabled forbids "
               "it";
    case ENOMEM:
        return "allow the process to lock memory: ulimit -l, LimitMEMLOCK=";
    case ENOSYS:
        return "this kernel was built without it";
    case EINVAL:
    case EOPNOTSUPP:
        return "it takes Linux 6.1 or later";
    default:
        return "";
    }
}
