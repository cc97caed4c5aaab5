/* The shared scripts: names, shebang lines, the table and its flush. */
#include "server/script/store.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(script_store);

static void sha_of(uint32_t number, unsigned char sha[SCRIPT_SHA_SIZE])
{
    memset(sha, 0, SCRIPT_SHA_SIZE);
    memcpy(sha + (number % 2 ? 0 : 12), &number, sizeof(number)); /* slots shared by many */
}

Test(script_store, a_name_reads_back_as_the_same_digest_in_any_case)
{
    unsigned char sha[SCRIPT_SHA_SIZE], again[SCRIPT_SHA_SIZE];
    char name[SCRIPT_NAME_SIZE + 1];
    for (int i = 0; i < SCRIPT_SHA_SIZE; i++)
        sha[i] = (unsigned char)(i * 37 + 9);
    script_write_name(sha, name);
    cr_assert(script_read_name(slice_of(name), again));
    cr_assert_eq(memcmp(sha, again, sizeof(sha)), 0);
    for (char *p = name; *p; p++)
        if (*p >= 'a')
            *p = (char)(*p - 32);
    cr_assert(script_read_name(slice_of(name), again));
    cr_assert_eq(memcmp(sha, again, sizeof(sha)), 0);
}

Test(script_store, what_is_no_name_is_refused)
{
    unsigned char sha[SCRIPT_SHA_SIZE];
    cr_assert_not(script_read_name(SLICE(""), sha));
    cr_assert_not(script_read_name(SLICE("e0e1f9fabfc9d4800c877a703b823ac0578ff8d"), sha));
    cr_assert_not(script_read_name(SLICE("e0e1f9fabfc9d4800c877a703b823ac0578ff8dbb"), sha));
    cr_assert_not(script_read_name(SLICE("e0e1f9fabfc9d4800c877a703b823ac0578ff8dg"), sha));
    cr_assert_not(script_read_name(SLICE("e0e1f9fabfc9d4800c877a703b823ac0578ff8d "), sha));
}

Test(script_store, scripts_are_found_until_they_are_flushed)
{
    struct scripts *s = scripts_create();
    unsigned char sha[SCRIPT_SHA_SIZE];
    char source[32];
    for (int round = 0; round < 2; round++) {
        uint64_t epoch = scripts_epoch(s);
        for (uint32_t i = 0; i < 1000; i++) {
            sha_of(i, sha);
            snprintf(source, sizeof(source), "return %u", i);
            struct script *script = scripts_insert(s, sha, slice_of(source), SCRIPT_COMPAT, 0);
            cr_assert_eq(scripts_insert(s, sha, slice_of(source), SCRIPT_COMPAT, 0), script);
        }
        cr_assert_eq(scripts_count(s), 1000);
        for (uint32_t i = 0; i < 1000; i++) {
            sha_of(i, sha);
            snprintf(source, sizeof(source), "return %u", i);
            struct script *script = scripts_find(s, sha);
            cr_assert(script && slice_equal(slice_of(source),
                                            (struct slice){script->source, script->size}));
        }
        sha_of(1000, sha);
        cr_assert_null(scripts_find(s, sha));
        scripts_flush(s);
        cr_assert_neq(scripts_epoch(s), epoch);
        cr_assert_eq(scripts_count(s), 0);
        sha_of(1, sha);
        cr_assert_null(scripts_find(s, sha));
    }
    scripts_destroy(s);
}

static void check_shebang(const char *source, const char *error, uint32_t flags, size_t size)
{
    char said[256] = "";
    uint32_t got;
    size_t got_size;
    bool ok = script_read_shebang(slice_of(source), &got, &got_size, said, sizeof(said));
    cr_assert_eq(ok, error == NULL, "%s", source);
    if (error) {
        cr_assert_str_eq(said, error);
        return;
    }
    cr_assert_eq(got, flags, "%s", source);
    cr_assert_eq(got_size, size, "%s", source);
}

Test(script_store, a_shebang_line_says_the_flags)
{
    check_shebang("return 1", NULL, SCRIPT_COMPAT, 0);
    check_shebang("", NULL, SCRIPT_COMPAT, 0);
    check_shebang("#", NULL, SCRIPT_COMPAT, 0);
    check_shebang("#!lua\nreturn 1", NULL, 0, 5);
    check_shebang("#!lua flags=\nreturn 1", NULL, 0, 12);
    check_shebang("#!lua  flags=no-writes,allow-oom \r\nx", NULL,
                  SCRIPT_NO_WRITES | SCRIPT_ALLOW_OOM, 34);
    check_shebang("#!lua flags=allow-stale flags=no-cluster,allow-cross-slot-keys\n", NULL,
                  SCRIPT_ALLOW_STALE | SCRIPT_NO_CLUSTER | SCRIPT_ALLOW_CROSS_SLOT, 62);
    check_shebang("#!lua", "Invalid script shebang", 0, 0);
    check_shebang("#!js\n", "Unexpected engine in script shebang: #!js", 0, 0);
    check_shebang("#!lua x\n", "Unknown lua shebang option: x", 0, 0);
    check_shebang("#!lua flags=no-writes,x\n", "Unexpected flag in script shebang: x", 0, 0);
    check_shebang("#!lua flags=no-writes,\n", "Unexpected flag in script shebang: ", 0, 0);
}
