/* Small files as a whole: read, and replaced so that whatever happens there is the old one or the
 * new one. For what the server keeps of its own: configuration, users. From any thread; they wait
 * for the disk. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "proto/buf.h"

/* Appends what is in the file. False, with errno, where it cannot be read. */
bool file_read(const char *path, struct buf *to);

/* Writes beside, syncs, renames, syncs the directory. A symbolic link stays one. Whoever could read
 * the old file can read the new one, and its owner is kept where that is allowed; without an old
 * one it is the process's alone: there may be passwords in it. False, with errno, where that
 * failed; the old file is then as it was, unless only the directory could not be synced. */
bool file_replace(const char *path, struct slice text);
