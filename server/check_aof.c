/* lasca-check-aof: says whether an append-only file can be loaded, and cuts off an end that cannot.
 *
 * It takes a manifest, and then looks at all files that it lists, or a single file, with or without
 * an RDB preamble. It prints what redis-check-aof prints, so that whatever reads that goes on
 * working. Only the last file is ever cut, and only after a "y". */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/check/aof_scan.h"
#include "server/check/rdb_check.h"
#include "server/persist/aof.h"

#define PROGRESS_SIZE ((size_t)1 << 28) /* bytes between two lines on a long file */

static const char usage[] =
    "Usage: %s [--fix] [--truncate-to-timestamp $timestamp] <file.manifest|file.aof>\n";

struct options {
    const char *path;
    bool fix;
    int64_t until_s; /* 0: no matter when */
};

enum check_end { CHECK_OK, CHECK_EMPTY, CHECK_CUT, CHECK_CUT_IN_TIME };

struct checked {
    const char *name; /* as it is printed */
    const char *path;
    bool last;        /* may be cut */
};

/* A file in memory. */
struct mapped {
    struct slice bytes;
    int fd;
};

static _Noreturn void give_up(void)
{
    fflush(stdout);
    exit(1);
}

static void map_file(struct mapped *m, const char *path, bool writable)
{
    struct stat s;
    m->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (m->fd < 0 || fstat(m->fd, &s) != 0) {
        printf("Cannot open file %s: %s, aborting...\n", path, strerror(errno));
        give_up();
    }
    m->bytes = (struct slice){NULL, (size_t)s.st_size};
    if (s.st_size == 0)
        return;
    void *at = mmap(NULL, m->bytes.size, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (at == MAP_FAILED) {
        printf("Cannot read file %s: %s, aborting...\n", path, strerror(errno));
        give_up();
    }
    madvise(at, m->bytes.size, MADV_SEQUENTIAL);
    m->bytes.data = at;
}

static void unmap_file(struct mapped *m)
{
    if (m->bytes.size)
        munmap((void *)m->bytes.data, m->bytes.size);
    close(m->fd);
}

static bool begins_with(struct slice s, const char *text)
{
    return s.size >= strlen(text) && memcmp(s.data, text, strlen(text)) == 0;
}

static bool is_rdb(struct slice file)
{
    return file.size >= 8 && begins_with(file, "REDIS");
}

/* The first line that is no comment begins with "file". */
static bool is_manifest(struct slice file)
{
    while (file.size && file.data[0] == '#') {
        const char *end = memchr(file.data, '\n', file.size);
        size_t size = end ? (size_t)(end - file.data) + 1 : file.size;
        file = (struct slice){file.data + size, file.size - size};
    }
    return begins_with(file, "file");
}

/* ---- One file ---- */

static void cut(const struct checked *c, struct mapped *m, size_t size)
{
    if (ftruncate(m->fd, (off_t)size) == 0 && fsync(m->fd) == 0)
        return;
    printf("Failed to truncate AOF %s: %s\n", c->name, strerror(errno));
    give_up();
}

static bool confirmed(void)
{
    printf("Continue? [y/N]: ");
    fflush(stdout);
    int c = getchar();
    return c == 'y' || c == 'Y';
}

static enum check_end mend(const struct checked *c, struct mapped *m, const struct aof_scan *s,
                           const struct options *o)
{
    size_t diff = s->size - s->good;
    if (!o->fix) {
        printf("AOF %s is not valid. Use the --fix option to try fixing it.\n", c->name);
        give_up();
    }
    if (!c->last) {
        printf("Failed to truncate AOF %s because it is not the last file\n", c->name);
        give_up();
    }
    printf("This will shrink the AOF %s from %zu bytes, with %zu bytes, to %zu bytes\n", c->name,
           s->size, diff, s->good);
    if (!confirmed()) {
        printf("Aborting...\n");
        give_up();
    }
    cut(c, m, s->good);
    return CHECK_CUT;
}

static enum check_end cut_in_time(const struct checked *c, struct mapped *m,
                                  const struct aof_scan *s, const struct options *o)
{
    if (s->good == 0) {
        printf("AOF %s has nothing before timestamp %" PRId64 ", aborting...\n", c->name,
               o->until_s);
        give_up();
    }
    if (!c->last) {
        printf("Failed to truncate AOF %s to timestamp %" PRId64 " to offset %zu because it is not "
               "the last file.\nIf you insist, please delete all files after this file according "
               "to the manifest file and delete the corresponding records in manifest file "
               "manually. Then re-run lasca-check-aof.\n", c->name, o->until_s, s->good);
        give_up();
    }
    cut(c, m, s->good);
    return CHECK_CUT_IN_TIME;
}

static void show_progress(const struct aof_scan *s, size_t *next)
{
    if (s->at < *next)
        return;
    *next = s->at + PROGRESS_SIZE;
    fprintf(stderr, "%zu of %zu MB checked\n", s->at >> 20, s->size >> 20);
}

static enum check_end check_commands(const struct checked *c, struct mapped *m, size_t from,
                                     const struct options *o)
{
    struct aof_scan s;
    enum aof_scan_end end;
    size_t next_progress = PROGRESS_SIZE;
    aof_scan_start(&s, m->bytes, from, o->until_s);
    while ((end = aof_scan_next(&s)) == AOF_SCAN_COMMAND)
        show_progress(&s, &next_progress);
    if (end == AOF_SCAN_LATER)
        return cut_in_time(c, m, &s, o);
    if (end == AOF_SCAN_BAD && !s.error[0])
        printf("AOF %s format error\n", c->name);
    else if (end == AOF_SCAN_BAD)
        printf("0x%16llx: %s\n", (unsigned long long)s.error_at, s.error);
    if (end == AOF_SCAN_ENDED && o->until_s) {
        printf("Truncate nothing in AOF %s to timestamp %" PRId64 "\n", c->name, o->until_s);
        return CHECK_OK;
    }
    printf("AOF analyzed: filename=%s, size=%zu, ok_up_to=%zu, ok_up_to_line=%llu, diff=%zu\n",
           c->name, s.size, s.good, (unsigned long long)s.line, s.size - s.good);
    return end == AOF_SCAN_BAD ? mend(c, m, &s, o) : CHECK_OK;
}

static enum check_end check_file(const struct checked *c, const struct options *o)
{
    struct mapped m;
    size_t from = 0;
    map_file(&m, c->path, true);
    enum check_end end = CHECK_EMPTY;
    if (m.bytes.size) {
        if (is_rdb(m.bytes)) {
            if (!rdb_check_part(c->path, &from)) {
                printf("RDB preamble of AOF file is not sane, aborting.\n");
                give_up();
            }
            printf("RDB preamble is OK, proceeding with AOF tail...\n");
        }
        end = check_commands(c, &m, from, o);
    }
    unmap_file(&m);
    return end;
}

static void print_end(enum check_end end, const char *kind, const char *name,
                      const struct options *o)
{
    switch (end) {
    case CHECK_OK: printf("%s %s is valid\n", kind, name); break;
    case CHECK_EMPTY: printf("%s %s is empty\n", kind, name); break;
    case CHECK_CUT: printf("Successfully truncated AOF %s\n", name); break;
    case CHECK_CUT_IN_TIME:
        printf("Successfully truncated AOF %s to timestamp %" PRId64 "\n", name, o->until_s);
        break;
    }
}

/* ---- A manifest ---- */

static size_t size_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? (size_t)s.st_size : 0;
}

/* Behind it are only files without a byte: then its end may be cut off by a crash. */
static bool is_last(const struct aof_manifest *m, uint32_t index, const char *directory)
{
    char path[PATH_MAX];
    for (uint32_t i = index + 1; i < m->count; i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, m->files[i].name);
        if (m->files[i].type != AOF_HISTORY && size_of(path))
            return false;
    }
    return true;
}

static void check_listed(const struct aof_manifest *m, uint32_t index, const char *directory,
                         const struct options *o)
{
    const struct aof_file *f = &m->files[index];
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", directory, f->name);
    struct checked c = {f->name, path, is_last(m, index, directory)};
    if (f->type == AOF_BASE) {
        struct mapped base;
        map_file(&base, path, false);
        printf("Start to check BASE AOF (%s format).\n", is_rdb(base.bytes) ? "RDB" : "RESP");
        unmap_file(&base);
        print_end(check_file(&c, o), "BASE AOF", f->name, o);
    } else {
        print_end(check_file(&c, o), "INCR AOF", f->name, o);
    }
}

static void check_manifest(struct slice text, const struct options *o)
{
    struct aof_manifest m;
    char error[1024], copy[PATH_MAX];
    bool told = false;
    printf("Start checking Multi Part AOF\n");
    if (!aof_manifest_parse(&m, text, error, sizeof(error))) {
        printf("*** FATAL AOF MANIFEST FILE ERROR ***\n%s\n", error);
        give_up();
    }
    snprintf(copy, sizeof(copy), "%s", o->path);
    const char *directory = dirname(copy);
    for (uint32_t i = 0; i < m.count; i++) {
        if (m.files[i].type == AOF_HISTORY)
            continue;
        if (m.files[i].type == AOF_INCREMENT && !told) {
            printf("Start to check INCR files.\n");
            told = true;
        }
        check_listed(&m, i, directory, o);
    }
    aof_manifest_deinit(&m);
    printf("All AOF files and manifest are valid\n");
}

/* ---- The command line ---- */

static bool read_timestamp(const char *word, int64_t *seconds)
{
    char *end;
    errno = 0;
    *seconds = strtoll(word, &end, 10);
    return errno == 0 && *word && !*end && *seconds > 0;
}

static bool read_options(struct options *o, int argc, char **argv)
{
    *o = (struct options){0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--fix") == 0) {
            o->fix = true;
        } else if (strcmp(argv[i], "--truncate-to-timestamp") == 0 && i + 1 < argc) {
            if (!read_timestamp(argv[++i], &o->until_s)) {
                printf("Invalid timestamp, aborting...\n");
                give_up();
            }
        } else if (argv[i][0] == '-' || o->path) {
            return false;
        } else {
            o->path = argv[i];
        }
    }
    return o->path != NULL;
}

int main(int argc, char **argv)
{
    struct options o;
    struct mapped m;
    if (!read_options(&o, argc, argv)) {
        printf(usage, argv[0]);
        return 1;
    }
    map_file(&m, o.path, false);
    if (is_manifest(m.bytes)) {
        check_manifest(m.bytes, &o);
    } else {
        struct checked c = {o.path, o.path, true};
        printf("Start checking Old-Style AOF\n");
        print_end(check_file(&c, &o), "AOF", o.path, &o);
    }
    unmap_file(&m);
    return 0;
}
