/* The directories of this process's cgroups: see cgroup.h. */
#include "server/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct slice cgroup_take_until(struct slice *text, char separator)
{
    const char *end = text->size ? memchr(text->data, separator, text->size) : NULL;
    struct slice before = {text->data, end ? (size_t)(end - text->data) : text->size};
    size_t taken = before.size + (end != NULL);
    *text = (struct slice){text->data + taken, text->size - taken};
    return before;
}

/* Up to `size` bytes of a file; empty where there is none. */
static struct slice read_text(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (struct slice){to, 0};
    size_t got = 0;
    ssize_t n;
    while (got < size && (n = read(fd, to + got, size - got)) > 0)
        got += (size_t)n;
    close(fd);
    return (struct slice){to, got};
}

struct slice cgroup_read(const char *directory, const char *name, char *to)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return (struct slice){to, 0};
    return read_text(path, to, CGROUP_FILE_MAX);
}

struct visitor {
    const char *root;
    void (*visit)(void *context, const char *directory);
    void *context;
};

/* From the cgroup `path` up to the hierarchy's root. */
static void visit_upward(const struct visitor *v, struct slice hierarchy, struct slice path)
{
    char directory[PATH_MAX];
    int n = snprintf(directory, sizeof directory, "%s/%.*s", v->root, (int)hierarchy.size,
                     hierarchy.size ? hierarchy.data : "");
    if (n < 0 || (size_t)n + path.size >= sizeof directory)
        return;
    char *base = directory + n;
    memcpy(base, path.data, path.size);
    base[path.size] = '\0';
    v->visit(v->context, directory);
    for (char *cut; (cut = strrchr(base, '/'));) {
        *cut = '\0';
        v->visit(v->context, directory);
    }
}

static bool has_controller(struct slice controllers, const char *name)
{
    while (controllers.size) {
        if (slice_equal(cgroup_take_until(&controllers, ','), slice_of(name)))
            return true;
    }
    return false;
}

/* A line is "id:controllers:path"; v2's is "0::path". A v1 hierarchy is mounted under the list of
 * its controllers, and as a rule under the controller's own name too. */
void cgroup_visit(const char *root, struct slice cgroups, const char *controller,
                  void (*visit)(void *context, const char *directory), void *context)
{
    struct visitor v = {root, visit, context};
    while (cgroups.size) {
        struct slice path = cgroup_take_until(&cgroups, '\n');
        struct slice id = cgroup_take_until(&path, ':');
        struct slice controllers = cgroup_take_until(&path, ':');
        if (!path.size || path.data[0] != '/')
            continue;
        if (slice_equal(id, SLICE("0")) && !controllers.size)
            visit_upward(&v, controllers, path);
        if (!has_controller(controllers, controller))
            continue;
        visit_upward(&v, controllers, path);
        visit_upward(&v, slice_of(controller), path);
    }
}

void cgroup_visit_own(const char *controller,
                      void (*visit)(void *context, const char *directory), void *context)
{
    char text[8192];
    cgroup_visit("/sys/fs/cgroup", read_text("/proc/self/cgroup", text, sizeof text), controller,
                 visit, context);
}
