/* What of the append-only file is to be loaded: see aof.h.
 *
 * Redis before 7 had one file, appendfilename in the working directory. It is taken over as the
 * base of the new form: the manifest comes first, naming it, then it is moved; a start that was cut
 * short between the two goes on where it was. */
#include "server/persist/aof_inside.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "proto/mem.h"
#include "server/server.h"

bool aof_know(struct aof *a, char *error, size_t error_size)
{
    bool found;
    if (a->known)
        return true;
    if (!aof_files_locate(a, error, error_size) ||
        !aof_files_read_manifest(a, &a->manifest, &found, error, error_size))
        return false;
    a->known = true;
    aof_count_on(a);
    return true;
}

/* True for a manifest without files, or with none but the old single one, not yet moved. */
static bool may_take_over(const struct aof *a)
{
    const struct aof_manifest *m = &a->manifest;
    if (aof_manifest_last(m, AOF_INCREMENT))
        return false;
    const struct aof_file *base = aof_manifest_last(m, AOF_BASE);
    return !base || (strcmp(base->name, a->file_name) == 0 &&
                     aof_files_size(a, a->file_name) < 0);
}

bool aof_take_over(struct aof *a, char *error, size_t error_size)
{
    struct stat s;
    bool placed;
    if (stat(a->file_name, &s) != 0 || !S_ISREG(s.st_mode) || !may_take_over(a))
        return true;
    if (aof_files_size(a, a->file_name) >= 0) {
        snprintf(error, error_size,
                 "There is an append-only file %s both in dir and in %s, and no manifest: move "
                 "away the one that is not to be loaded", a->file_name, a->directory_name);
        return false;
    }
    if (!aof_files_make_directory(a, error, error_size))
        return false;
    if (!aof_manifest_last(&a->manifest, AOF_BASE))
        aof_manifest_add(&a->manifest, a->file_name, 1, AOF_BASE);
    aof_count_on(a);
    if (!aof_files_persist(a, &a->manifest, &placed, error, error_size) ||
        !aof_files_move_in(a, error, error_size))
        return false;
    log_write(&server->log, LOG_NOTICE,
              "Successfully migrated an old-style AOF file (%s) into the AOF directory (%s).",
              a->file_name, a->directory_name);
    return true;
}

bool aof_check_files(const struct aof *a, char *error, size_t error_size)
{
    for (uint32_t i = 0; i < a->manifest.count; i++) {
        const struct aof_file *f = &a->manifest.files[i];
        if (f->type == AOF_HISTORY || aof_files_size(a, f->name) >= 0)
            continue;
        snprintf(error, error_size,
                 "Unable to obtain the AOF file %s length. stat: %s (it is listed in %s.manifest: "
                 "put it back; nothing was changed)", f->name, strerror(errno), a->file_name);
        return false;
    }
    return true;
}

static void forget_list(struct aof *a)
{
    for (uint32_t i = 0; i < a->load_count; i++)
        mem_free(a->load_list[i]);
    mem_free(a->load_list);
    a->load_list = NULL;
    a->load_count = 0;
}

/* Files without a byte are left out. So the last one is the last that was written to: where the
 * server was killed between listing a new increment and switching to it, the end of the one before
 * may be cut off. */
uint32_t aof_load_list(const char *const **paths)
{
    struct aof *a = server->aof;
    char error[AOF_ERROR_SIZE];
    aof_lock(a);
    forget_list(a);
    if (!aof_know(a, error, sizeof(error)))
        log_write(&server->log, LOG_WARNING, "%s", error);
    a->load_list = mem_alloc((a->manifest.count + 1) * sizeof(*a->load_list));
    for (uint32_t i = 0; i < a->manifest.count; i++) {
        const struct aof_file *f = &a->manifest.files[i];
        if (f->type == AOF_HISTORY || aof_files_size(a, f->name) <= 0)
            continue;
        a->load_list[a->load_count] = mem_alloc(AOF_PATH_SIZE);
        aof_files_path(a, f->name, a->load_list[a->load_count++]);
    }
    *paths = (const char *const *)a->load_list;
    uint32_t count = a->load_count;
    aof_unlock(a);
    return count;
}
