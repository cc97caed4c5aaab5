/* What lasca-check-aof finds in commands: where the last whole one ends. */
#include "server/check/aof_scan.h"

#include <criterion/criterion.h>

#define PING "*1\r\n$4\r\nPING\r\n"
#define MULTI "*1\r\n$5\r\nMULTI\r\n"
#define EXEC "*1\r\n$4\r\nexec\r\n"

static enum aof_scan_end scan(struct aof_scan *s, const char *text, int64_t until_s)
{
    enum aof_scan_end end;
    aof_scan_start(s, slice_of(text), 0, until_s);
    while ((end = aof_scan_next(s)) == AOF_SCAN_COMMAND)
        continue;
    return end;
}

static void check_bad(const char *text, size_t good, const char *error)
{
    struct aof_scan s;
    cr_assert_eq(scan(&s, text, 0), AOF_SCAN_BAD, "%s", text);
    cr_assert_eq(s.good, good, "%zu of %s", s.good, text);
    cr_assert_str_eq(s.error, error);
}

Test(aof_scan, whole_commands_transactions_and_annotations_are_good)
{
    struct aof_scan s;
    const char *text = "#TS:1\r\n" PING MULTI PING PING EXEC "#TS:2\r\n";
    cr_assert_eq(scan(&s, text, 0), AOF_SCAN_ENDED);
    cr_assert_eq(s.good, strlen(text));
    cr_assert_eq(s.line, 1 + 5 * 3);
    cr_assert_eq(scan(&s, "", 0), AOF_SCAN_ENDED);
}

Test(aof_scan, every_cut_keeps_the_whole_commands_before_it)
{
    static const char text[] = PING MULTI PING EXEC PING;
    const size_t ends[] = {0, strlen(PING), strlen(PING MULTI PING EXEC), strlen(text)};
    for (size_t size = 0; size <= strlen(text); size++) {
        struct aof_scan s;
        size_t want = 0;
        for (size_t i = 0; i < 4; i++)
            want = ends[i] <= size ? ends[i] : want;
        aof_scan_start(&s, (struct slice){text, size}, 0, 0);
        enum aof_scan_end end;
        while ((end = aof_scan_next(&s)) == AOF_SCAN_COMMAND)
            continue;
        cr_assert_eq(s.good, want, "of %zu", size);
        cr_assert_eq(end, want == size ? AOF_SCAN_ENDED : AOF_SCAN_BAD, "of %zu", size);
    }
}

Test(aof_scan, what_is_wrong_is_told_as_redis_does)
{
    check_bad(PING "PING\r\n", strlen(PING), "");
    check_bad(PING MULTI PING, strlen(PING), "Reached EOF before reading EXEC for MULTI");
    check_bad(MULTI MULTI, 0, "Unexpected MULTI");
    check_bad(PING EXEC, strlen(PING), "Unexpected EXEC");
    check_bad("*1\r\n$9\r\nPING\r\n", 0, "Expected to read 11 bytes, got 6 bytes");
    check_bad("*1\r\n:4\r\nPING\r\n", 0, "Expected prefix '$', got: ':'");
    check_bad("*1x\r\n$4\r\nPING\r\n", 0, "Expected \\r\\n, got: 780d");
    check_bad("*0\r\n", 0, "Expected a command of at least one argument, got: 0");
    check_bad("*1\r\n$-1\r\n", 0,
              "Expected to read string of -1 bytes, which is not in the suitable range");
}

Test(aof_scan, ends_before_a_time_that_is_later)
{
    struct aof_scan s;
    const char *text = "#TS:5\r\n" PING "#TS:7\r\n" PING;
    cr_assert_eq(scan(&s, text, 6), AOF_SCAN_LATER);
    cr_assert_eq(s.good, strlen("#TS:5\r\n" PING));
    cr_assert_eq(scan(&s, text, 4), AOF_SCAN_LATER);
    cr_assert_eq(s.good, 0);
    cr_assert_eq(scan(&s, text, 7), AOF_SCAN_ENDED);
}
