/* --check-config: see check_config.h. What the configuration's own reader finds is not looked for
 * again: values, includes, the directory. What is looked at here is the world around: addresses,
 * files, and the commands that are to be renamed. */
#include "server/check_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/registry.h"
#include "server/tls.h"

struct checking {
    const struct config *config;
    char *error;
    size_t error_size;
};

static bool is_address(const char *address)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return strcmp(address, "*") == 0 || strcmp(address, "::*") == 0 ||
           inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1;
}

static bool check_addresses(const struct checking *k)
{
    const struct config *c = k->config;
    for (uint32_t i = 0; i < c->bind_count; i++) {
        if (is_address(c->bind[i] + (c->bind[i][0] == '-')))
            continue;
        snprintf(k->error, k->error_size, "bind '%s' is not an IPv4 or IPv6 address", c->bind[i]);
        return false;
    }
    bool tcp = (c->port || c->tls_port) && c->bind_count;
    if (tcp || c->unixsocket[0])
        return true;
    snprintf(k->error, k->error_size, "Configured to not listen anywhere: give a port and an "
             "address (port 6379, bind 127.0.0.1)");
    return false;
}

static bool check_ports(const struct checking *k)
{
    const struct config *c = k->config;
    if (c->tls_port && c->tls_port == c->port)
        snprintf(k->error, k->error_size, "port and tls-port are both %lld: give them two",
                 (long long)c->port);
    else if (c->metrics_port && (c->metrics_port == c->port || c->metrics_port == c->tls_port))
        snprintf(k->error, k->error_size, "metrics-port %lld is a port for clients too: choose "
                 "another", (long long)c->metrics_port);
    else
        return true;
    return false;
}

static bool fail_file(const struct checking *k, const char *option, const char *path,
                      const char *right)
{
    snprintf(k->error, k->error_size, "%s '%.200s': %s: name one that this user may %s", option,
             path, strerror(errno), right);
    return false;
}

/* A file that is there, if one is named. */
static bool check_readable(const struct checking *k, const char *option, const char *path)
{
    return !path[0] || access(path, R_OK) == 0 || fail_file(k, option, path, "read");
}

/* A file that is there and can be written, or that can be made in its directory. */
static bool check_writable(const struct checking *k, const char *option, const char *path)
{
    char copy[PATH_MAX];
    if (!path[0] || access(path, W_OK) == 0)
        return true;
    if (errno != ENOENT)
        return fail_file(k, option, path, "write");
    snprintf(copy, sizeof copy, "%s", path);
    return access(dirname(copy), W_OK | X_OK) == 0 || fail_file(k, option, path, "write");
}

static bool check_files(const struct checking *k)
{
    const struct config *c = k->config;
    bool stores = c->save[0] || c->appendonly;
    struct sockaddr_un unix_address;
    if (strlen(c->unixsocket) >= sizeof(unix_address.sun_path)) {
        snprintf(k->error, k->error_size, "unixsocket: a path may have at most %zu bytes",
                 sizeof(unix_address.sun_path) - 1);
        return false;
    }
    return check_readable(k, "aclfile", c->aclfile) && check_writable(k, "logfile", c->logfile) &&
           check_writable(k, "unixsocket", c->unixsocket) &&
           (!stores || access(".", W_OK | X_OK) == 0 || fail_file(k, "dir", c->dir, "write"));
}

static bool check_users(const struct checking *k)
{
    const struct config *c = k->config;
    if (!c->user_count || !c->aclfile[0])
        return true;
    snprintf(k->error, k->error_size, "%s: users stand in the configuration or in the aclfile, not "
             "in both: leave one of them out", c->user_places[0]);
    return false;
}

static bool check_renames(const struct checking *k)
{
    struct registry *r = registry_create();
    bool ok = registry_rename_all(r, k->config, k->error, k->error_size);
    registry_destroy(r);
    return ok;
}

bool check_config(const struct config *c, char *error, size_t error_size)
{
    struct checking k = {c, error, error_size};
    return check_addresses(&k) && check_ports(&k) && check_files(&k) &&
           tls_check(c, error, error_size) && check_users(&k) && check_renames(&k);
}
