#include "server/port_owner.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 0x0A /* TCP_LISTEN of the kernel's include/net/tcp_states.h */

/* The socket's inode, or 0. */
static unsigned long find_socket(const char *table, unsigned port)
{
    FILE *f = fopen(table, "re");
    char line[512];
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned at, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &at,
                   &state, &inode) == 3 &&
            at == port && state == STATE_LISTEN)
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool has_socket(const char *pid, const char *link_wanted)
{
    char path[PATH_MAX], target[64];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *files = opendir(path);
    bool found = false;
    const struct dirent *e;
    while (files && !found && (e = readdir(files))) {
        ssize_t size = readlinkat(dirfd(files), e->d_name, target, sizeof(target) - 1);
        target[size < 0 ? 0 : size] = '\0';
        found = strcmp(target, link_wanted) == 0;
    }
    if (files)
        closedir(files);
    return found;
}

static bool name_process(const char *pid, char *to)
{
    char path[PATH_MAX], name[32];
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    bool got = f && fgets(name, sizeof(name), f);
    if (f)
        fclose(f);
    if (!got)
        return false;
    name[strcspn(name, "\n")] = '\0';
    snprintf(to, PORT_OWNER_SIZE, "%s, process %ld", name, strtol(pid, NULL, 10));
    return true;
}

bool port_owner_find(unsigned port, char *to)
{
    unsigned long inode = find_socket("/proc/net/tcp", port);
    if (!inode)
        inode = find_socket("/proc/net/tcp6", port);
    DIR *processes = inode ? opendir("/proc") : NULL;
    char link_wanted[64];
    snprintf(link_wanted, sizeof(link_wanted), "socket:[%lu]", inode);
    bool found = false;
    const struct dirent *e;
    while (processes && !found && (e = readdir(processes)))
        found = e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_socket(e->d_name, link_wanted) &&
                name_process(e->d_name, to);
    if (processes)
        closedir(processes);
    return found;
}
