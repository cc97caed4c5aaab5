/* The manifest: what is read is printed as Redis prints it, and what is wrong is refused in Redis's
 * words. */
#include "server/persist/aof.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/buf.h"

static void check_round(const char *text, const char *printed)
{
    struct aof_manifest m;
    struct buf out;
    char error[512] = "";
    buf_init(&out);
    cr_assert(aof_manifest_parse(&m, slice_of(text), error, sizeof(error)), "%s", error);
    aof_manifest_print(&m, &out);
    buf_append(&out, "", 1);
    cr_assert_str_eq(out.data ? out.data : "", printed);
    buf_deinit(&out);
    aof_manifest_deinit(&m);
}

static void check_refused(const char *text, const char *reason)
{
    struct aof_manifest m;
    char error[512] = "";
    cr_assert(!aof_manifest_parse(&m, slice_of(text), error, sizeof(error)), "accepted: %s", text);
    cr_assert_eq(strncmp(error, reason, strlen(reason)), 0, "%s", error);
}

Test(manifest, is_printed_as_it_was_read)
{
    const char *text = "file appendonly.aof.2.base.rdb seq 2 type b\n"
                       "file appendonly.aof.4.incr.aof seq 4 type i\n"
                       "file appendonly.aof.5.incr.aof seq 5 type i\n";
    check_round(text, text);
}

Test(manifest, has_history_between_base_and_increments)
{
    check_round("file a.2.incr.aof seq 2 type i\nfile a.1.incr.aof seq 1 type h\n"
                "file a.1.base.rdb seq 1 type h\nfile a.2.base.rdb seq 2 type b\n",
                "file a.2.base.rdb seq 2 type b\nfile a.1.incr.aof seq 1 type h\n"
                "file a.1.base.rdb seq 1 type h\nfile a.2.incr.aof seq 2 type i\n");
}

Test(manifest, passes_over_comments_unknown_keys_and_the_order_of_keys)
{
    check_round("# made by hand\nseq 1 later yes TYPE base File a.rdb\n#",
                "file a.rdb seq 1 type b\n");
    check_round("# nothing yet\n", "");
}

Test(manifest, increments_may_skip_numbers)
{
    const char *text = "file a.3 seq 3 type i\nfile a.9 seq 9 type i\n";
    check_round(text, text);
}

Test(manifest, quotes_names_that_need_it)
{
    check_round("file \"a b.aof\" seq 1 type i\n", "file \"a b.aof\" seq 1 type i\n");
    check_round("file 'it\\'s' seq 1 type i\n", "file \"it's\" seq 1 type i\n");
    check_round("file \"a\\x01b\" seq 1 type i\n", "file \"a\\x01b\" seq 1 type i\n");
    check_round("file \"a\\x0ab\" seq 1 type i\n", "file \"a\\nb\" seq 1 type i\n");
}

Test(manifest, refuses_what_is_no_manifest)
{
    check_refused("", "Found an empty AOF manifest");
    check_refused("\n", "Invalid AOF manifest file format, at line 1");
    check_refused("file a seq 1 type b\n\nfile b seq 1 type i\n",
                  "Invalid AOF manifest file format, at line 2: ''");
    check_refused("file a seq 1\n", "Invalid AOF manifest file format");
    check_refused("file a seq 1 type\n", "Invalid AOF manifest file format");
    check_refused("file a seq 1 type b more\n", "Invalid AOF manifest file format");
    check_refused("file a seq 1 sort b\n", "Invalid AOF manifest file format");
    check_refused("file \"a seq 1 type b\n", "Invalid AOF manifest file format");
    check_refused("file a seq x type b\n", "Invalid AOF manifest file format");
    check_refused("file a seq -1 type b\n", "Invalid AOF manifest file format");
    check_refused("file a seq 99999999999999999999 type b\n", "Invalid AOF manifest file format");
}

Test(manifest, refuses_lines_that_are_too_long_or_not_ended)
{
    char line[1200];
    memset(line, ' ', sizeof(line));
    memcpy(line, "file a seq 1 type b", 19);
    line[1198] = '\n';
    line[1199] = '\0';
    check_refused(line, "The AOF manifest file contains too long line");
    check_refused("file a seq 1 type b", "The AOF manifest file contains too long line");
}

Test(manifest, refuses_paths)
{
    static const char *const names[] = {"x/y", "../y", "/y", "..", ".", "\"x\\\\y\""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "file %s seq 1 type b\n", names[i]);
        check_refused(line, "File can't be a path, just a filename");
    }
}

Test(manifest, refuses_files_that_make_no_whole)
{
    check_refused("file a seq 1 type b\nfile b seq 2 type b\n",
                  "Found duplicate base file information, at line 2");
    check_refused("file a seq 2 type i\nfile b seq 2 type i\n",
                  "Found a non-monotonic sequence number, at line 2: 'file b seq 2 type i'");
    check_refused("file a seq 1 type x\n", "Unknown AOF file type");
}

Test(manifest, is_changed_in_a_copy_without_changing_the_first)
{
    struct aof_manifest m = {0}, copy;
    aof_manifest_add(&m, "i1", 1, AOF_INCREMENT);
    aof_manifest_add(&m, "b1", 1, AOF_BASE);
    aof_manifest_copy(&copy, &m);
    aof_manifest_remove(&copy, 0);
    aof_manifest_add(&copy, "i2", 2, AOF_INCREMENT);
    cr_assert_eq(m.count, 2);
    cr_assert_str_eq(aof_manifest_last(&m, AOF_BASE)->name, "b1");
    cr_assert_str_eq(aof_manifest_last(&m, AOF_INCREMENT)->name, "i1");
    cr_assert_null(aof_manifest_last(&copy, AOF_BASE));
    cr_assert_str_eq(aof_manifest_last(&copy, AOF_INCREMENT)->name, "i2");
    aof_manifest_deinit(&m);
    aof_manifest_deinit(&copy);
}
